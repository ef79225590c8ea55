"""Nine numbers about where an object lies among the others of its image, each in [0, 1]."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from aquatint.data.inspection_tables import records

SPATIAL_FEATURES = (
    "center_y",
    "box_area",
    "detector_confidence",
    "slope_drain_distance",
    "is_near_slope_drain",
    "is_above_toe_drain",
    "rock_toe_overlap",
    "vegetation_overlap",
    "is_below_slope_drain",
)
_NEAR = 0.2


def spatial_features(instances: pd.DataFrame) -> np.ndarray:
    """Return the features of every object.

    Args:
        instances: Rows with image_id, object_type, box and, for detections, confidence; annotated
            boxes count as sure.

    Returns:
        Columns of ``SPATIAL_FEATURES``, float32, shape (N, 9). Distances are between centres, over
        the square root of 2; without a slope drain the distance is 1.
    """
    features = np.zeros((len(instances), len(SPATIAL_FEATURES)), np.float32)
    rows = records(instances)
    by_image: dict[Any, list[int]] = {}
    for position, row in enumerate(rows):
        by_image.setdefault(row["image_id"], []).append(position)
    for positions in by_image.values():
        for position in positions:
            others = [rows[i] for i in positions if i != position]
            features[position] = _features(rows[position], others)
    return features


def _features(row: Mapping[str, Any], others: list[dict[str, Any]]) -> list[float]:
    drains = [other for other in others if other["object_type"] == "slope_drain"]
    toes = [other for other in others if other["object_type"] == "toe_drain"]
    distances = [
        math.hypot(row["cx"] - other["cx"], row["cy"] - other["cy"]) / math.sqrt(2)
        for other in drains
    ]
    distance = min(distances, default=1.0)
    return [
        row["cy"],
        (row["x2"] - row["x1"]) * (row["y2"] - row["y1"]),
        float(row.get("confidence", 1.0)),
        distance,
        float(distance < _NEAR),
        float(any(row["cy"] < other["cy"] for other in toes)),
        _overlap(row, [other for other in others if other["object_type"] == "rock_toe"]),
        _overlap(row, [other for other in others if other["object_type"] == "vegetation"]),
        float(any(row["cy"] > other["cy"] for other in drains)),
    ]


def _overlap(row: Mapping[str, Any], others: list[dict[str, Any]]) -> float:
    """Largest share of the object's box that another one covers."""
    area = (row["x2"] - row["x1"]) * (row["y2"] - row["y1"])
    shares = [
        max(0.0, min(row["x2"], other["x2"]) - max(row["x1"], other["x1"]))
        * max(0.0, min(row["y2"], other["y2"]) - max(row["y1"], other["y1"]))
        / area
        for other in others
    ]
    return max(shares, default=0.0)
