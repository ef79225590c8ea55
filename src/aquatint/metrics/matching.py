"""One-to-one matches of detected with annotated boxes."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment


def pairwise_iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the overlap of every box with every other.

    Args:
        first: Left, top, right, bottom, shape (N, 4).
        second: The same in the same unit, shape (M, 4).

    Returns:
        Intersection over union in [0, 1], shape (N, M).
    """
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    common = (high - low).clip(min=0).prod(-1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).clip(min=0).prod(-1) for boxes in (first, second)]
    union = areas[0][:, None] + areas[1][None] - common
    return np.where(union > 0, common / np.where(union > 0, union, 1), 0.0)


def match_boxes(
    detected: np.ndarray,
    annotated: np.ndarray,
    min_iou: float,
    is_allowed: np.ndarray | None = None,
) -> list[tuple[int, int]]:
    """Match boxes so that the overlaps add up to the most, each box once.

    Args:
        detected: Boxes, shape (N, 4).
        annotated: Boxes, shape (M, 4).
        min_iou: Least overlap of a match, in (0, 1].
        is_allowed: Which pairs may match, for instance those of one type, shape (N, M).

    Returns:
        Pairs of positions (detected, annotated), by the first.
    """
    if not len(detected) or not len(annotated):
        return []
    overlap = pairwise_iou(detected, annotated)
    is_good = overlap >= min_iou
    if is_allowed is not None:
        is_good &= is_allowed
    rows, columns = linear_sum_assignment(np.where(is_good, overlap, 0.0), maximize=True)
    pairs = zip(rows.tolist(), columns.tolist(), strict=True)
    return [(row, column) for row, column in pairs if is_good[row, column]]
