"""Learning rates and loss weights as pure functions of the step or the epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any


def cosine_factor(
    step: int,
    num_steps: int,
    warmup_fraction: float,
    hold_fraction: float = 0.0,
    floor: float = 0.0,
) -> float:
    """Factor on the learning rate: linear warm-up, the peak held, then half a cosine down.

    Args:
        step: Optimizer step counted from 0.
        num_steps: Steps of the whole training; the factor would reach 0 at this step.
        warmup_fraction: Share of ``num_steps`` that warms up, in [0, 1).
        hold_fraction: Share of ``num_steps`` at the peak behind that.
        floor: Where the cosine ends, in [0, 1].

    Returns:
        Factor in (0, 1] for every step below ``num_steps``; never 0, so that each step trains.
    """
    num_warmup = round(warmup_fraction * num_steps)
    if step < num_warmup:
        return (step + 1) / (num_warmup + 1)
    num_before = num_warmup + round(hold_fraction * num_steps)
    if step < num_before:
        return 1.0
    progress = (step - num_before) / max(1, num_steps - num_before)
    return floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2


def ramped_weights(
    weights: Mapping[Any, float], ramped: Sequence[str], ramp: Sequence[float], epoch: int
) -> dict[str, float]:
    """Loss weights of one epoch.

    Args:
        weights: Full weight by loss name.
        ramped: Names whose weight is multiplied by the ramp.
        ramp: Factor in epochs 0, 1, ...; the last one holds for all later epochs.
        epoch: Epoch counted from 0.
    """
    factor = ramp[min(epoch, len(ramp) - 1)]
    return {name: w * factor if name in ramped else w for name, w in weights.items()}
