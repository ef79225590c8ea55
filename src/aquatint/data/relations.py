"""Spatial relations between the boxes of an image."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from aquatint.data.tables import BOX_COLUMNS, RELATION_DTYPES

# As seen from A, B must be further off than this share of A's own size to leave the middle.
CENTER_SHARE = 0.5


def relation_label(box_a_cxcywh: Sequence[float], box_b_cxcywh: Sequence[float]) -> tuple[int, int]:
    """Return where box B lies as seen from box A.

    The threshold is half of A's size, so the label of (B, A) is not the mirror of (A, B).

    Args:
        box_a_cxcywh: Center x, center y, width, height; x points right, y down.
        box_b_cxcywh: The same for B, in the same unit.

    Returns:
        Horizontal 0 left, 1 center, 2 right; vertical 0 upper, 1 middle, 2 lower.

    References:
        Chu et al., "Towards Natural Language-Guided Drones: GeoText-1652 Benchmark with Spatial
        Relation Matching", ECCV 2024, https://arxiv.org/abs/2311.12751.
    """
    a, b = np.asarray(box_a_cxcywh, dtype=float), np.asarray(box_b_cxcywh, dtype=float)
    return (
        int(_axis_label(a[0], b[0], a[2])),
        int(_axis_label(a[1], b[1], a[3])),
    )


def relation_table(regions: pd.DataFrame) -> pd.DataFrame:
    """Return the relation of every ordered pair of boxes within an image.

    Args:
        regions: Table that satisfies ``check_regions``; regions without a box are left out.

    Returns:
        image_id, region_a, region_b, horizontal, vertical (region_b as seen from region_a, as in
        ``relation_label``), split, building_id; in the order of the regions.
    """
    boxes = regions.loc[
        regions["has_box"], ["image_id", "region_id", "split", "building_id", *BOX_COLUMNS]
    ]
    # Inner join on the image: all pairs of one image, and nothing across images.
    pairs = boxes.merge(
        boxes[["image_id", "region_id", *BOX_COLUMNS]], on="image_id", suffixes=("_a", "_b")
    )
    pairs = pairs[pairs["region_id_a"] != pairs["region_id_b"]]
    table = pd.DataFrame(
        {
            "image_id": pairs["image_id"],
            "region_a": pairs["region_id_a"],
            "region_b": pairs["region_id_b"],
            "horizontal": _axis_label(pairs["cx_a"], pairs["cx_b"], pairs["w_a"]),
            "vertical": _axis_label(pairs["cy_a"], pairs["cy_b"], pairs["h_a"]),
            "split": pairs["split"],
            "building_id": pairs["building_id"],
        }
    )
    return table.reset_index(drop=True).astype(RELATION_DTYPES)


def _axis_label(
    center_a: float | pd.Series, center_b: float | pd.Series, size_a: float | pd.Series
) -> np.ndarray:
    offset = np.asarray(center_a) - np.asarray(center_b)
    is_central = np.abs(offset) < CENTER_SHARE * np.asarray(size_a)
    return np.where(is_central, 1, np.where(offset > 0, 0, 2))
