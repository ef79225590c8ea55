"""A vision-language-action policy: sensor encoder and action expert on vision-language tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from aquatint.models.action_expert import DiffusionExpert, RegressionExpert
from aquatint.models.diffusion import Diffusion
from aquatint.models.fusion import Condition, Fusion
from aquatint.models.sensor_encoder import SensorEncoder, StateEncoder, fill_missing


class ActionExpert(nn.Module):
    """Fusion, state encoder and expert: all that a policy has besides its sensor encoder.

    Args:
        kind: ``regression`` or ``diffusion``.
        vl_width: Width of vision-language tokens; 0 for a policy that sees none.
        sensor_width: Width of the sensor's vector; 0 for one without a sensor.
        state: Arguments of ``StateEncoder`` but its output.
        fusion: ``strategy`` and ``num_heads`` of ``Fusion``.
        expert: Arguments of the expert; ``width`` is that of the condition too.
    """

    def __init__(
        self,
        kind: str,
        *,
        vl_width: int,
        sensor_width: int,
        state: Mapping[str, Any],
        fusion: Mapping[str, Any],
        expert: Mapping[str, Any],
    ) -> None:
        super().__init__()
        width = int(expert["width"])
        self.state_encoder = StateEncoder(**state, out_width=width)
        self.fusion = Fusion(**fusion, vl_width=vl_width, sensor_width=sensor_width, width=width)
        hears = sensor_width and self.fusion.strategy != "none"
        self.missing_sensor = nn.Parameter(0.02 * torch.randn(sensor_width)) if hears else None
        experts = {"regression": RegressionExpert, "diffusion": DiffusionExpert}
        self.expert = experts[kind](**expert)

    def fill_missing(self, encoded: Tensor, has_sensor: Tensor) -> Tensor:
        """Put a learned token where a robot has no sensor, shape (B, D)."""
        if self.missing_sensor is None:
            raise ValueError("A policy without a sensor has no token for a missing one.")
        return fill_missing(encoded, has_sensor, self.missing_sensor)


class VlaPolicy(nn.Module):
    """Policy of a specification; the backbone stands beside it, not inside.

    Names of its tensors begin with ``sensor_encoder.`` and ``action_expert.``, as those of the
    published checkpoints do.

    Args:
        kind: ``regression`` or ``diffusion``.
        vl_width: Width of the backbone's hidden states; 0 for a policy that sees none.
        sensor: Arguments of ``SensorEncoder``; None for a policy without a sensor.
        state: Arguments of ``StateEncoder`` but its output.
        fusion: ``strategy`` and ``num_heads``.
        expert: Arguments of the expert.
        diffusion: Arguments of ``Diffusion``; None for regression.
        has_checkpointing: Whether the sensor encoder saves memory for time.
    """

    def __init__(  # noqa: PLR0913 - one argument for each part
        self,
        kind: str,
        *,
        vl_width: int,
        sensor: Mapping[str, Any] | None,
        state: Mapping[str, Any],
        fusion: Mapping[str, Any],
        expert: Mapping[str, Any],
        diffusion: Mapping[str, Any] | None = None,
        has_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        hears = sensor is not None and fusion["strategy"] != "none"
        self.sensor_encoder = (
            SensorEncoder(**(sensor or {}), has_checkpointing=has_checkpointing) if hears else None
        )
        self.action_expert = ActionExpert(
            kind,
            vl_width=vl_width,
            sensor_width=self.sensor_encoder.out_width if self.sensor_encoder else 0,
            state=state,
            fusion=fusion,
            expert=expert,
        )
        self.kind, self.sees = kind, bool(vl_width)
        self.diffusion = Diffusion(**(diffusion or {})) if kind == "diffusion" else None
        self._shape = int(expert["horizon"]), int(expert["action_width"])

    def condition(self, batch: Mapping[str, Tensor]) -> Condition:
        """Fuse what a batch holds.

        Args:
            batch: ``tokens`` (B, T, D) and ``token_is_pad`` (B, T) for a policy that sees,
                ``windows`` (M, W, C) of the M rows with a sensor, ``has_sensor`` (B,), ``states``
                (B, S, V).
        """
        sensor = None
        if self.sensor_encoder is not None:
            encoded = self.sensor_encoder(batch["windows"])
            sensor = self.action_expert.fill_missing(encoded, batch["has_sensor"])
        return self.action_expert.fusion(
            batch["tokens"] if self.sees else None,
            batch["token_is_pad"] if self.sees else None,
            sensor,
            self.action_expert.state_encoder(batch["states"]),
        )

    def act(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Choose a chunk of normalised actions, shape (B, H, A).

        Args:
            batch: As in ``condition``; ``prior`` (B, H, A) for regression, ``start_noise``
                (B, H, A) for diffusion.
        """
        condition = self.condition(batch)
        if self.diffusion is None:
            return self.action_expert.expert(condition, batch["prior"])
        return self.denoise(condition, batch["start_noise"])

    def denoise(self, condition: Condition, start: Tensor) -> Tensor:
        """Sample chunks of a diffusion policy from noise (B, H, A).

        Of several samples (``num_averaged``) the mean is acted on: two that pass an obstacle on
        either side would meet it, but of a way that is only uncertain the mean errs least.
        """
        if self.diffusion is None:
            raise ValueError("A regression policy has nothing to denoise.")
        expert = self.action_expert.expert
        # Fresh noise of ddpm follows from the start alone: acting twice gives the same.
        seed = int(torch.hash_tensor(start.detach().cpu().contiguous()).item()) % 2**31
        generator = torch.Generator(start.device).manual_seed(seed)
        count = self.diffusion.num_averaged
        shape = (len(start), count - 1, *start.shape[1:])
        more = torch.randn(shape, generator=generator, device=start.device, dtype=start.dtype)
        starts = torch.cat([start[:, None], more], dim=1).flatten(0, 1)
        memory = expert.remember(condition)
        found = self.diffusion.sample(
            lambda noisy, steps: expert.find_noise(memory, noisy, steps), starts, generator
        )
        return found.unflatten(0, (len(start), count)).mean(1)

    def statistics(self) -> dict[str, Tensor]:
        """What no gradient changes and every checkpoint holds: scales of the tokens, by name."""
        scaler = self.action_expert.fusion.scaler
        named = scaler.named_buffers() if scaler is not None else ()
        return {f"action_expert.fusion.scaler.{name}": buffer for name, buffer in named}

    @property
    def chunk_shape(self) -> tuple[int, int]:
        """Actions of a chunk and values of an action."""
        return self._shape
