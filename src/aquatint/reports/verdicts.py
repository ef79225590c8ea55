"""What a comparison says, in sentences that hold whatever the outcome is."""

from __future__ import annotations

from typing import Any

from aquatint.reports.headline import R_MEAN
from aquatint.reports.wording import (
    format_count,
    format_interval,
    format_percent,
    format_points,
    format_seconds,
    format_value,
    label_part,
)

_OUTCOMES = {
    "better": "is better than",
    "worse": "is worse than",
    "unclear": "cannot be told from",
}
_TWO_STAGES = {
    "better": "Two stages beat one",
    "worse": "Two stages do not beat one: the single stage is better",
    "unclear": "Two stages do not beat one: the test set cannot tell them apart",
}
_AGAINST_ONE = "stage2_vs_baseline"
_R1, _R10 = "text_to_image.recall_at_1", "text_to_image.recall_at_10"
Verdict = dict[str, str]


def write_verdicts(compared: dict[str, Any]) -> list[Verdict]:
    """Return what the numbers say, most important first.

    Args:
        compared: What ``compare_parts`` returns, without the verdicts.

    Returns:
        ``text`` and ``outcome`` (better, worse, unclear) of: each stage, chance, two stages
        against one, re-ranking, boxes and relations where measured; and a doubt where the
        parts do not belong together.
    """
    stages = [name for name in compared["deltas"] if name != _AGAINST_ONE]
    return [
        *(_judge_stage(name, compared) for name in stages),
        _judge_chance(compared),
        _judge_two_stages(compared),
        *_judge_reranking(compared),
        *_judge_boxes(compared),
        *_judge_relations(compared),
        *_doubt_provenance(compared["lineages"]),
    ]


def _judge_stage(pair: str, compared: dict[str, Any]) -> Verdict:
    new, old = pair.split("_vs_")
    outcome = compared["deltas"][pair]["outcome"]
    text = (
        f"{label_part(new).capitalize()} {_OUTCOMES[outcome]} {label_part(old)}: "
        f"{_describe_difference(pair, compared)}."
    )
    return {"outcome": outcome, "text": text}


def _describe_difference(pair: str, compared: dict[str, Any]) -> str:
    change = compared["deltas"][pair]["changes"].get(R_MEAN)
    if change is None:
        return "no mean recall was measured for both"
    values = [format_percent(compared["headline"][part][R_MEAN]) for part in pair.split("_vs_")]
    interval = change["interval"]
    ends = f" (95 % interval {format_interval(interval)})" if interval else ""
    return (
        f"mean recall {values[0]} against {values[1]}, a difference of "
        f"{format_points(change['absolute'])} points{ends}"
    )


def _judge_chance(compared: dict[str, Any]) -> Verdict:
    value, chance = compared["headline"]["stage2"][_R10], compared["references"][_R10]
    if value is None or not chance:
        return {"outcome": "unclear", "text": "Chance is not known for this test set."}
    interval = compared["headline_intervals"]["stage2"][_R10]
    text = (
        f"Stage 2 has the right building among its first ten images for {format_percent(value)} "
        f"of the captions, {value / chance:.1f} times chance ({format_percent(chance)})."
    )
    return {"outcome": _place(chance, interval, value), "text": text}


def _judge_two_stages(compared: dict[str, Any]) -> Verdict:
    outcome = compared["deltas"][_AGAINST_ONE]["outcome"]
    total, single = compared["two_stage_total"], compared["efficiency"]["baseline"]
    costs = [
        f"{format_count(cost['num_samples_seen'])} samples in "
        f"{format_seconds(cost['train_seconds'])}"
        for cost in (total, single)
    ]
    text = (
        f"{_TWO_STAGES[outcome]}; {_describe_difference(_AGAINST_ONE, compared)}. Both stages "
        f"together saw {costs[0]}, the single stage {costs[1]}. {_describe_cost(compared)}"
    )
    return {"outcome": outcome, "text": text}


def _describe_cost(compared: dict[str, Any]) -> str:
    row = next(row for row in compared["time_to_target"] if row["reason"] == "reached by both")
    seconds = [format_seconds(row[name]["seconds"]) for name in ("two_stage", "baseline")]
    return (
        f"A validation score of {format_percent(row['target'])}, which both reach, took two "
        f"stages {seconds[0]} and the single stage {seconds[1]}."
    )


def _judge_reranking(compared: dict[str, Any]) -> list[Verdict]:
    values, intervals = (
        [compared[field]["stage2"][key] for key in (f"reranked.{_R1}", _R1)]
        for field in ("headline", "headline_intervals")
    )
    if None in values or None in intervals:
        return []
    after, before = values
    outcome = "unclear"
    if intervals[0][0] > intervals[1][1] or intervals[0][1] < intervals[1][0]:
        outcome = "better" if after > before else "worse"
    words = {"better": "raises", "worse": "lowers", "unclear": "does not clearly change"}
    text = (
        f"Re-ranking by the ITM head {words[outcome]} stage 2's text → image R@1: "
        f"{format_percent(after)} against {format_percent(before)} by cosine alone."
    )
    return [{"outcome": outcome, "text": text}]


def _judge_boxes(compared: dict[str, Any]) -> list[Verdict]:
    value = compared["headline"]["stage2"]["bbox.mean_iou"]
    reference = compared["references"]["bbox.mean_iou"]
    if value is None or reference is None:
        return []
    outcome = "better" if value > reference else "worse"
    words = "more than" if outcome == "better" else "no more than"
    share = compared["headline"]["stage2"]["bbox.accuracy_at_0.5"]
    text = (
        f"Stage 2's boxes reach a mean IoU of {format_value(value, is_share=False)}, {words} the "
        f"{format_value(reference, is_share=False)} of the same mean box for every sentence; "
        f"{format_percent(share)} of them have an IoU of 0.5 or more."
    )
    return [{"outcome": outcome, "text": text}]


def _judge_relations(compared: dict[str, Any]) -> list[Verdict]:
    value = compared["headline"]["stage2"]["spatial.accuracy"]
    reference = compared["references"]["spatial.accuracy"]
    if value is None or reference is None:
        return []
    outcome = _place(reference, compared["headline_intervals"]["stage2"]["spatial.accuracy"], value)
    text = (
        f"Stage 2 names {format_percent(value)} of the spatial relations right on both axes; "
        f"always naming the most frequent one gives {format_percent(reference)}."
    )
    return [{"outcome": outcome, "text": text}]


def _doubt_provenance(lineages: dict[str, dict[str, Any]]) -> list[Verdict]:
    """The newest of each is compared unless versions are pinned, and so runs may be mixed."""
    doubts = []
    version = lineages["stage1"].get("version")
    parents = [parent.get("version") for parent in lineages["stage2"].get("parents", [])]
    if version and parents and version not in parents:
        doubts.append(f"stage 2 was trained from stage 1 @ {parents[0]}, not from @ {version}")
    doubts += [
        f"the parts were trained on different {name}"
        for name, values in (
            ("backbones", [line.get("backbone", {}).get("digest") for line in lineages.values()]),
            ("data", [line.get("data") for line in lineages.values()]),
        )
        if any(value != values[0] for value in values)
    ]
    if not doubts:
        return []
    text = f"These parts do not belong together: {'; '.join(doubts)}. Pin one run's versions."
    return [{"outcome": "worse", "text": text}]


def _place(reference: float, interval: list[float] | None, value: float) -> str:
    """Where a value stands against a reference that is known exactly."""
    if interval is None or interval[0] <= reference <= interval[1]:
        return "unclear"
    return "better" if value > reference else "worse"
