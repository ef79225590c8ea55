"""How vision-language tokens, sensor and state become the condition of an action expert."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

# Values that are kept of a token where every place has weights of its own.
_PLACE_WIDTH = 16
FusionName = Literal["concat", "cross_attention", "gated", "none"]


@dataclass(frozen=True)
class Condition:
    """What an action expert looks at.

    Attributes:
        summary: One vector, shape (B, D).
        memory: Tokens, the summary's first, shape (B, M, D).
        is_pad: True where a token of the memory is padding, shape (B, M).
    """

    summary: Tensor
    memory: Tensor
    is_pad: Tensor


class Fusion(nn.Module):
    """Brings vision-language features and the sensor together.

    ``concat`` and ``gated`` take the mean of the vision-language tokens, ``none`` leaves the
    sensor out. In ``cross_attention`` what is measured and a little of every token ask, and the
    tokens answer; the tokens themselves stay in the memory, and what asked is added to what it
    found: with one pooled token as the only key, a softmax would be 1 whatever the sensor says.

    Args:
        strategy: Which of the four.
        vl_width: Width of the vision-language tokens; 0 for a policy that sees none.
        sensor_width: Width of the sensor's vector; 0 for a policy without a sensor.
        width: Width of the condition.
        num_heads: Heads of the attention.
        num_positions: Most vision-language tokens; each place among them has a learned code. A
            backbone with rotary positions leaves no trace of where a token lies in its states.

    Raises:
        ValueError: If a strategy that needs both is given one alone.
    """

    def __init__(
        self,
        strategy: FusionName,
        *,
        vl_width: int,
        sensor_width: int,
        width: int,
        num_heads: int = 8,
        num_positions: int = 0,
    ) -> None:
        super().__init__()
        if strategy != "none" and not (vl_width and sensor_width):
            raise ValueError(
                f"fusion {strategy} needs vision-language tokens and a sensor, got widths "
                f"{vl_width} and {sensor_width}. Take none."
            )
        self.strategy, self.width = strategy, width
        self.is_blind = not vl_width
        match strategy:
            case "concat":
                self.project = nn.Linear(vl_width + sensor_width, width)
            case "gated":
                self.vl = nn.Linear(vl_width, width)
                self.sensor = nn.Linear(sensor_width, width)
                self.gate = nn.Linear(2 * width, width)
            case "cross_attention":
                self.before = nn.LayerNorm(vl_width)
                self.vl = nn.Linear(vl_width, width)
                self.positions = nn.Parameter(0.5 * torch.randn(num_positions, width))
                self.sensor = nn.Linear(sensor_width, width)
                self.attention = nn.MultiheadAttention(width, num_heads, batch_first=True)
                self.squeeze = nn.Linear(vl_width, _PLACE_WIDTH)
                self.placed = nn.Linear(num_positions * _PLACE_WIDTH, width)
                self.norm = nn.LayerNorm(width)
                # Where what is asked for meets what is measured, before the expert looks around.
                self.mix = nn.Sequential(
                    nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
                )
            case "none" if vl_width:
                self.vl = nn.Linear(vl_width, width)

    def forward(
        self, tokens: Tensor | None, is_pad: Tensor | None, sensor: Tensor | None, state: Tensor
    ) -> Condition:
        """Fuse.

        Args:
            tokens: Vision-language tokens, shape (B, T, D_vl).
            is_pad: True where a token is padding, shape (B, T).
            sensor: Sensor's vectors, the missing ones' token in their places, shape (B, D_sensor).
            state: Encoded robot state, shape (B, D); added to the summary.
        """
        if self.is_blind:
            return _alone(state)
        if tokens is None or is_pad is None:
            raise ValueError("A fusion of vision-language tokens needs tokens and their mask.")
        pooled = masked_mean(tokens, is_pad)
        if sensor is None:
            if self.strategy != "none":
                raise ValueError(f"fusion {self.strategy} needs the sensor's vectors.")
            return _alone(self.vl(pooled) + state)
        match self.strategy:
            case "cross_attention":
                return self._attend(tokens, is_pad, self.sensor(sensor) + state)
            case "concat":
                fused = self.project(torch.cat([pooled, sensor], dim=-1))
            case "gated":
                seen, heard = self.vl(pooled), self.sensor(sensor)
                gate = torch.sigmoid(self.gate(torch.cat([seen, heard], dim=-1)))
                fused = gate * seen + (1 - gate) * heard
            case _:
                fused = self.vl(pooled)
        return _alone(fused + state)

    def _attend(self, tokens: Tensor, is_pad: Tensor, measured: Tensor) -> Condition:
        if tokens.shape[1] > len(self.positions):
            raise ValueError(
                f"The fusion knows {len(self.positions)} places of tokens, got {tokens.shape[1]}."
            )
        tokens = self.before(tokens)
        keys = self.vl(tokens) + self.positions[: tokens.shape[1]]
        query = measured + self._read_places(tokens, is_pad)
        found, _ = self.attention(
            query[:, None], keys, keys, key_padding_mask=is_pad, need_weights=False
        )
        summary = self.norm(query + found[:, 0])
        summary = summary + self.mix(summary)
        first = torch.zeros_like(is_pad[:, :1])
        return Condition(
            summary, torch.cat([summary[:, None], keys], 1), torch.cat([first, is_pad], 1)
        )

    def _read_places(self, tokens: Tensor, is_pad: Tensor) -> Tensor:
        """A little of every token, each place with weights of its own, shape (B, D).

        In a mean of dozens of tokens, the one that names a direction is a few hundredths; attention
        finds it only after thousands of steps, when scenes are long known by heart.
        """
        small = self.squeeze(tokens).masked_fill(is_pad[..., None], 0).flatten(1)
        missing = self.placed.in_features - small.shape[1]
        return self.placed(nn.functional.pad(small, (0, missing)))


def masked_mean(tokens: Tensor, is_pad: Tensor) -> Tensor:
    """Mean over the tokens that are no padding, shape (B, D)."""
    is_real = (~is_pad)[..., None].to(tokens.dtype)
    return (tokens * is_real).sum(1) / is_real.sum(1).clamp(min=1)


def _alone(fused: Tensor) -> Condition:
    is_pad = torch.zeros(len(fused), 1, dtype=torch.bool, device=fused.device)
    return Condition(fused, fused[:, None], is_pad)
