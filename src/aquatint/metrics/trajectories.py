"""How good sampled trajectories are, and how well a critic tells them apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Floats = NDArray[np.float64]


def average_displacement_error(predicted: Floats, target: Floats) -> Floats:
    """Return the mean distance between waypoints, ADE.

    Args:
        predicted: Metres ahead and to the left, shape (..., H, 2).
        target: Shape that goes with it.

    Returns:
        Metres, shape (...).
    """
    return np.linalg.norm(predicted - target, axis=-1).mean(-1)


def final_displacement_error(predicted: Floats, target: Floats) -> Floats:
    """Return the distance between last waypoints (FDE) in metres, arguments as for ADE."""
    return np.linalg.norm(predicted[..., -1, :] - target[..., -1, :], axis=-1)


def rank_correlation(first: Floats, second: Floats) -> float | None:
    """Return Spearman's correlation of two vectors (N,); None where one of them is constant."""
    if len(first) < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(np.corrcoef(rankdata(first), rankdata(second))[0, 1])


def top_regret(predicted_values: Floats, true_values: Floats) -> Floats:
    """Return what choosing by prediction loses against the best choice.

    Args:
        predicted_values: Shape (N, K).
        true_values: Shape (N, K).

    Returns:
        At least 0, shape (N,).
    """
    chosen = predicted_values.argmax(1)
    return true_values.max(1) - true_values[np.arange(len(chosen)), chosen]


def separation_score(positive: Floats, negative: Floats) -> float | None:
    """Return the area under the ROC curve: how often a positive value is above a negative one.

    Args:
        positive: Values of the better kind, shape (N,).
        negative: Values of the worse kind, shape (M,).

    Returns:
        In [0, 1], ties count half; None without values of both kinds.
    """
    if not len(positive) or not len(negative):
        return None
    ranks = rankdata(np.concatenate([positive, negative]))
    count = len(positive)
    above = ranks[:count].sum() - count * (count + 1) / 2
    return float(above / (count * len(negative)))
