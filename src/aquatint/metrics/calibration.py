"""How far stated probabilities can be trusted."""

from __future__ import annotations

from typing import Any

import numpy as np


def calibration_metrics(
    confidence: np.ndarray, is_correct: np.ndarray, num_bins: int = 10
) -> dict[str, Any]:
    """Return the expected calibration error and what it is made of.

    Args:
        confidence: Probability of the chosen answer, in [0, 1], shape (N,).
        is_correct: Whether it was right, shape (N,).
        num_bins: Bins of equal width.

    Returns:
        ``expected_calibration_error`` (None without samples), ``bins`` with ``confidence``,
        ``accuracy`` and ``n`` of each that is not empty, ``n``.
    """
    _check_pairs(confidence, is_correct)
    edges = np.minimum((confidence * num_bins).astype(int), num_bins - 1)
    bins = [
        {
            "confidence": float(confidence[edges == i].mean()),
            "accuracy": float(is_correct[edges == i].mean()),
            "n": int((edges == i).sum()),
        }
        for i in range(num_bins)
        if (edges == i).any()
    ]
    n = len(confidence)
    error = sum(item["n"] * abs(item["confidence"] - item["accuracy"]) for item in bins)
    return {"expected_calibration_error": error / n if n else None, "bins": bins, "n": n}


def brier_error(probabilities: np.ndarray, target: np.ndarray) -> float | None:
    """Return the mean squared distance of probabilities from the truth; 0 is best, 2 worst.

    Args:
        probabilities: One row for each sample, shape (N, K).
        target: Class of each, shape (N,).
    """
    if len(target) == 0:
        return None
    truth = np.eye(probabilities.shape[1])[target]
    return float(((probabilities - truth) ** 2).sum(1).mean())


def roc_area(scores: np.ndarray, is_positive: np.ndarray) -> float | None:
    """Return the chance that a positive sample scores above a negative one, ties half.

    Args:
        scores: Higher means more likely positive, shape (N,).
        is_positive: Whether a sample is, shape (N,).

    Returns:
        Area in [0, 1]; None unless both kinds occur.
    """
    _check_pairs(scores, is_positive)
    is_positive = np.asarray(is_positive, bool)
    positive, negative = int(is_positive.sum()), int((~is_positive).sum())
    if not positive or not negative:
        return None
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return float((ranks[is_positive].sum() - positive * (positive + 1) / 2) / positive / negative)


def _check_pairs(values: np.ndarray, truths: np.ndarray) -> None:
    if len(values) != len(truths):
        raise ValueError(f"{len(values)} values need as many truths, got {len(truths)}.")
