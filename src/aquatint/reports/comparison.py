"""Stage beside stage and beside the single-stage baseline, from saved results alone."""

from __future__ import annotations

from typing import Any

import pandas as pd

from aquatint.reports.differences import paired_intervals
from aquatint.reports.headline import HEADLINE, R_MEAN
from aquatint.reports.progress import COSTS, Cost, Trainings, cost_to_reach
from aquatint.reports.verdicts import write_verdicts
from aquatint.reports.wording import pick

PAIRS = (("stage1", "zero_shot"), ("stage2", "stage1"), ("stage2", "baseline"))


def compare_parts(
    metrics: dict[str, dict[str, Any]],
    ranks: dict[str, pd.DataFrame],
    trainings: Trainings,
    buildings: dict[str, str],
    target_r_mean: float,
    seed: int,
) -> dict[str, Any]:
    """Compare the parts of a two-stage recipe.

    Args:
        metrics: Metrics of zero_shot, stage1, stage2 and baseline.
        ranks: Ranks of the same.
        trainings: Histories and lineages of the last three.
        buildings: Building by image id and by caption id.
        target_r_mean: Validation score whose first crossing is timed.
        seed: Seed of the resampled intervals.

    Returns:
        ``headline``: values by part, with ``headline_intervals``, ``headline_n`` and
        ``references``; ``deltas`` of each pair: absolute and relative changes, with a paired 95 %
        interval where there is one, the ``outcome`` in one word, and whether the intervals of
        text-to-image R@10 are apart in its favour; ``efficiency`` by part and
        ``two_stage_total``; ``time_to_target`` of both ways to train; ``verdicts`` in words;
        ``lineages`` and ``versions`` of the checkpoints.
    """
    read = {
        part: {metric.key: metric.read(values) for metric in HEADLINE}
        for part, values in metrics.items()
    }
    compared: dict[str, Any] = {
        "headline": _select(read, "value"),
        "headline_intervals": _select(read, "interval"),
        "headline_n": _select(read, "n"),
        "references": _references(read),
        "deltas": {
            f"{new}_vs_{old}": {
                **_compare_metrics(
                    (read[new], read[old]),
                    paired_intervals(ranks[new], ranks[old], buildings, seed),
                ),
                "trainable_parameters": _compare_parameters(trainings, new, old),
            }
            for new, old in PAIRS
        },
        "efficiency": {
            part: _efficiency(trainings, part, target_r_mean) for part in trainings.lineages
        },
        "two_stage_total": _total_of_stages(trainings, target_r_mean),
        "time_to_target": _times_to_targets(trainings, target_r_mean),
        "target_r_mean": target_r_mean,
        "versions": {part: values.get("version") for part, values in trainings.lineages.items()},
        "lineages": trainings.lineages,
    }
    return {**compared, "verdicts": write_verdicts(compared)}


Read = dict[str, dict[str, dict[str, Any]]]


def _select(read: Read, field: str) -> dict[str, dict[str, Any]]:
    return {
        part: {name: values[field] for name, values in metrics.items()}
        for part, metrics in read.items()
    }


def _references(read: Read) -> dict[str, float | None]:
    """What needs no model is the same for all parts; the first one that has it tells it."""
    found: dict[str, float | None] = {}
    for metric in HEADLINE:
        values = [part[metric.key]["reference"] for part in read.values()]
        found[metric.key] = next((value for value in values if value is not None), None)
    return found


def _compare_metrics(
    sides: tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]],
    intervals: dict[str, list[float] | None],
) -> dict[str, Any]:
    changes = {}
    for metric in HEADLINE:
        value, before = (side[metric.key]["value"] for side in sides)
        if value is not None and before is not None:
            changes[metric.key] = {
                **_change(value, before),
                "interval": intervals.get(metric.key),
            }
    ends = [side["text_to_image.recall_at_10"]["interval"] for side in sides]
    return {
        "changes": changes,
        "outcome": _outcome(intervals[R_MEAN]),
        "intervals_apart": None not in ends and ends[0][0] > ends[1][1],
    }


def _compare_parameters(trainings: Trainings, new: str, old: str) -> dict[str, float | None] | None:
    path = ("efficiency", "num_trainable_parameters")
    counts = [pick(trainings.lineages.get(part), path) for part in (new, old)]
    return None if None in counts else _change(*counts)


def _change(value: float, before: float) -> dict[str, float | None]:
    return {
        "absolute": value - before,
        "relative": (value - before) / abs(before) if before else None,
    }


def _outcome(interval: list[float] | None) -> str:
    """``better`` or ``worse`` only where the interval of the difference excludes zero."""
    if interval is None or interval[0] <= 0 <= interval[1]:
        return "unclear"
    return "better" if interval[0] > 0 else "worse"


def _efficiency(trainings: Trainings, part: str, target: float) -> dict[str, Any]:
    measured = trainings.lineages[part]["efficiency"]
    return {
        **measured,
        "num_samples_seen": trainings.cost(part)["samples"],
        "best_val_r_mean": measured["best_score"],
        **_to_target(cost_to_reach(trainings.curve(part), target)),
    }


def _total_of_stages(trainings: Trainings, target: float) -> dict[str, Any]:
    costs = [trainings.cost(part) for part in ("stage1", "stage2")]
    names = {"steps": "num_steps", "seconds": "train_seconds", "samples": "num_samples_seen"}
    total = {names[cost]: sum(part[cost] for part in costs) for cost in COSTS}
    return {**total, **_to_target(cost_to_reach(trainings.two_stage_curve(), target))}


def _to_target(cost: Cost | None) -> dict[str, float | None]:
    return {f"{name}_to_target": None if cost is None else cost[name] for name in COSTS}


def _times_to_targets(trainings: Trainings, target: float) -> list[dict[str, Any]]:
    """Cost of the given target, and of the best score that both ways to train reach."""
    curves = {"two_stage": trainings.two_stage_curve(), "baseline": trainings.curve("baseline")}
    shared = min(float(curve["r_mean"].max()) for curve in curves.values())
    rows: list[dict[str, Any]] = []
    for reason, score in (("given", target), ("reached by both", shared)):
        costs = {name: cost_to_reach(curve, score) for name, curve in curves.items()}
        rows.append({"target": score, "reason": reason, **costs, "ratio": _ratio(**costs)})
    return rows


def _ratio(two_stage: Cost | None, baseline: Cost | None) -> dict[str, float | None] | None:
    """Cost of the single stage over that of two stages; above 1, two stages are faster."""
    if two_stage is None or baseline is None:
        return None
    return {name: baseline[name] / two_stage[name] if two_stage[name] else None for name in COSTS}
