"""What anchors decode to, against their targets: masks, depth, edges, features, homogeneity."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

DEPTH_RATIO = 1.25
EDGE_THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 20))


def matched_masks(predicted: np.ndarray, target: np.ndarray) -> dict[str, float] | None:
    """Dice and intersection over union of an image's masks, paired so that Dice is most.

    Args:
        predicted: bool, shape (P, H, W).
        target: bool, shape (T, H, W).

    Returns:
        ``dice_score`` and ``iou_score``, means over the targets (one without a partner counts 0);
        None without targets.
    """
    if len(target) == 0:
        return None
    flat, wanted = predicted.reshape(len(predicted), -1), target.reshape(len(target), -1)
    both = flat.astype(float) @ wanted.T.astype(float)
    sums = flat.sum(1)[:, None] + wanted.sum(1)[None]
    dice = np.divide(2 * both, sums, out=np.zeros_like(both), where=sums > 0)
    union = sums - both
    iou = np.divide(both, union, out=np.zeros_like(both), where=union > 0)
    rows, columns = linear_sum_assignment(-dice)
    count = len(target)
    return {
        "dice_score": float(dice[rows, columns].sum() / count),
        "iou_score": float(iou[rows, columns].sum() / count),
    }


def depth_errors(predicted: np.ndarray, target: np.ndarray) -> dict[str, float]:
    """Errors of one depth map.

    Args:
        predicted: Depth, shape (H, W).
        target: Depth above 0 in the same unit.

    Returns:
        ``l1_error`` in that unit, ``abs_rel_error``, and ``delta_score``: the share of pixels
        whose ratio to the target is below 1.25 either way.
    """
    predicted, target = predicted.astype(float), target.astype(float)
    difference = np.abs(predicted - target)
    safe = np.maximum(predicted, 1e-6)
    ratio = np.maximum(safe / target, target / safe)
    return {
        "l1_error": float(difference.mean()),
        "abs_rel_error": float((difference / target).mean()),
        "delta_score": float((ratio < DEPTH_RATIO).mean()),
    }


def edge_counts(predicted: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Hits, predicted and annotated edge pixels at every threshold, shape (19, 3).

    Args:
        predicted: Probability of an edge, shape (H, W).
        target: bool, shape (H, W).
    """
    counts = []
    for threshold in EDGE_THRESHOLDS:
        found = predicted >= threshold
        counts.append([(found & target).sum(), found.sum(), target.sum()])
    return np.array(counts, float)


def best_edge_f1(counts: np.ndarray) -> dict[str, float]:
    """F1 over all images at the one threshold that suits them best.

    Args:
        counts: Sum of ``edge_counts`` over images.

    Returns:
        ``f1_score`` and ``threshold``.
    """
    sums = counts[:, 1] + counts[:, 2]
    f1 = np.divide(2 * counts[:, 0], sums, out=np.zeros(len(counts)), where=sums > 0)
    best = int(f1.argmax())
    return {"f1_score": float(f1[best]), "threshold": EDGE_THRESHOLDS[best]}


def feature_cosine(predicted: np.ndarray, target: np.ndarray) -> float:
    """Mean cosine of feature vectors, shape (..., F) both."""
    dots = (predicted * target).sum(-1)
    norms = np.linalg.norm(predicted, axis=-1) * np.linalg.norm(target, axis=-1)
    return float((dots / np.maximum(norms, 1e-12)).mean())


def homogeneity(states: np.ndarray) -> float:
    """Mean cosine of all pairs of a span's hidden states; 1 where all tokens say the same.

    Args:
        states: Shape (n, D), n at least 2.
    """
    unit = states / np.maximum(np.linalg.norm(states, axis=1, keepdims=True), 1e-12)
    cosines = unit @ unit.T
    count = len(states)
    return float((cosines.sum() - np.trace(cosines)) / (count * (count - 1)))
