"""Fans of trajectories: many samples for one frame, and what the critic thinks of each."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from aquatint.models.navdp import GoalKind, NavDpPolicy


class Fan(NamedTuple):
    """Sampled trajectories.

    Attributes:
        actions: Increments, shape (B, K, H, 3).
        values: The critic's opinion, shape (B, K).
        seen: Tokens of what was seen, shape (B, Q, D).
    """

    actions: Tensor
    values: Tensor
    seen: Tensor


def start_noise(ids: Sequence[str], num_samples: int, horizon: int, seed: int) -> Tensor:
    """Return noise to start from, a function of each id and the seed, shape (B, K, H, 3).

    Fewer samples are the first of more: a policy without its critic takes the first.
    """
    rows = []
    for name in ids:
        digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
        rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
        rows.append(rng.standard_normal((num_samples, horizon, 3), np.float32))
    return torch.from_numpy(np.stack(rows))


@torch.inference_mode()
def sample_fan(
    model: NavDpPolicy,
    batch: Mapping[str, Tensor],
    kind: GoalKind,
    start: Tensor,
) -> Fan:
    """Sample trajectories for frames and let the critic judge them.

    Args:
        model: The policy.
        batch: As ``NavDpSamples.batch`` gives it; labels are not looked at.
        kind: How the goal is told.
        start: Noise to start from, shape (B, K, H, 3).
    """
    seen = model.see(batch["rgb"], batch["depth"])
    condition = model.condition(seen, model.slots_for(kind, batch))
    actions = model.decoder.sample(model.diffusion, condition, start, generators_of(start))
    return Fan(actions, model.decoder.values_of(actions, condition), seen)


def generators_of(start: Tensor) -> list[torch.Generator]:
    """Return one source of ddpm's fresh noise for each trajectory, a function of its start alone.

    Start noise has the shape (B, K, H, 3). With one for all, a plan would depend on which other
    frames are in its batch.
    """
    seeds = start.flatten(0, 1).flatten(1)[:, 0].contiguous().view(torch.int32).tolist()
    return [torch.Generator(start.device).manual_seed(seed % 2**31) for seed in seeds]
