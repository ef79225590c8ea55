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
    label_part,
)

_OUTCOMES = {
    "better": "is better than",
    "worse": "is worse than",
    "unclear": "cannot be told from",
}
_TWO_STAGES = {
    "better": "Two stages beat one.",
    "worse": "Two stages do not beat one: the single stage is better.",
    "unclear": "Two stages do not beat one: the test set cannot tell them apart.",
}


def write_verdicts(compared: dict[str, Any]) -> list[str]:
    """Return one sentence for each pair, then chance, two stages against one, and their cost.

    Args:
        compared: What ``compare_parts`` returns, without the verdicts.
    """
    pairs = [_pair_sentence(name, compared) for name in compared["deltas"]]
    return [*pairs, _chance_sentence(compared), _two_stages_sentence(compared)]


def _pair_sentence(pair: str, compared: dict[str, Any]) -> str:
    new, old = pair.split("_vs_")
    delta, headline = compared["deltas"][pair], compared["headline"]
    change = delta["changes"].get(R_MEAN)
    name = label_part(new)
    if change is None:
        return f"{name[:1].upper()}{name[1:]} and {label_part(old)} share no mean recall."
    interval = change["interval"]
    ends = f" (95 % interval {format_interval(interval)})" if interval else ""
    return (
        f"{name[:1].upper()}{name[1:]} {_OUTCOMES[delta['outcome']]} {label_part(old)}: mean "
        f"recall {format_percent(headline[new][R_MEAN])} after "
        f"{format_percent(headline[old][R_MEAN])}, a difference of "
        f"{format_points(change['absolute'])} points{ends}."
    )


def _chance_sentence(compared: dict[str, Any]) -> str:
    key = "text_to_image.recall_at_10"
    value, chance = compared["headline"]["stage2"][key], compared["references"][key]
    if value is None or chance is None:
        return "Chance is not known for this test set."
    return (
        f"Stage 2 has the right building among its first ten images for "
        f"{format_percent(value)} of the captions, {value / chance:.1f} times chance "
        f"({format_percent(chance)})."
    )


def _two_stages_sentence(compared: dict[str, Any]) -> str:
    outcome = compared["deltas"]["stage2_vs_baseline"]["outcome"]
    total, single = compared["two_stage_total"], compared["efficiency"]["baseline"]
    costs = [
        f"{format_count(cost['num_samples_seen'])} samples in "
        f"{format_seconds(cost['train_seconds'])}"
        for cost in (total, single)
    ]
    return (
        f"{_TWO_STAGES[outcome]} Both stages together saw {costs[0]}, the single stage "
        f"{costs[1]}. {_target_sentence(compared)}"
    )


def _target_sentence(compared: dict[str, Any]) -> str:
    row = next(row for row in compared["time_to_target"] if row["reason"] == "reached by both")
    score, ratio = format_percent(row["target"]), row["ratio"]
    if ratio is None or ratio["seconds"] is None:
        return f"No cost is known to a validation score of {score}."
    seconds = [format_seconds(row[name]["seconds"]) for name in ("two_stage", "baseline")]
    return (
        f"A validation score of {score}, which both reach, took two stages {seconds[0]} and "
        f"the single stage {seconds[1]}."
    )
