"""Flights with what RDP learns from: increments ahead, those before, motion, and noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from aquatint.collective import Share
from aquatint.data.increments import IncrementRule, chunk_ahead, motion_of, past_of
from aquatint.models.rdp import Journey
from aquatint.training.imitation_samples import (
    DrawnSamples,
    ImitationData,
    ImitationSamples,
    padded,
)


class RdpSamples:
    """Flights of a split, once for each of their instructions, with chunks of increments.

    Args:
        data: Tables and caches.
        split: Which split.
        rule: How poses become increments.
        is_misled: Whether each flight gets the instruction of another town's flight.
        limit: At most so many flights with their instruction, evenly over the split; 0 for all.
    """

    def __init__(
        self,
        data: ImitationData,
        split: str,
        rule: IncrementRule,
        *,
        is_misled: bool = False,
        limit: int = 0,
    ) -> None:
        self.flights = ImitationSamples(data, split, is_misled=is_misled, limit=limit)
        steps = data.steps.sort_values(["flight_id", "step"])
        poses = {
            str(key): rows[["x_m", "y_m", "yaw_rad"]].to_numpy(float)
            for key, rows in steps.groupby("flight_id", sort=False)
        }
        made = {flight: _increments(poses[flight], rule) for flight in set(self.flights.flight_ids)}
        self._made = [made[flight] for flight in self.flights.flight_ids]

    def __len__(self) -> int:
        """Number of samples of an epoch."""
        return len(self.flights)

    def identify(self, positions: Tensor) -> list[str]:
        """Return the ids of the instructions."""
        return self.flights.identify(positions)

    def batch(self, positions: Tensor, share: Share | None = None) -> dict[str, Any]:
        """Return what ``ImitationSamples.batch`` does, and what RDP needs besides.

        Returns:
            Also ``chunk`` (B, T, H, 3), ``past`` (B, T, P, 3), ``motion`` (B, T, 3) and
            ``stop_progress`` (B, T).
        """
        batch = self.flights.batch(positions, share)
        rows = positions if share is None else positions[share.rows]
        length = batch["is_step"].shape[1]
        chosen = [self._made[i] for i in rows.tolist()]
        made = {name: padded([row[name] for row in chosen], length) for name in chosen[0]}
        return {**batch, **made}


def _increments(poses: np.ndarray, rule: IncrementRule) -> dict[str, Tensor]:
    steps = range(len(poses))
    made = {
        "chunk": [chunk_ahead(poses, step, rule) for step in steps],
        "past": [past_of(poses, step, rule) for step in steps],
        "motion": [motion_of(pose, poses[0], rule) for pose in poses],
        "stop_progress": [(step + 1) / len(poses) for step in steps],
    }
    return {name: torch.tensor(np.array(rows), dtype=torch.float32) for name, rows in made.items()}


def journey(batch: dict[str, Tensor]) -> Journey:
    """What the policy may see of a batch."""
    return Journey(batch["rgb"], batch["depth"], batch["past"], batch["motion"], batch["tokens"])


class NoisySamples(DrawnSamples):
    """Samples for training: with noise, timesteps, and which steps are not told everything.

    Args:
        samples: Flights.
        num_timesteps: Timesteps of the diffusion.
        untold_share: Share of the steps that are predicted without the words.
        past_dropout: Share of the steps that are not told the increments before.
        seed: Of every draw.
    """

    def __init__(
        self,
        samples: RdpSamples,
        num_timesteps: int,
        untold_share: float,
        past_dropout: float,
        seed: int,
    ) -> None:
        super().__init__(samples, seed)
        self._num_timesteps, self._shares = num_timesteps, (untold_share, past_dropout)

    def batch(self, positions: Tensor, share: Share | None = None) -> dict[str, Any]:
        """Return samples with ``noise`` (B, T, H, 3), ``timesteps`` and ``is_told`` (B, T)."""
        batch = self._samples.batch(positions, share)
        rows = positions if share is None else positions[share.rows]
        shape = batch["chunk"].shape[1:]
        drawn = [self._draw(position, shape) for position in rows.tolist()]
        made = {name: torch.from_numpy(np.stack([row[name] for row in drawn])) for name in drawn[0]}
        batch["past"] = batch["past"] * ~made.pop("is_forgetful")[..., None, None]
        return {**batch, **made}

    def _draw(self, position: int, shape: torch.Size) -> dict[str, np.ndarray]:
        # One generator for each draw: its first values do not depend on how far others are padded.
        rngs = [self._rng(position, draw) for draw in range(4)]
        untold, forgetful = self._shares
        return {
            "noise": rngs[0].standard_normal(tuple(shape), np.float32),
            "timesteps": rngs[1].integers(0, self._num_timesteps, shape[0]),
            "is_told": rngs[2].random(shape[0]) >= untold,
            "is_forgetful": rngs[3].random(shape[0]) < forgetful,
        }
