"""Weights and repeats against uneven classes, from counts of the train split alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd


def inverse_frequency_weights(counts: Mapping[str, int]) -> dict[str, float]:
    """Return n_max / n_c for each class, 1 for the most frequent one.

    Raises:
        ValueError: If a class has no instance: its weight would be infinite.
    """
    _check_counts(counts)
    largest = max(counts.values())
    return {name: largest / count for name, count in counts.items()}


def effective_number_weights(counts: Mapping[str, int], beta: float) -> dict[str, float]:
    """Return (1 - beta) / (1 - beta ** n_c), scaled to a mean of 1.

    Args:
        counts: Instances by class.
        beta: In [0, 1); 0 weights all classes alike.

    References:
        Cui et al., "Class-Balanced Loss Based on Effective Number of Samples", CVPR 2019,
        https://arxiv.org/abs/1901.05555.
    """
    _check_counts(counts)
    raw = {name: (1 - beta) / (1 - beta**count) for name, count in counts.items()}
    mean = sum(raw.values()) / len(raw)
    return {name: value / mean for name, value in raw.items()}


def _check_counts(counts: Mapping[str, int]) -> None:
    missing = sorted(name for name, count in counts.items() if count < 1)
    if missing:
        raise ValueError(f"Weights need at least one train instance a class; none of {missing}.")


def capped(weights: Mapping[str, float], cap: float | None) -> dict[str, float]:
    """Return the weights, none above ``cap``."""
    return {name: value if cap is None else min(value, cap) for name, value in weights.items()}


def repeats(weights: Mapping[str, float], threshold: float = 2.0) -> dict[str, int]:
    """Return how often each class is shown: floor of its weight above the threshold, else once."""
    return {name: int(value) if value > threshold else 1 for name, value in weights.items()}


def oversampled_rows(class_names: Sequence[str], times: Mapping[str, int]) -> np.ndarray:
    """Return row numbers with each row as often as its class asks for, shape (M,)."""
    return np.repeat(np.arange(len(class_names)), [times[name] for name in class_names])


def balanced_rows(class_names: Sequence[str], seed: int) -> np.ndarray:
    """Return as many row numbers as there are rows, drawn so that all classes are as likely.

    Drawn once for the whole training, because the order of an epoch is a function of its number.
    """
    names = pd.Series(list(class_names))
    chances = 1.0 / names.map(names.value_counts())
    rng = np.random.default_rng([seed, 71])
    return np.sort(rng.choice(len(names), len(names), p=chances / chances.sum()))


def loss_shares(class_names: Sequence[str], weights: Sequence[float]) -> dict[str, float]:
    """Return the share of the loss that each class has, by weight and number of rows."""
    table = pd.DataFrame({"class_name": list(class_names), "weight": list(weights)})
    sums = table.groupby("class_name")["weight"].sum()
    return {str(name): float(value) for name, value in (sums / sums.sum()).items()}
