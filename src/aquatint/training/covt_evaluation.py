"""Numbers of the covt recipe, from saved predictions and saved errors of anchors alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from aquatint.metrics.anchors import best_edge_f1
from aquatint.metrics.answers import is_same_answer
from aquatint.metrics.intervals import confidence_interval
from aquatint.metrics.paired import group_bootstrap_interval, mcnemar
from aquatint.training.covt_answers import (
    BASE,
    EXCHANGED,
    FORCED_SPANS,
    FREE,
    GREY,
    OTHER,
    STAGE1,
    TEXT_ONLY,
    THINKING,
    TRAINED,
    WITHOUT,
)

_SUMS = "edge_counts"


def evaluate(
    predictions: pd.DataFrame, anchor_errors: pd.DataFrame, turns: pd.DataFrame
) -> dict[str, Any]:
    """All metrics.

    Args:
        predictions: Table of ``answer_all``.
        anchor_errors: Table of ``evaluate_anchors``.
        turns: All turns; those of the train split are what baselines know.

    Returns:
        ``accuracy`` by system and manner, ``baselines``, ``comparisons`` of the trained model with
        the others on the same questions, ``emission`` and ``costs`` by manner, ``ablations``,
        ``anchors``.
    """
    ids = set(predictions["turn_id"])
    train = turns[turns["split"] == "train"]
    tested = turns[turns["turn_id"].isin(ids)]
    of_trained = predictions[predictions["system"] == TRAINED]
    return {
        "accuracy": {
            system: {
                str(manner): accuracy_of(rows)
                for manner, rows in of_system.groupby("manner", sort=False)
            }
            for system, of_system in predictions.groupby("system", sort=False)
        },
        "baselines": _baselines(train, tested),
        "comparisons": {
            name: _compare(predictions, (TRAINED, THINKING), other)
            for name, other in (
                (BASE, (BASE, FREE)),
                (TEXT_ONLY, (TEXT_ONLY, FREE)),
                (STAGE1, (STAGE1, FREE)),
            )
        },
        "ablations": {
            name: _compare(predictions, (TRAINED, THINKING), (TRAINED, name))
            for name in (WITHOUT, EXCHANGED, FORCED_SPANS, FREE, GREY, OTHER)
        },
        "emission": {
            str(manner): emission_of(rows)
            for manner, rows in of_trained.groupby("manner", sort=False)
        },
        "costs": {
            str(manner): {
                "tokens_per_answer": float(rows["num_tokens"].mean()),
                "seconds_per_answer": float(rows["seconds"].mean()),
            }
            for manner, rows in of_trained.groupby("manner", sort=False)
        },
        "anchors": _anchors(anchor_errors),
    }


def accuracy_of(rows: pd.DataFrame) -> dict[str, Any]:
    """Accuracy with n and intervals, in all and by kind of question."""
    right = rows["is_correct"].to_numpy(bool)
    return {
        "accuracy": float(right.mean()),
        "accuracy_interval": confidence_interval(int(right.sum()), len(right)),
        # Questions about one scene share what is hard about it.
        "accuracy_interval_by_group": group_bootstrap_interval(right, rows["group"].to_numpy()),
        "n": len(right),
        "by_kind": {
            str(kind): {
                "accuracy": float(of_kind["is_correct"].mean()),
                "accuracy_interval": confidence_interval(
                    int(of_kind["is_correct"].sum()), len(of_kind)
                ),
                "n": len(of_kind),
            }
            for kind, of_kind in rows.groupby("kind")
        },
    }


def emission_of(rows: pd.DataFrame) -> dict[str, Any]:
    """How many responses hold a thought, and how many of those are well-formed."""
    has, sound = rows["has_thought"].to_numpy(bool), rows["is_well_formed"].to_numpy(bool)
    both = has & sound & (rows["anchors"].map(len) > 0).to_numpy()
    return {
        "emission_score": float(has.mean()),
        "emission_interval": confidence_interval(int(has.sum()), len(has)),
        "well_formed_score": float(both.sum() / has.sum()) if has.any() else None,
        "n": len(rows),
    }


def _baselines(train: pd.DataFrame, tested: pd.DataFrame) -> dict[str, Any]:
    """Accuracy without any model: the usual answer of a kind, of a question, or the first name."""
    by_kind = train.groupby("kind")["answer"].agg(lambda answers: answers.mode().iloc[0])
    by_question = train.groupby("question")["answer"].agg(lambda answers: answers.mode().iloc[0])
    usual = tested["kind"].map(by_kind).fillna("")
    found = {
        "usual answer of its kind": usual,
        "usual answer of its question": tested["question"].map(by_question).fillna(usual),
    }
    return {name: _judge(answers, tested) for name, answers in found.items()}


def _judge(answers: pd.Series, tested: pd.DataFrame) -> dict[str, Any]:
    right = np.array([is_same_answer(a, b) for a, b in zip(answers, tested["answer"], strict=True)])
    by_kind = {
        str(kind): float(right[(tested["kind"] == kind).to_numpy()].mean())
        for kind in sorted(tested["kind"].unique())
    }
    return {
        "accuracy": float(right.mean()),
        "accuracy_interval": confidence_interval(int(right.sum()), len(right)),
        "n": len(right),
        "by_kind": by_kind,
    }


def _compare(
    predictions: pd.DataFrame, first: tuple[str, str], second: tuple[str, str]
) -> dict[str, Any]:
    """Difference of two on the same questions, with a paired interval and a test."""
    parts = [
        predictions[(predictions["system"] == system) & (predictions["manner"] == manner)]
        .set_index("turn_id")
        .sort_index()
        for system, manner in (first, second)
    ]
    if not len(parts[0]) or list(parts[0].index) != list(parts[1].index):
        raise ValueError(f"{first} and {second} must have answered the same questions.")
    a, b = (part["is_correct"].to_numpy(bool) for part in parts)
    difference = a.astype(float) - b
    return {
        "difference": float(difference.mean()),
        "difference_interval": group_bootstrap_interval(difference, parts[0]["group"].to_numpy()),
        **mcnemar(a, b),
    }


def _anchors(errors: pd.DataFrame) -> dict[str, Any]:
    """Means by anchor and predictor, with intervals over scenes."""
    found: dict[str, Any] = {}
    if not len(errors):
        return found
    measures = [
        name
        for name in errors.columns
        if name.endswith(("_score", "_error")) or name == "homogeneity"
    ]
    for (anchor, predictor), rows in errors.groupby(["anchor", "predictor"], sort=False):
        values: dict[str, Any] = {"n": len(rows)}
        for name in measures:
            known = rows[rows[name].notna()]
            if len(known):
                numbers = known[name].to_numpy(float)
                values[name] = float(numbers.mean())
                values[f"{name}_interval"] = group_bootstrap_interval(
                    numbers, known["group"].to_numpy()
                )
        if anchor == "pidinet" and _SUMS in rows:
            counts = np.array(rows[_SUMS].tolist()).reshape(len(rows), -1, 3).sum(0)
            values |= best_edge_f1(counts)
        found.setdefault(str(anchor), {})[str(predictor)] = values
    return found
