"""Metrics of predicted classes, with the baseline that needs no model."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from aquatint.metrics.intervals import confidence_interval

NO_PREDICTION = -1


def confusion_matrix(predicted: np.ndarray, target: np.ndarray, num_classes: int) -> np.ndarray:
    """Return how often each target class was predicted as each class.

    Args:
        predicted: Predicted class counted from 0, or -1 for none, shape (N,).
        target: Target class counted from 0, shape (N,).
        num_classes: Number of classes.

    Returns:
        Counts with a row for each target and a column for each prediction, int64, shape
        (num_classes, num_classes); samples without a prediction are not in it.

    Raises:
        ValueError: If the lengths differ or a class is out of range.
    """
    predicted, target = np.asarray(predicted), np.asarray(target)
    if predicted.shape != target.shape or predicted.ndim != 1:
        raise ValueError(
            f"predicted and target must be vectors of one length, got shapes {predicted.shape} "
            f"and {target.shape}."
        )
    _check_range("target", target, 0, num_classes)
    _check_range("predicted", predicted, NO_PREDICTION, num_classes)
    is_predicted = predicted != NO_PREDICTION
    cells = target[is_predicted].astype(np.int64) * num_classes + predicted[is_predicted]
    counts = np.bincount(cells.astype(np.int64), minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes)


def classification_metrics(
    predicted: np.ndarray, target: np.ndarray, class_names: Sequence[str]
) -> dict[str, Any]:
    """Return accuracy, per-class scores, confusions and the majority baseline.

    Args:
        predicted: Predicted class counted from 0, or -1 where the model named none, which counts
            as wrong, shape (N,).
        target: Target class counted from 0, shape (N,).
        class_names: Name of each class.

    Returns:
        ``accuracy`` with its 95 % ``accuracy_interval``; ``macro_f1``: mean F1 over the classes
        that occur as target or prediction; ``per_class`` by name: ``precision``, ``recall``,
        ``f1`` and ``n``, None where nothing was there to divide by; ``confusion``: rows are
        targets, columns predictions; ``class_names``; ``n``; ``num_without_prediction``;
        ``majority_baseline``: accuracy of always naming the most frequent target.

    Raises:
        ValueError: If the lengths differ or a class is out of range.
    """
    predicted, target = np.asarray(predicted), np.asarray(target)
    confusion = confusion_matrix(predicted, target, len(class_names))
    n = len(target)
    num_correct = int(np.trace(confusion))
    targets_per_class = np.bincount(target.astype(np.int64), minlength=len(class_names))
    per_class = {
        name: _class_scores(
            int(confusion[index, index]),
            int(confusion[:, index].sum()),
            int(targets_per_class[index]),
        )
        for index, name in enumerate(class_names)
    }
    f1_scores = [scores["f1"] for scores in per_class.values() if scores["f1"] is not None]
    return {
        "accuracy": _ratio(num_correct, n),
        "accuracy_interval": confidence_interval(num_correct, n),
        "macro_f1": _ratio(sum(f1_scores), len(f1_scores)),
        "per_class": per_class,
        "confusion": confusion.tolist(),
        "class_names": list(class_names),
        "n": n,
        "num_without_prediction": int((predicted == NO_PREDICTION).sum()),
        "majority_baseline": _ratio(int(targets_per_class.max(initial=0)), n),
    }


def _class_scores(num_hits: int, num_predicted: int, num_targets: int) -> dict[str, Any]:
    return {
        "precision": _ratio(num_hits, num_predicted),
        "recall": _ratio(num_hits, num_targets),
        "f1": _ratio(2 * num_hits, num_predicted + num_targets),
        "n": num_targets,
    }


def _ratio(numerator: float, denominator: int) -> float | None:
    return numerator / denominator if denominator else None


def _check_range(name: str, classes: np.ndarray, lowest: int, num_classes: int) -> None:
    is_bad = (classes < lowest) | (classes >= num_classes)
    if is_bad.any():
        raise ValueError(
            f"{name} must be between {lowest} and {num_classes - 1}, got {classes[is_bad][0]} "
            f"({int(is_bad.sum())} of {len(classes)} out of range)."
        )
