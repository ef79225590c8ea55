"""Masks, depth and edges as pictures."""

from __future__ import annotations

import numpy as np

_PALETTE = np.array(
    [[230, 85, 60], [60, 130, 215], [245, 190, 60], [70, 170, 110], [160, 95, 190], [60, 190, 200],
     [235, 130, 180], [150, 120, 80]], float,
)  # fmt: skip
_NEAR, _FAR = np.array([252, 225, 110.0]), np.array([40, 25, 90.0])
_MIN_MASK = 0.5


def picture_of(name: str, values: np.ndarray) -> np.ndarray | None:
    """Return a picture of an anchor's prediction or target, or None for features.

    Args:
        name: Anchor.
        values: Masks (K, M, M), depth or edges (M, M).

    Returns:
        RGB as uint8, shape (M, M, 3).
    """
    match name:
        case "sam":
            return _paint_masks(values)
        case "depth":
            return paint_depth(values, float(values.min()), float(values.max()))
        case "pidinet":
            grey = 255 * (1 - values.astype(float).clip(0, 1))
            return np.repeat(grey[..., None], 3, -1).astype(np.uint8)
    return None


def paint_depth(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Paint near places bright and far ones dark, between two depths."""
    share = (values.astype(float) - low) / max(high - low, 1e-6)
    share = share.clip(0, 1)[..., None]
    return (_NEAR * (1 - share) + _FAR * share).astype(np.uint8)


def _paint_masks(values: np.ndarray) -> np.ndarray:
    picture = np.full((*values.shape[1:], 3), 238.0)
    # The largest first, so that none hides a smaller one.
    areas = (values > _MIN_MASK).sum((1, 2))
    for index in np.argsort(-areas, kind="stable"):
        mask = values[index] > _MIN_MASK
        picture[mask] = _PALETTE[index % len(_PALETTE)]
    return picture.astype(np.uint8)
