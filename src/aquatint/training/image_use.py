"""Whether a model looks: its accuracy without, and with exchanged, images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from aquatint.metrics.calibration import brier_error, calibration_metrics, roc_area
from aquatint.metrics.classification import classification_metrics
from aquatint.metrics.intervals import confidence_interval
from aquatint.metrics.paired import group_bootstrap_interval
from aquatint.training.blind_baselines import BLIND_BASELINES
from aquatint.training.inspection_evaluation import compare_systems, evaluate_baselines


def evaluate_image_use(
    predictions: dict[str, pd.DataFrame], instances: pd.DataFrame
) -> dict[str, Any]:
    """Compare answers to own, grey and exchanged views of the same objects.

    Args:
        predictions: Table of ``predict`` by image mode; ``own`` among them.
        instances: Instances of all splits.

    Returns:
        By mode ``accuracy`` with its interval, n and the fall against own views; ``baselines``.
    """
    own = predictions["own"]
    is_right = {
        mode: (rows["predicted"] == rows["target"]).to_numpy() for mode, rows in predictions.items()
    }
    groups = own["source_group"].to_numpy()
    return {
        "modes": {
            mode: {
                "accuracy": float(hits.mean()) if len(hits) else None,
                "accuracy_interval": confidence_interval(int(hits.sum()), len(hits)),
                "n": len(hits),
                "fall": compare_systems(is_right["own"], hits, groups),
            }
            for mode, hits in is_right.items()
        },
        "baselines": evaluate_baselines(own, instances),
    }


def _calibration(predictions: pd.DataFrame, is_correct: np.ndarray) -> dict[str, Any]:
    """How far the network's probabilities can be trusted; columns as the network orders them."""
    chances = np.stack(predictions["probabilities"].to_list())
    names = predictions["answers"].iloc[0]
    targets = predictions["target"].map(list(names).index).to_numpy()
    return {
        **calibration_metrics(predictions["confidence"].to_numpy(float), is_correct),
        "brier_error": brier_error(chances, targets),
        "faulty_roc_area": roc_area(
            1 - chances[:, list(names).index("normal")],
            (predictions["target"] != "normal").to_numpy(),
        ),
    }


def evaluate_spatial(predictions: pd.DataFrame, instances: pd.DataFrame) -> dict[str, Any]:
    """Return the metrics of the second mode, beside what sees no image.

    Args:
        predictions: Table of ``predict_spatial``.
        instances: Instances of all splits.
    """
    answers = sorted(set(predictions["target"]) | set(predictions["predicted"]))
    codes = {name: i for i, name in enumerate(answers)}
    found = classification_metrics(
        predictions["predicted"].map(codes).to_numpy(),
        predictions["target"].map(codes).to_numpy(),
        answers,
    )
    is_binary = "faulty" in answers
    faulty = instances["condition"].where(instances["condition"] == "normal", "faulty")
    labelled = instances.assign(answer=faulty if is_binary else instances["condition"])
    is_correct = (predictions["predicted"] == predictions["target"]).to_numpy()
    return {
        **found,
        "accuracy_interval_by_photo": group_bootstrap_interval(
            is_correct, predictions["source_group"].to_numpy()
        ),
        **_calibration(predictions, is_correct),
        "baselines": evaluate_baselines(predictions, labelled, "answer"),
        "known_to_baselines": {name: list(known) for name, known in BLIND_BASELINES.items()},
    }
