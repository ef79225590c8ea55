"""How well System 2 answers on held-out samples, beside what needs no model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from aquatint.metrics.navigation_answers import (
    answer_metrics,
    constant_pixel_metrics,
    pixel_errors,
)
from aquatint.metrics.paired import group_bootstrap_interval
from aquatint.models.backbone import Backbone
from aquatint.models.navigator import NavigationModel
from aquatint.params import RunParams
from aquatint.training.checkpoint import Checkpoint
from aquatint.training.navigation_dialogues import DialogueWriter, FrameStyle
from aquatint.training.navigation_samples import NavigationData, NavigationDialogues, Told
from aquatint.training.system2_inference import predict_answers
from aquatint.training.system2_stage import restore_system2


def validation_metrics(
    model: NavigationModel, dialogues: NavigationDialogues, batch_size: int, max_new_tokens: int
) -> dict[str, float]:
    """Score a model during training: mean of the kinds' balanced accuracy and of pixel hits."""
    found = answer_metrics(predict_answers(model, dialogues, batch_size, max_new_tokens))
    kinds, pixels = found["kinds"], found["pixels"]
    hits = pixels["hit_at_0.1"]
    score = kinds["balanced_accuracy"] if hits is None else (kinds["balanced_accuracy"] + hits) / 2
    values = {
        "score": score,
        "kind_accuracy": kinds["accuracy"],
        "hit_at_0.1": hits,
        "median_px_error": pixels["median_px_error"],
        "invalid_rate": kinds["invalid_rate"],
    }
    return {name: float(value) for name, value in values.items() if value is not None}


def answer_in_all_ways(
    data: NavigationData,
    backbone: Backbone,
    checkpoint: Checkpoint,
    batch_size: int,
    run: RunParams,
) -> pd.DataFrame:
    """Answer samples as they are, with another flight's instruction, over grey images, untrained.

    Returns:
        Tables of ``predict_answers`` with a column ``told``.
    """
    spec = checkpoint.spec
    writer = DialogueWriter(backbone, FrameStyle(**spec["style"]))
    ways: dict[str, tuple[Told, Checkpoint | None]] = {
        "own": ("own", checkpoint), "other": ("other", checkpoint), "grey": ("grey", checkpoint),
        "untrained": ("own", None),
    }  # fmt: skip
    tables = []
    for name, (told, weights) in ways.items():
        model = restore_system2(backbone, weights, run)
        dialogues = NavigationDialogues(data, writer, spec["num_history"], run.seed, told)
        found = predict_answers(model, dialogues, batch_size, spec["max_new_tokens"])
        tables.append(found.assign(told=name))
    return pd.concat(tables, ignore_index=True)


def evaluate_answers(predictions: pd.DataFrame, samples: pd.DataFrame) -> dict[str, Any]:
    """Judge every way of asking, and what needs no model.

    Args:
        predictions: Tables of ``predict_answers`` with a column ``told``: ``own``, ``other``,
            ``grey``, and ``untrained`` for the backbone before its training.
        samples: All samples; those of the train split say where goals lie on average.

    Returns:
        Metrics by ``told``; ``mean_pixel`` as the baseline of pixels; ``differences``: by how much
        another instruction, or grey images, move the pixel error on the same samples.
    """
    by_told = {str(told): rows for told, rows in predictions.groupby("told", sort=False)}
    own = by_told["own"]
    found: dict[str, Any] = {told: answer_metrics(rows) for told, rows in by_told.items()}
    train = samples[(samples["split"] == "train") & (samples["kind"] == "pixel")]
    sizes = own.loc[own["image_width"] > 0, ["image_width", "image_height"]].drop_duplicates()
    if len(train) and len(sizes) == 1:
        width, height = sizes.iloc[0]
        found["mean_pixel"] = constant_pixel_metrics(
            own, train["goal_row"].mean() / height, train["goal_column"].mean() / width
        )
    found["differences"] = {
        told: _difference(own, rows) for told, rows in by_told.items() if told != "own"
    }
    return found


def _difference(own: pd.DataFrame, other: pd.DataFrame) -> dict[str, Any]:
    """How much farther from their goals pixels are, on samples where both named one."""
    joined = own.merge(other, on="sample_id", suffixes=("", "_other"), validate="1:1")
    joined = joined[joined["kind"] == "pixel"]
    goals = (joined["goal_row"].to_numpy(), joined["goal_column"].to_numpy())
    mine = pixel_errors(joined["predicted_row"].to_numpy(),
                        joined["predicted_column"].to_numpy(), *goals)  # fmt: skip
    theirs = pixel_errors(joined["predicted_row_other"].to_numpy(),
                          joined["predicted_column_other"].to_numpy(), *goals)  # fmt: skip
    is_both = np.isfinite(mine) & np.isfinite(theirs)
    change = (theirs - mine)[is_both]
    return {
        "px_error": float(change.mean()) if len(change) else None,
        "px_error_interval": group_bootstrap_interval(change, joined["scene"].to_numpy()[is_both])
        if len(change) else None,
        "n": int(is_both.sum()),
    }  # fmt: skip
