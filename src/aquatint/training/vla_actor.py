"""A trained policy that acts: pictures, an instruction, states and a sensor in, actions out."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from aquatint.data.normaliser import denormalise, encode_angles, normalise, normalise_sensor
from aquatint.data.robot_rows import ACTION_WIDTH, SENSOR_WIDTH, STATE_NAMES
from aquatint.data.sensor_windows import cut_window
from aquatint.features.frozen import Encoding
from aquatint.features.robot_frames import FrameStyle, resize_frame
from aquatint.features.views import ViewEncoder
from aquatint.models.backbone import Backbone
from aquatint.models.vl_reader import PromptEncoder, prompt_encoder, view_grid
from aquatint.params import RunParams
from aquatint.training.checkpoint import Checkpoint
from aquatint.training.vla_model import VlaModel, restore_vla
from aquatint.training.vla_samples import draw_noise

_ACTING = 41


@dataclass(frozen=True, eq=False)
class Observation:
    """What several robots see and measure at one moment.

    Attributes:
        views: Pictures of each robot, in the order of the policy's views, each (H, W, 3) uint8.
        instructions: What each was told.
        states: The last states of each, oldest first, joints then pose in mm and degrees, shape
            (B, S, 12).
        sensors: Rows of force and echo since 100 ms or more, oldest first, shape (N, 1026) each;
            None for a robot without the sensor.
        last_actions: The action before, in mm and degrees, NaN for none, shape (B, 7).
    """

    views: Sequence[Sequence[np.ndarray]]
    instructions: Sequence[str]
    states: np.ndarray
    sensors: Sequence[np.ndarray | None]
    last_actions: np.ndarray


@dataclass
class VlaActor:
    """Turns observations into chunks of actions.

    Attributes:
        model: Policy with its backbone, in evaluation mode.
        encoder: Vision tower.
        prompts: Token ids of instructions.
        spec: Specification of the checkpoint.
        seed: Decides the noise that a diffusion starts from.
        num_calls: How often it acted; part of that noise.
    """

    model: VlaModel
    encoder: ViewEncoder
    prompts: PromptEncoder | None
    spec: Mapping[str, Any]
    seed: int = 0
    num_calls: int = field(default=0)

    @torch.inference_mode()
    def act(self, observation: Observation) -> np.ndarray:
        """Choose a chunk for each robot, in mm and degrees, shape (B, H, 7).

        Raises:
            ValueError: If pictures, states or sensor rows have another shape than the policy's.
        """
        device = next(self.model.parameters()).device
        batch = self._batch(observation)
        chosen = self.model.choose(
            {k: v.to(device) if hasattr(v, "to") else v for k, v in batch.items()}
        )
        self.num_calls += 1
        return denormalise(chosen.float().cpu().numpy(), self.spec["normaliser"]["action"])

    def _batch(self, observation: Observation) -> dict[str, Any]:
        rules, scales = self.spec["rules"], self.spec["normaliser"]
        states = np.asarray(observation.states, np.float64)
        wanted = (len(observation.instructions), rules["state_window"], len(STATE_NAMES))
        if states.shape != wanted or not np.isfinite(states).all():
            raise ValueError(
                f"states must be finite and of shape {wanted} ({', '.join(STATE_NAMES)}), got "
                f"{states.shape}."
            )
        has_sensor = np.array([rows is not None for rows in observation.sensors])
        batch: dict[str, Any] = {
            "states": torch.from_numpy(normalise(encode_angles(states), scales["state"])),
            "has_sensor": torch.from_numpy(has_sensor),
            "windows": torch.from_numpy(self._windows(observation)),
            "prior": torch.from_numpy(self._prior(observation)),
        }
        if self.prompts is not None:
            batch |= self._look(observation)
        if self.model.diffusion is not None:
            names = [(self.num_calls, robot) for robot in range(len(states))]
            noise = draw_noise(self.seed, _ACTING, names, self.model.chunk_shape)
            batch["start_noise"] = torch.from_numpy(noise)
        return batch

    def _windows(self, observation: Observation) -> np.ndarray:
        window = int(self.spec["rules"]["window"])
        cuts = []
        for rows in observation.sensors:
            if rows is None:
                continue
            if rows.ndim != 2 or rows.shape[1] != SENSOR_WIDTH:
                raise ValueError(
                    f"sensors must be rows of {SENSOR_WIDTH} values, force first, got {rows.shape}."
                )
            # Of more rows the last; through the cache's type, as training saw them.
            first = max(0, len(rows) - window)
            cut = cut_window(np.asarray(rows, np.float32), first, len(rows), window)
            cuts.append(cut.astype(np.float16))
        if not cuts:
            return np.zeros((0, window, SENSOR_WIDTH), np.float32)
        return normalise_sensor(np.stack(cuts), self.spec["normaliser"]["sensor"])

    def _prior(self, observation: Observation) -> np.ndarray:
        horizon = int(self.spec["rules"]["horizon"])
        shape = (len(observation.instructions), horizon, ACTION_WIDTH)
        if self.spec["rules"]["prior"] == "zeros":
            return np.zeros(shape, np.float32)
        last = np.asarray(observation.last_actions, np.float64)
        has_one = np.asarray(np.isfinite(last).all(axis=1))
        scaled = normalise(np.where(has_one[:, None], last, 0), self.spec["normaliser"]["action"])
        return np.broadcast_to((scaled * has_one[:, None])[:, None], shape).astype(np.float32)

    def _look(self, observation: Observation) -> dict[str, Any]:
        if self.prompts is None:
            return {}
        style, num_views = frame_style(self.spec), self.prompts.num_views
        if any(len(views) != num_views for views in observation.views):
            raise ValueError(
                f"The policy sees {num_views} views ({', '.join(style.views) or 'all'}), got "
                f"{sorted({len(views) for views in observation.views})}."
            )
        pictures = [resize_frame(view, style) for views in observation.views for view in views]
        features = torch.from_numpy(self.encoder(np.stack(pictures)).astype(np.float32))
        found: dict[str, Any] = self.prompts.batch(observation.instructions)
        found["features"] = features.reshape(-1, num_views, *features.shape[1:])
        return found


def frame_style(spec: Mapping[str, Any]) -> FrameStyle:
    """The style of frames that a checkpoint was trained on."""
    style = spec["frames"]
    rows, columns = style["memory_grid"]
    return FrameStyle(
        tuple(style["views"]),
        int(style["height_px"]),
        int(style["width_px"]),
        (int(rows), int(columns)),
        int(style["max_text_tokens"]),
    )


def open_actor(
    backbone: Backbone, checkpoint: Checkpoint, run: RunParams, num_views: int, dtype: str
) -> VlaActor:
    """Load a checkpoint's policy with everything it needs to act.

    Args:
        backbone: The backbone that it was trained on.
        checkpoint: Any stage's checkpoint.
        run: Device and seed.
        num_views: Pictures of an observation.
        dtype: Type that features were stored in while it was trained.
    """
    model = restore_vla(backbone, checkpoint, run, is_live=True)
    device = str(next(model.parameters()).device)
    style = frame_style(checkpoint.spec)
    grid = view_grid(backbone, style.height_px, style.width_px)
    prompts = prompt_encoder(backbone, num_views, grid) if model.sees else None
    encoder = ViewEncoder(backbone, Encoding(num_views, dtype, device))
    return VlaActor(model, encoder, prompts, checkpoint.spec, run.seed)


def measure_latency(actor: VlaActor, observation: Observation, repeats: int) -> dict[str, Any]:
    """Median and 95 % quantile of the time of one decision, in milliseconds."""
    actor.act(observation)
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        actor.act(observation)
        times.append(1000 * (time.perf_counter() - started))
    return {
        "median_ms": float(np.median(times)),
        "p95_ms": float(np.quantile(times, 0.95)),
        "n": repeats,
        "device": str(next(actor.model.parameters()).device),
    }
