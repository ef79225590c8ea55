"""Metrics of predicted spatial relations."""

from typing import Any

import numpy as np

from aquatint.geometry.relations import HORIZONTAL_RELATIONS, VERTICAL_RELATIONS
from aquatint.metrics.classification import NO_PREDICTION, classification_metrics

JOINT_RELATIONS = tuple(f"{h}-{v}" for h in HORIZONTAL_RELATIONS for v in VERTICAL_RELATIONS)


def spatial_metrics(
    horizontal_predicted: np.ndarray,
    horizontal_target: np.ndarray,
    vertical_predicted: np.ndarray,
    vertical_target: np.ndarray,
) -> dict[str, Any]:
    """Return the metrics of both axes and of the nine joint relations.

    Args:
        horizontal_predicted: 0 left, 1 center, 2 right, or -1 for none, shape (N,).
        horizontal_target: 0 left, 1 center, 2 right, shape (N,).
        vertical_predicted: 0 upper, 1 middle, 2 lower, or -1 for none, shape (N,).
        vertical_target: 0 upper, 1 middle, 2 lower, shape (N,).

    Returns:
        What ``classification_metrics`` gives for the nine joint relations (both axes right), and
        the same for each axis under ``horizontal`` and ``vertical``.

    Raises:
        ValueError: If the lengths differ or a label is out of range.
    """
    # Each axis first: a vertical label out of range could pass for another joint relation.
    horizontal = classification_metrics(
        horizontal_predicted, horizontal_target, HORIZONTAL_RELATIONS
    )
    vertical = classification_metrics(vertical_predicted, vertical_target, VERTICAL_RELATIONS)
    joint = classification_metrics(
        _joint_label(horizontal_predicted, vertical_predicted),
        _joint_label(horizontal_target, vertical_target),
        JOINT_RELATIONS,
    )
    return joint | {"horizontal": horizontal, "vertical": vertical}


def _joint_label(horizontal: np.ndarray, vertical: np.ndarray) -> np.ndarray:
    horizontal, vertical = np.asarray(horizontal), np.asarray(vertical)
    if horizontal.shape != vertical.shape:
        raise ValueError(
            f"horizontal and vertical labels must have one length, got shapes {horizontal.shape} "
            f"and {vertical.shape}."
        )
    has_both = (horizontal != NO_PREDICTION) & (vertical != NO_PREDICTION)
    return np.where(has_both, horizontal * len(VERTICAL_RELATIONS) + vertical, NO_PREDICTION)
