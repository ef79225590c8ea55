"""Metrics of predicted classes of inspected objects, beside what sees no image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from aquatint.metrics.calibration import brier_error, calibration_metrics, roc_area
from aquatint.metrics.classification import NO_PREDICTION, classification_metrics
from aquatint.metrics.intervals import confidence_interval
from aquatint.metrics.paired import group_bootstrap_interval, mcnemar
from aquatint.training.blind_baselines import BLIND_BASELINES, predict_blindly

ClassMap = Mapping[str, Mapping[str, str]]


def evaluate_answers(
    predictions: pd.DataFrame, instances: pd.DataFrame, class_map: ClassMap
) -> dict[str, Any]:
    """Return all metrics of one system.

    Args:
        predictions: Table of ``predict``.
        instances: Instances of all splits; the train split is what baselines learn from.
        class_map: Type and condition of each class.

    Returns:
        Accuracy with both intervals, balanced accuracy, macro-F1, values per class, condition and
        type, three confusions, calibration, invalid answers, baselines and the lift over the one
        that knows the type, as plain JSON values.
    """
    names = list(class_map)
    table = _with_parts(predictions, class_map)
    is_correct = (table["predicted"] == table["target"]).to_numpy()
    by_class = classification_metrics(
        _numbered(table["predicted"], names), _numbered(table["target"], names), names
    )
    recalls = [entry["recall"] for entry in by_class["per_class"].values() if entry["n"]]
    baselines = evaluate_baselines(table, instances)
    type_only = _blind(table, instances, "type_only") == table["target"]
    return {
        "n": len(table),
        "num_images": int(table["image_id"].nunique()),
        "num_source_photos": int(table["source_group"].nunique()),
        "correct": int(is_correct.sum()),
        "accuracy": by_class["accuracy"],
        "accuracy_interval": by_class["accuracy_interval"],
        "accuracy_interval_by_photo": group_bootstrap_interval(
            is_correct, table["source_group"].to_numpy()
        ),
        "balanced_accuracy": float(np.mean(recalls)) if recalls else None,
        "macro_f1": by_class["macro_f1"],
        "per_class": _with_intervals(by_class["per_class"]),
        "per_condition": _accuracy_by(table, "condition", is_correct),
        "per_object_type": _accuracy_by(table, "object_type", is_correct),
        "condition_given_type": _condition_accuracy(table),
        "confusion": {
            "class": _confusion(table, "predicted", "target", names),
            "condition": _confusion(
                table, "predicted_condition", "condition", _values(class_map, "condition")
            ),
            "object_type": _confusion(
                table, "predicted_type", "object_type", _values(class_map, "object_type")
            ),
        },
        "invalid": {
            "count": int(table["predicted"].isna().sum()),
            "rate": float(table["predicted"].isna().mean()) if len(table) else None,
        },
        "n_failed": 0,  # an object that cannot be read stops the run; none is left out of n
        "calibration": _calibration(table, class_map, is_correct),
        "baselines": baselines,
        "open_types": _open_types(table, type_only.to_numpy(), is_correct, class_map),
        "lift_over_type_only": compare_systems(
            is_correct, type_only.to_numpy(), table["source_group"].to_numpy()
        ),
        "seconds_per_object": float(table["seconds"].mean()) if len(table) else None,
    }


def compare_systems(first: np.ndarray, second: np.ndarray, groups: np.ndarray) -> dict[str, Any]:
    """Return how much more often the first system is right, with interval and McNemar's test.

    Args:
        first: Whether the first was right, shape (N,).
        second: Whether the second was, shape (N,).
        groups: Photograph of each sample, shape (N,).
    """
    difference = np.asarray(first, float) - np.asarray(second, float)
    return {
        "difference": float(difference.mean()) if len(difference) else None,
        "difference_interval": group_bootstrap_interval(difference, groups),
        **mcnemar(first, second),
    }


def evaluate_baselines(
    table: pd.DataFrame, instances: pd.DataFrame, target: str = "class_name"
) -> dict[str, dict[str, Any]]:
    """Return the accuracy of every baseline that sees no image.

    Args:
        table: Predictions, or any rows with instance_id.
        instances: Instances of all splits.
        target: Column of ``instances`` that is to be named.
    """
    found = {}
    for name in BLIND_BASELINES:
        truth = _asked(table, instances)[target].to_numpy()
        hits = int((_blind(table, instances, name, target).to_numpy() == truth).sum())
        found[name] = {
            "accuracy": hits / len(truth) if len(truth) else None,
            "accuracy_interval": confidence_interval(hits, len(truth)),
            "knows": list(BLIND_BASELINES[name]),
            "n": len(truth),
        }
    return found


def _blind(
    table: pd.DataFrame, instances: pd.DataFrame, name: str, target: str = "class_name"
) -> pd.Series:
    train = instances[instances["split"] == "train"]
    answers = predict_blindly(train, _asked(table, instances), BLIND_BASELINES[name], target)
    return answers.set_axis(table.index)


def _asked(table: pd.DataFrame, instances: pd.DataFrame) -> pd.DataFrame:
    return instances.set_index("instance_id").loc[table["instance_id"]]


def _with_parts(predictions: pd.DataFrame, class_map: ClassMap) -> pd.DataFrame:
    def part(key: str) -> pd.Series:
        entries = {name: entry[key] for name, entry in class_map.items()}
        return predictions["predicted"].map(entries)

    return predictions.assign(
        predicted_condition=part("condition"), predicted_type=part("object_type")
    )


def _numbered(values: pd.Series, names: Sequence[str]) -> np.ndarray:
    codes = {name: i for i, name in enumerate(names)}
    return values.map(codes).fillna(NO_PREDICTION).to_numpy(int)


def _confusion(
    table: pd.DataFrame, predicted: str, target: str, names: Sequence[str]
) -> dict[str, Any]:
    """All names, also those that are no target of this split: what was taken for one counts."""
    labels = list(names)
    counts = pd.crosstab(table[target], table[predicted].fillna("invalid"))
    columns = [*labels, *(["invalid"] if "invalid" in counts else [])]
    counts = counts.reindex(index=labels, columns=columns, fill_value=0)
    return {"class_names": labels, "columns": columns, "confusion": counts.to_numpy().tolist()}


def _values(class_map: ClassMap, key: str) -> list[str]:
    return sorted({entry[key] for entry in class_map.values()})


def _with_intervals(per_class: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    found = {}
    for name, scores in per_class.items():
        correct = round((scores["recall"] or 0) * scores["n"])
        interval = confidence_interval(correct, scores["n"])
        found[name] = {**scores, "correct": correct, "recall_interval": interval}
    return found


def _accuracy_by(table: pd.DataFrame, column: str, is_correct: np.ndarray) -> dict[str, Any]:
    return {
        str(name): _share(is_correct[(table[column] == name).to_numpy()])
        for name in sorted(table[column].unique())
    }


def _share(hits: np.ndarray) -> dict[str, Any]:
    n, correct = len(hits), int(hits.sum())
    return {
        "accuracy": correct / n if n else None,
        "accuracy_interval": confidence_interval(correct, n),
        "correct": correct,
        "n": n,
    }


def _condition_accuracy(table: pd.DataFrame) -> dict[str, Any]:
    """Of the objects whose type was named right, how often the condition was."""
    named = table[table["predicted_type"] == table["object_type"]]
    hits = (named["predicted_condition"] == named["condition"]).to_numpy()
    return {"all": _share(hits), **_accuracy_by(named, "object_type", hits)}


def _open_types(
    table: pd.DataFrame, type_only: np.ndarray, is_correct: np.ndarray, class_map: ClassMap
) -> dict[str, Any]:
    """Accuracy on types that have several conditions: the others are no question."""
    counts = pd.Series([entry["object_type"] for entry in class_map.values()]).value_counts()
    is_open = table["object_type"].map(counts).to_numpy() > 1
    return {"system": _share(is_correct[is_open]), "type_only": _share(type_only[is_open])}


def _calibration(
    table: pd.DataFrame, class_map: ClassMap, is_correct: np.ndarray
) -> dict[str, Any] | None:
    """How far probabilities can be trusted; None for written answers, which have none."""
    if not len(table) or not table["probabilities"].map(len).all():
        return None
    names = list(class_map)
    spread = np.zeros((len(table), len(names)))
    for row, (options, values) in enumerate(
        zip(table["options"], table["probabilities"], strict=True)
    ):
        for name, value in zip(options, values, strict=True):
            spread[row, names.index(name)] = value
    is_faulty = np.array([entry["condition"] != "normal" for entry in class_map.values()])
    return {
        **calibration_metrics(table["confidence"].to_numpy(float), is_correct),
        "brier_error": brier_error(spread, _numbered(table["target"], names)),
        "faulty_roc_area": roc_area(
            spread[:, is_faulty].sum(1), (table["condition"] != "normal").to_numpy()
        ),
    }


def evaluate_splits(
    predictions: pd.DataFrame, instances: pd.DataFrame, class_map: ClassMap
) -> dict[str, Any]:
    """Return the metrics of the test split, with those of the validation split under ``val``."""
    by_split = {
        split: evaluate_answers(rows.reset_index(drop=True), instances, class_map)
        for split, rows in predictions.groupby("split")
    }
    return {**by_split.get("test", {}), "val": by_split.get("val")}
