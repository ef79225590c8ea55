"""Steps of robot episodes as tensors: tokens, sensor windows, states, chunks of actions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from aquatint.collective import Share
from aquatint.data.action_chunks import chunk_actions, previous_actions
from aquatint.data.normaliser import encode_angles, normalise, normalise_sensor
from aquatint.data.robot_rows import ACTION_WIDTH, STATE_NAMES
from aquatint.features.robot_frames import chosen_views, prompt_key, window_key
from aquatint.features.stored import from_stored
from aquatint.models.diffusion import Diffusion
from aquatint.models.vl_reader import prompt_encoder, view_grid
from aquatint.training.vla_data import VlaData, usable_steps

# cached reads hidden states, live gives what the language model needs, none sees nothing.
Seeing = Literal["cached", "live", "none"]
SensorMode = Literal["own", "zeroed", "missing"]
_NOISE, _CHOICE, _START = 11, 12, 13


class RobotSteps:
    """Steps of a split, by position.

    Args:
        data: Tables, caches, scales.
        split: ``train``, ``val`` or ``test``.
        seeing: What a batch holds of pictures and instruction.
        sensor: ``own`` windows, ``zeroed`` ones, or none at all (``missing``).
        instructions: Instruction of each step in place of its own; needs ``live``.
    """

    def __init__(
        self,
        data: VlaData,
        split: str,
        seeing: Seeing,
        sensor: SensorMode = "own",
        instructions: Sequence[str] | None = None,
    ) -> None:
        steps, rules = data.steps, data.rules
        rows = usable_steps(steps, split)
        self.rows = steps.iloc[rows].reset_index(drop=True)
        self.data, self._seeing, self._sensor = data, seeing, sensor
        chunks, is_pad = chunk_actions(steps, rules.horizon)
        self.targets = normalise(chunks[rows], data.normaliser["action"])
        self.is_pad = is_pad[rows]
        self.states = _state_windows(steps, data)[rows]
        self.priors = _priors(steps, data)[rows]
        self.instructions = list(instructions or self.rows["instruction"])
        self.has_sensor = self.rows["has_sensor"].to_numpy(bool) & (sensor != "missing")
        is_heard = self.rows["has_sensor"].to_numpy(bool)
        self.weights = self.rows["confidence"].to_numpy(np.float32) * np.where(
            is_heard, rules.sensor_loss_weight, 1.0
        )
        self._open_caches()

    def _open_caches(self) -> None:
        data = self.data
        self._windows = data.windows.open() if self.has_sensor.any() else None
        self._window_places = np.zeros((len(self.rows), 2), np.int64)
        if self._windows is not None:
            heard = self.rows[self.has_sensor]
            columns = (heard["sensor_sha256"], heard["sensor_start"], heard["sensor_stop"])
            keys = [window_key(*span) for span in zip(*columns, strict=True)]
            self._window_places[self.has_sensor] = self._windows.places(keys)
        if self._seeing == "none":
            return
        digests = chosen_views(self.rows, data.style)[1]
        grid = view_grid(data.backbone, data.style.height_px, data.style.width_px)
        self.encoder = prompt_encoder(data.backbone, len(digests[0]), grid)
        if self._seeing == "cached":
            self._reader = data.prompts.open()
            keys = [prompt_key(d, t) for d, t in zip(digests, self.instructions, strict=True)]
            self._places = self._reader.places(keys)
            self._num_image = len(digests[0]) * math.prod(data.style.memory_grid)
        else:
            self._reader = data.frames.open()
            flat = [digest for of_row in digests for digest in of_row]
            self._places = self._reader.places(flat).reshape(len(digests), -1, 2)

    def __len__(self) -> int:
        """Number of steps."""
        return len(self.rows)

    def batch(self, chosen: np.ndarray) -> dict[str, Any]:
        """Return steps as tensors.

        Args:
            chosen: Positions, shape (B,).

        Returns:
            ``states`` (B, S, 15), ``target`` and ``prior`` (B, H, 7), ``is_pad`` (B, H),
            ``weights`` (B,), ``has_sensor`` (B,), ``windows`` (M, W, 1026) of the steps that have
            one, and ``tokens`` with ``token_is_pad``, or ``features``, ids, mask and grids.
        """
        has_sensor = self.has_sensor[chosen]
        batch: dict[str, Any] = {
            "states": torch.from_numpy(self.states[chosen]),
            "target": torch.from_numpy(self.targets[chosen]),
            "prior": torch.from_numpy(self.priors[chosen]),
            "is_pad": torch.from_numpy(self.is_pad[chosen]),
            "weights": torch.from_numpy(self.weights[chosen]),
            "has_sensor": torch.from_numpy(has_sensor),
            "windows": self._read_windows(chosen[has_sensor]),
        }
        if self._seeing == "cached":
            batch |= self._read_tokens(chosen)
        elif self._seeing == "live":
            places = self._places[chosen].reshape(-1, 2)
            stored = from_stored(self._reader.read(places), self.data.frames.recipe["dtype"])
            batch["features"] = stored.reshape(len(chosen), -1, *stored.shape[1:])
            batch |= self.encoder.batch([self.instructions[i] for i in chosen])
        return batch

    def _read_windows(self, chosen: np.ndarray) -> Tensor:
        recipe = self.data.windows.recipe
        if self._windows is None or not len(chosen):
            return torch.zeros(0, int(recipe["window"]), 1026)
        stored = self._windows.read(self._window_places[chosen])
        if self._sensor == "zeroed":
            stored = np.zeros_like(stored)
        return torch.from_numpy(normalise_sensor(stored, self.data.normaliser["sensor"]))

    def _read_tokens(self, chosen: np.ndarray) -> dict[str, Tensor]:
        stored = self._reader.read(self._places[chosen])
        tokens = from_stored(stored, self.data.prompts.recipe["dtype"])
        counts = [self.encoder.num_text_tokens(self.instructions[i]) for i in chosen]
        lengths = self._num_image + np.array(counts)
        tokens = tokens[:, : int(lengths.max())]
        is_pad = np.arange(tokens.shape[1]) >= lengths[:, None]
        return {"tokens": tokens, "token_is_pad": torch.from_numpy(is_pad)}

    def frame_groups(self) -> list[np.ndarray]:
        """Positions of the steps that share a picture, in order."""
        codes = pd.factorize(
            self.rows["episode_id"] + "@" + self.rows["frame"].astype(str), sort=False
        )[0]
        order = np.argsort(codes, kind="stable")
        return np.split(order, np.nonzero(np.diff(codes[order]))[0] + 1)


def _state_windows(steps: pd.DataFrame, data: VlaData) -> np.ndarray:
    """Normalised states of the last steps, the episode's first one repeated before it."""
    states = steps[list(STATE_NAMES)].to_numpy(np.float64)
    encoded = normalise(encode_angles(states), data.normaliser["state"])
    codes = pd.factorize(steps["episode_id"])[0]
    firsts = np.searchsorted(codes, codes) if (np.diff(codes) >= 0).all() else None
    if firsts is None:
        raise ValueError("steps must stand in the order of their episodes.")
    size = data.rules.state_window
    places = np.arange(len(steps))[:, None] + np.arange(1 - size, 1)
    return encoded[np.maximum(places, firsts[:, None])]


