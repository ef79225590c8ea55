"""How well a navigation model answers: what kind of answer, which turns, which pixel."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from aquatint.metrics.intervals import confidence_interval
from aquatint.metrics.paired import group_bootstrap_interval

KINDS = ("pixel", "turn", "stop")
# Radii of a hit, as shares of the image's diagonal.
HIT_RADII = (0.05, 0.1)


def pixel_errors(
    rows: np.ndarray, columns: np.ndarray, goal_rows: np.ndarray, goal_columns: np.ndarray
) -> np.ndarray:
    """Return distances in pixels; NaN where no pixel was named (negative), shape (N,)."""
    error = np.hypot(rows - goal_rows, columns - goal_columns).astype(float)
    return np.where((rows >= 0) & (columns >= 0), error, np.nan)


def pixel_metrics(
    errors_px: np.ndarray, diagonals_px: np.ndarray, scenes: np.ndarray
) -> dict[str, Any]:
    """Judge named pixels; an answer without one is no hit, and stands in no mean error.

    Args:
        errors_px: Distance of each, NaN without an answer, shape (N,).
        diagonals_px: Diagonal of each image, shape (N,).
        scenes: Scene of each; intervals take whole scenes as the unit of chance.

    Returns:
        ``mean_px_error``, ``median_px_error``, ``mean_diagonal_error`` (share of the diagonal) with
        ``mean_diagonal_error_interval``; ``hit_at_0.05`` and ``hit_at_0.1`` with intervals;
        ``answered`` and ``n``. None where nothing was answered.
    """
    is_named = np.isfinite(errors_px)
    shares = errors_px / diagonals_px
    named = shares[is_named]
    found: dict[str, Any] = {
        "mean_px_error": float(errors_px[is_named].mean()) if len(named) else None,
        "median_px_error": float(np.median(errors_px[is_named])) if len(named) else None,
        "mean_diagonal_error": float(named.mean()) if len(named) else None,
        "mean_diagonal_error_interval": group_bootstrap_interval(named, scenes[is_named])
        if len(named) else None,
    }  # fmt: skip
    for radius in HIT_RADII:
        hits = int((shares < radius).sum())
        found[f"hit_at_{radius:g}"] = hits / len(shares) if len(shares) else None
        found[f"hit_at_{radius:g}_interval"] = confidence_interval(hits, len(shares))
    return {**found, "answered": int(is_named.sum()), "n": len(errors_px)}


def kind_metrics(targets: pd.Series, predicted: pd.Series) -> dict[str, Any]:
    """Judge kinds of answers.

    Args:
        targets: ``pixel``, ``turn`` or ``stop``.
        predicted: The same, or ``invalid``.

    Returns:
        ``accuracy`` with interval, ``balanced_accuracy``, ``confusion`` (target to predicted to
        count), ``stop_precision`` and ``stop_recall``, ``invalid_rate``, ``majority_accuracy``
        (the most frequent kind always) and ``n``. None where a denominator is 0.
    """
    n = len(targets)
    is_right = (targets == predicted).to_numpy()
    names = (*KINDS, "invalid")
    confusion = {
        target: {name: int(((targets == target) & (predicted == name)).sum()) for name in names}
        for target in KINDS
    }
    recalls = [counts[target] / sum(counts.values())
               for target, counts in confusion.items() if sum(counts.values())]  # fmt: skip
    said_stop = int((predicted == "stop").sum())
    was_stop = int((targets == "stop").sum())
    return {
        "accuracy": float(is_right.mean()) if n else None,
        "accuracy_interval": confidence_interval(int(is_right.sum()), n),
        "balanced_accuracy": float(np.mean(recalls)) if recalls else None,
        "majority_accuracy": float(targets.value_counts().iloc[0] / n) if n else None,
        "confusion": confusion,
        "stop_precision": confusion["stop"]["stop"] / said_stop if said_stop else None,
        "stop_recall": confusion["stop"]["stop"] / was_stop if was_stop else None,
        "invalid_rate": float((predicted == "invalid").mean()) if n else None,
        "n": n,
    }


def answer_metrics(table: pd.DataFrame) -> dict[str, Any]:
    """Judge predictions of System 2.

    Args:
        table: Table of ``predict_answers``.

    Returns:
        ``kinds`` (``kind_metrics``), ``turns`` (share of turn samples whose string is exactly
        right), ``pixels`` (``pixel_metrics`` of pixel samples, the arrow down given).
    """
    turns = table[table["kind"] == "turn"]
    exact = int((turns["first_answer"] == turns["answer"]).sum())
    pixels = table[table["kind"] == "pixel"]
    errors = pixel_errors(
        *(pixels[name].to_numpy()
          for name in ("predicted_row", "predicted_column", "goal_row", "goal_column"))
    )  # fmt: skip
    return {
        "kinds": kind_metrics(table["kind"], table["predicted_kind"]),
        "turns": {
            "exact_match": exact / len(turns) if len(turns) else None,
            "exact_match_interval": confidence_interval(exact, len(turns)),
            "n": len(turns),
        },
        "pixels": pixel_metrics(errors, _diagonals(pixels), pixels["scene"].to_numpy()),
    }


def constant_pixel_metrics(table: pd.DataFrame, row: float, column: float) -> dict[str, Any]:
    """Judge one pixel that is named for every image: what needs no model.

    Args:
        table: As for ``answer_metrics``.
        row: The pixel's row, of the train split's mean goal, as a share of the image's height.
        column: Its column, as a share of the width.
    """
    pixels = table[table["kind"] == "pixel"]
    errors = np.hypot(
        row * pixels["image_height"].to_numpy(float) - pixels["goal_row"].to_numpy(float),
        column * pixels["image_width"].to_numpy(float) - pixels["goal_column"].to_numpy(float),
    )
    return pixel_metrics(errors, _diagonals(pixels), pixels["scene"].to_numpy())


def _diagonals(pixels: pd.DataFrame) -> np.ndarray:
    return np.hypot(pixels["image_width"].to_numpy(float), pixels["image_height"].to_numpy(float))
