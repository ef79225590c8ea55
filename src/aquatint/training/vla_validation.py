"""Validation of a policy after each epoch: the training's own loss on steps that never train."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from aquatint.training.precision import to_device
from aquatint.training.vla_samples import RobotSteps, draw_noise

if TYPE_CHECKING:
    from aquatint.training.vla_losses import ActionLosses
    from aquatint.training.vla_model import VlaModel

_BATCH, _NOISE, _DRAWS = 128, 21, 4


def validate_on(
    steps: RobotSteps, losses: ActionLosses, num_val: int, seed: int, num_train_timesteps: int
) -> Callable[[Any], dict[str, float]]:
    """Return the function that scores a model, higher is better.

    The loss is the training's, over all chosen steps as one batch, with the same weights; a
    diffusion is asked at four fixed timesteps a step, so that epochs can be compared.

    Args:
        steps: Steps of the val split.
        losses: Loss of a batch.
        num_val: Most steps looked at.
        seed: Decides noise and timesteps.
        num_train_timesteps: Timesteps of a diffusion; 0 for regression.
    """
    stride = max(1, -(-len(steps) // num_val))
    chosen = np.arange(0, len(steps), stride)

    def evaluate(model: VlaModel) -> dict[str, float]:
        found = {
            "loss": _loss(model, steps, chosen, losses, seed, num_train_timesteps),
        }
        # With and without the sensor, to see whether its encoder converges.
        heard = steps.rows["has_sensor"].to_numpy(bool)[chosen]
        for name, rows in (("sensor", chosen[heard]), ("no_sensor", chosen[~heard])):
            if len(rows):
                found[f"loss_{name}"] = _loss(model, steps, rows, losses, seed, num_train_timesteps)
        return {"score": -found["loss"], **found}

    return evaluate


def _loss(
    model: VlaModel,
    steps: RobotSteps,
    chosen: np.ndarray,
    losses: ActionLosses,
    seed: int,
    num_train_timesteps: int,
) -> float:
    device = next(model.parameters()).device
    total, weight = 0.0, 0.0
    draws = _DRAWS if num_train_timesteps else 1
    for draw in range(draws):
        for start in range(0, len(chosen), _BATCH):
            rows = chosen[start : start + _BATCH]
            batch = steps.batch(rows)
            if num_train_timesteps:
                batch |= fixed_noise(batch, rows, draw, draws, seed, num_train_timesteps)
            batch = to_device({**batch, "is_counted": True}, device)
            counted = float((batch["weights"] * (~batch["is_pad"]).sum(1)).sum())
            total += float(losses(model, batch)["action"]) * counted
            weight += counted
    return total / max(weight, 1e-9)


def fixed_noise(
    batch: dict[str, Any],
    rows: np.ndarray,
    draw: int,
    num_draws: int,
    seed: int,
    num_train_timesteps: int,
) -> dict[str, torch.Tensor]:
    """One draw of noise (B, 1, H, A) and timesteps (B, 1), the same in every epoch."""
    shape = tuple(batch["target"].shape[1:])
    noise = draw_noise(seed, _NOISE, [(draw, int(row)) for row in rows], shape)
    offsets = (rows * 0.6180339887 + draw / num_draws) % 1.0
    return {
        "noise": torch.from_numpy(noise)[:, None],
        "timesteps": torch.from_numpy((offsets * num_train_timesteps).astype(np.int64))[:, None],
    }
