"""Comparisons of two systems on the same samples, and intervals over groups of samples."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def mcnemar(first: np.ndarray, second: np.ndarray) -> dict[str, Any]:
    """Test whether two systems are right equally often, on the samples where they differ.

    Args:
        first: Whether the first system was right, shape (N,).
        second: Whether the second was, on the same samples, shape (N,).

    Returns:
        ``only_first``, ``only_second``, ``p_value`` (exact, two-sided; 1 where they never differ),
        ``n``.

    Raises:
        ValueError: If the two do not pair up.

    References:
        McNemar, "Note on the sampling error of the difference between correlated proportions",
        Psychometrika 1947, https://doi.org/10.1007/BF02295996. Exact binomial form.
    """
    first, second = np.asarray(first, bool), np.asarray(second, bool)
    if first.shape != second.shape:
        raise ValueError(f"Both systems need the same samples, got {len(first)}, {len(second)}.")
    only_first = int((first & ~second).sum())
    only_second = int((~first & second).sum())
    differing, fewer = only_first + only_second, min(only_first, only_second)
    # In logarithms: 0.5 ** n underflows from a thousand samples on.
    terms = [
        math.lgamma(differing + 1) - math.lgamma(k + 1) - math.lgamma(differing - k + 1)
        for k in range(fewer + 1)
    ]
    tail = sum(math.exp(term - differing * math.log(2)) for term in terms)
    return {
        "only_first": only_first,
        "only_second": only_second,
        "p_value": min(1.0, 2 * tail),
        "n": len(first),
    }


def group_bootstrap_interval(
    is_correct: np.ndarray, groups: np.ndarray, num_draws: int = 2000, seed: int = 0
) -> list[float] | None:
    """Return a 95 % interval of accuracy that takes whole groups as the unit of chance.

    Objects of one photograph share light and camera; taken as independent, they would make the
    interval too narrow.

    Args:
        is_correct: Whether each sample was right (or any value to average), shape (N,).
        groups: Group of each sample, shape (N,).
        num_draws: Resamples.
        seed: Seed of the resamples.

    Returns:
        Low and high end; None with fewer than two groups.
    """
    names, inverse = np.unique(groups, return_inverse=True)
    if len(names) < 2:
        return None
    sums = np.bincount(inverse, weights=np.asarray(is_correct, float), minlength=len(names))
    counts = np.bincount(inverse, minlength=len(names)).astype(float)
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(names), size=(num_draws, len(names)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return [float(low), float(high)]
