"""What stages, tokens and images were worth, as sentences with their numbers."""

from __future__ import annotations

from typing import Any

from aquatint.reports.wording import format_interval, format_percent, format_points

SYSTEM_WORDS = {
    "text_only": "text only, trained",
    "base": "untrained base",
    "stage1": "after stage 1",
    "trained": "after all stages",
}
ANCHOR_MEASURES = {
    "sam": ("dice_score", "mean Dice", True),
    "depth": ("l1_error", "mean error of depth", False),
    "pidinet": ("f1_score", "F1 of edges at the best threshold", True),
    "dino": ("cosine_score", "cosine of features", True),
    "siglip": ("cosine_score", "cosine of features", True),
    "metaclip": ("cosine_score", "cosine of features", True),
}
THINKING = "thinking"


def compare(metrics: dict[str, Any]) -> dict[str, Any]:
    """Put every finding into a sentence.

    Args:
        metrics: What ``evaluate`` returns.

    Returns:
        ``headline`` with the accuracy of each system, ``findings`` with outcome and text.
    """
    found = [_against(name, values) for name, values in metrics["comparisons"].items()]
    found.append(_emission(metrics["emission"][THINKING]))
    found += [_anchor(name, values) for name, values in metrics["anchors"].items()]
    found += [_ablation(name, values) for name, values in metrics["ablations"].items()]
    return {"headline": headline(metrics), "findings": found}


def headline(metrics: dict[str, Any]) -> dict[str, Any]:
    """Accuracy of each system in its own manner: the trained one begins with a thought."""
    own = {"base": "free", "text_only": "free", "stage1": "free", "trained": THINKING}
    return {
        name: {key: v for key, v in metrics["accuracy"][name][manner].items() if key != "by_kind"}
        for name, manner in own.items()
    }


def _outcome(interval: list[float] | None) -> str:
    if interval is None or interval[0] <= 0 <= interval[1]:
        return "unclear"
    return "better" if interval[0] > 0 else "worse"


def _against(name: str, values: dict[str, Any]) -> dict[str, str]:
    words = {"base": "the untrained base", "text_only": "the model that sees no image",
             "stage1": "stage 1 alone"}[name]  # fmt: skip
    text = (
        f"Against {words}: {format_points(values['difference'])} points of accuracy "
        f"({format_interval(values['difference_interval'])}, n = {values['n']}, "
        f"p = {values['p_value']:.2g})."
    )
    return {"outcome": _outcome(values["difference_interval"]), "text": text}


def _emission(values: dict[str, Any]) -> dict[str, str]:
    sound = format_percent(values["well_formed_score"])
    text = (
        f"Made to begin a thought, {format_percent(values['emission_score'])} of responses hold "
        f"visual tokens (n = {values['n']}); {sound} of those are well-formed."
    )
    return {"outcome": "better" if values["emission_score"] >= 0.95 else "worse", "text": text}


def _anchor(name: str, values: dict[str, Any]) -> dict[str, str]:
    key, words, is_higher_better = ANCHOR_MEASURES[name]
    decoded, constant = values["decoded"], values["constant"]
    gain = (decoded[key] - constant[key]) * (1 if is_higher_better else -1)
    low, high = decoded.get(f"{key}_interval") or (decoded[key], decoded[key])
    is_clear = constant[key] < low if is_higher_better else constant[key] > high
    outcome = "better" if gain > 0 and is_clear else "worse" if gain < 0 else "unclear"
    text = (
        f"{name}: {words} {decoded[key]:.3g} decoded, {constant[key]:.3g} without any image "
        f"(n = {decoded['n']})."
    )
    return {"outcome": outcome, "text": text}


def _ablation(name: str, values: dict[str, Any]) -> dict[str, str]:
    text = (
        f"Thinking against {name}: {format_points(values['difference'])} points "
        f"({format_interval(values['difference_interval'])}, p = {values['p_value']:.2g})."
    )
    return {"outcome": _outcome(values["difference_interval"]), "text": text}


def summarise(comparison: dict[str, Any], metrics: dict[str, Any]) -> str:
    """Return findings and the table of accuracies as Markdown."""
    lines = ["# covt: what visual thoughts were worth", ""]
    lines += [f"- {item['text']}" for item in comparison["findings"]]
    lines += ["", "| | accuracy | 95 % by scene | n |", "|---|---:|---:|---:|"]
    for name, values in metrics["baselines"].items():
        interval = format_interval(values["accuracy_interval"])
        lines.append(
            f"| {name}, no model | {format_percent(values['accuracy'])} | {interval} | "
            f"{values['n']} |"
        )
    for name, values in comparison["headline"].items():
        interval = format_interval(values["accuracy_interval_by_group"])
        lines.append(
            f"| {SYSTEM_WORDS[name]} | {format_percent(values['accuracy'])} | {interval} | "
            f"{values['n']} |"
        )
    return "\n".join(lines) + "\n"