def _priors(steps: pd.DataFrame, data: VlaData) -> np.ndarray:
    """What a regression starts from: known when acting, never the actions to come."""
    shape = (len(steps), data.rules.horizon, ACTION_WIDTH)
    if data.rules.prior == "zeros":
        return np.zeros(shape, np.float32)
    actions, has_one = previous_actions(steps)
    scaled = normalise(actions, data.normaliser["action"]) * has_one[:, None]
    return np.broadcast_to(scaled[:, None], shape).astype(np.float32)


def draw_noise(seed: int, kind: int, names: Sequence[Sequence[int]], shape: tuple) -> np.ndarray:
    """Standard normal noise of each sample: a function of the sample alone.

    Not of the batch it stands in: then accumulation, processes and a resumed run see the same.

    Args:
        seed: Seed of the run.
        kind: What the noise is for.
        names: Numbers that tell samples apart.
        shape: Shape of one sample's noise.

    Returns:
        Shape (len(names), *shape), float32.
    """
    return np.stack(
        [
            np.random.default_rng([seed, kind, *name]).standard_normal(shape, np.float32)
            for name in names
        ]
    )


class TrainingSteps:
    """Samples of a training: each epoch shows a step of every picture, as often as its weight says.

    Args:
        steps: Steps of the train split.
        data: Rules of the mixture.
        seed: Decides which step of a picture is shown, and noise.
        diffusion: Whose timesteps are drawn; None for regression.
    """

    def __init__(
        self, steps: RobotSteps, data: VlaData, seed: int, diffusion: Diffusion | None
    ) -> None:
        self._steps, self._seed, self._epoch = steps, seed, 0
        self._diffusion = diffusion
        self._groups = steps.frame_groups()
        first = steps.rows.iloc[[group[0] for group in self._groups]]
        share = first["source"].map(lambda name: float(data.rules.mixture.get(name, 0.0)))
        is_priority = first["task"].isin(data.rules.priority_tasks)
        self._share = (share * np.where(is_priority, data.rules.priority_factor, 1.0)).to_numpy()
        if not self._share.any():
            raise ValueError(
                f"mixture {dict(data.rules.mixture)} draws none of the formats that were read: "
                f"{sorted(set(first['source']))}."
            )
        counts = element_counts(steps, data)
        self._counts = torch.from_numpy((steps.weights * counts).astype(np.float32))
        self.sample_weights = torch.zeros(len(self._groups))
        self.begin_epoch(0)

    def __len__(self) -> int:
        """Number of samples of an epoch: as many as there are pictures."""
        return len(self._groups)

    def begin_epoch(self, epoch: int) -> None:
        """Draw the epoch's samples, a function of seed and epoch."""
        self._epoch = epoch
        rng = np.random.default_rng([self._seed, _CHOICE, epoch])
        # Evenly along the cumulated weights: every picture is shown as often as its share says,
        # rounded up or down by chance.
        ends = np.cumsum(self._share) / self._share.sum() * len(self._groups)
        places = np.searchsorted(ends, rng.uniform() + np.arange(len(self._groups)), side="right")
        drawn = np.minimum(places, len(self._groups) - 1)
        picks = rng.uniform(size=len(drawn))
        self._chosen = np.array(
            [
                self._groups[g][int(u * len(self._groups[g]))]
                for g, u in zip(drawn, picks, strict=True)
            ]
        )
        # In place: the loop holds this tensor.
        self.sample_weights.copy_(self._counts[torch.from_numpy(self._chosen)].clamp(min=1e-9))

    def batch(self, positions: Tensor, share: Share | None = None) -> dict[str, Any]:
        """Return samples, for a diffusion with ``noise`` (B, K, H, A) and ``timesteps`` (B, K).

        On several ranks each takes its ``share``; ``is_counted`` is the share's.
        """
        numbers = positions.numpy()
        if share:
            numbers = numbers[share.rows]
        chosen = self._chosen[numbers]
        batch = self._steps.batch(chosen)
        batch["is_counted"] = share is None or share.is_counted
        if self._diffusion is not None:
            names = [(self._epoch, int(number)) for number in numbers]
            draws, num_timesteps = self._diffusion.num_draws, self._diffusion.num_train_timesteps
            shape = (draws, *batch["target"].shape[1:])
            batch["noise"] = torch.from_numpy(draw_noise(self._seed, _NOISE, names, shape))
            sources = [np.random.default_rng([self._seed, _START, *name]) for name in names]
            drawn = [source.integers(num_timesteps, size=draws) for source in sources]
            batch["timesteps"] = torch.from_numpy(np.stack(drawn))
        return batch

    def identify(self, positions: Tensor) -> list[str]:
        """Return episode and step of samples."""
        rows = self._steps.rows.iloc[self._chosen[positions.numpy()]]
        return [f"{e}@{s}" for e, s in zip(rows["episode_id"], rows["step"], strict=True)]


def element_counts(steps: RobotSteps, data: VlaData) -> np.ndarray:
    """Elements of each step's chunk that a loss counts, shape (N,)."""
    num_varying = int((~np.asarray(data.normaliser["action"]["is_constant"])).sum())
    return (~steps.is_pad).sum(1) * num_varying
