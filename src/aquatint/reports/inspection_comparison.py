"""What tuning was worth: systems and blind baselines side by side, with tests and criteria."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from aquatint.metrics.paired import group_bootstrap_interval, mcnemar
from aquatint.reports.wording import (
    format_interval,
    format_p_value,
    format_percent,
    format_points,
)

_HEADLINE = (
    "accuracy",
    "accuracy_interval",
    "accuracy_interval_by_photo",
    "balanced_accuracy",
    "macro_f1",
    "n",
    "num_source_photos",
    "seconds_per_object",
)
BASELINE_LABELS = {
    "majority": "majority class",
    "type_only": "type only",
    "type_and_position": "type and height",
}


def compare_inspection(
    metrics: dict[str, dict[str, Any]],
    predictions: dict[str, pd.DataFrame],
    image_use: dict[str, Any],
    second_mode: dict[str, Any],
    targets: dict[str, float],
) -> dict[str, Any]:
    """Put the untouched and the tuned model beside each other and beside what sees no image.

    Args:
        metrics: Metrics of ``zero_shot`` and ``finetune``.
        predictions: Predictions of both.
        image_use: What ``evaluate_image_use`` returns.
        second_mode: Metrics of the small network.
        targets: Accuracy that the source expects of each.

    Returns:
        ``headline`` by system, ``baselines``, ``tuned_vs_zero_shot``, ``tuned_vs_type_only``,
        ``image_use``, ``second_mode``, ``criteria`` and ``findings``, as plain JSON values.
    """
    paired = _paired(predictions)
    comparison: dict[str, Any] = {
        "headline": {
            part: {**{key: values[key] for key in _HEADLINE}, **_calibration(values)}
            for part, values in metrics.items()
        },
        "open_types": {part: values["open_types"] for part, values in metrics.items()},
        "baselines": metrics["finetune"]["baselines"],
        "tuned_vs_zero_shot": paired,
        "tuned_vs_type_only": metrics["finetune"]["lift_over_type_only"],
        "image_use": image_use["modes"],
        "second_mode": {
            "accuracy": second_mode["accuracy"],
            "accuracy_interval": second_mode["accuracy_interval"],
            "answers": second_mode["class_names"],
            "n": second_mode["n"],
            "expected_calibration_error": second_mode["expected_calibration_error"],
            "brier_error": second_mode["brier_error"],
            "faulty_roc_area": second_mode["faulty_roc_area"],
            "baselines": second_mode["baselines"],
        },
        "criteria": _criteria(metrics, targets),
    }
    return {**comparison, "findings": find_findings(comparison)}


def _calibration(values: dict[str, Any]) -> dict[str, Any]:
    found = values["calibration"] or {}
    names = ("expected_calibration_error", "brier_error", "faulty_roc_area")
    return {**{name: found.get(name) for name in names}, "invalid": values["invalid"]}


def _paired(predictions: dict[str, pd.DataFrame]) -> dict[str, Any]:
    """Compare both systems on the test objects that they share."""
    tables = [
        predictions[part][predictions[part]["split"] == "test"].set_index("instance_id")
        for part in ("finetune", "zero_shot")
    ]
    shared = tables[0].index.intersection(tables[1].index)
    tuned, untouched = (
        (table.loc[shared, "predicted"] == table.loc[shared, "target"]).to_numpy()
        for table in tables
    )
    difference = tuned.astype(float) - untouched.astype(float)
    groups = tables[0].loc[shared, "source_group"].to_numpy()
    return {
        "difference": float(np.mean(difference)) if len(shared) else None,
        "difference_interval": group_bootstrap_interval(difference, groups),
        **mcnemar(tuned, untouched),
    }


def _criteria(metrics: dict[str, dict[str, Any]], targets: dict[str, float]) -> dict[str, Any]:
    """The source's success criteria, beside the baseline that they must be read against."""
    return {
        part: {
            "target": target,
            "accuracy": metrics[part]["accuracy"],
            "is_met": bool(metrics[part]["accuracy"] > target),
            "type_only": metrics[part]["baselines"]["type_only"]["accuracy"],
        }
        for part, target in targets.items()
    }


def find_findings(comparison: dict[str, Any]) -> list[dict[str, str]]:
    """Say in sentences what the numbers say, also where they disappoint."""
    tuned, blind = comparison["tuned_vs_zero_shot"], comparison["tuned_vs_type_only"]
    findings = [
        _difference_finding("The tuned model against the untouched one", tuned),
        _difference_finding("The tuned model against knowing the type alone", blind),
    ]
    for mode, words in (("grey", "a grey picture"), ("shuffled", "the picture of another object")):
        fall = comparison["image_use"][mode]["fall"]
        findings.append(_difference_finding(f"Its own picture against {words}", fall))
    for part, words in (("zero_shot", "zero-shot"), ("finetune", "tuned")):
        item = comparison["criteria"][part]
        verb = "is met" if item["is_met"] else "is not met"
        findings.append(
            {
                "outcome": "better" if item["is_met"] else "worse",
                "text": f"The source's criterion for {words} (above "
                f"{format_percent(item['target'], 0)}) {verb}: {format_percent(item['accuracy'])}, "
                f"where {format_percent(item['type_only'])} needs no image.",
            }
        )
    return findings


def _difference_finding(words: str, test: dict[str, Any]) -> dict[str, str]:
    interval = test["difference_interval"]
    if test["difference"] is None or interval is None:
        return {"outcome": "unclear", "text": f"{words}: too few photographs to tell."}
    low, high = interval
    outcome = "better" if low > 0 else "worse" if high < 0 else "unclear"
    verdict = {"better": "better", "worse": "worse", "unclear": "no clear difference"}[outcome]
    shown = format_p_value(test["p_value"])
    return {
        "outcome": outcome,
        "text": f"{words}: {verdict}, {format_points(test['difference'])} points "
        f"({format_interval(interval)} by photograph; McNemar {shown}, n = {test['n']}).",
    }


def summarise_inspection(recipe: str, comparison: dict[str, Any]) -> str:
    """Return findings and the headline table as Markdown.

    Args:
        recipe: Name of the recipe's pipeline.
        comparison: What ``compare_inspection`` returns.
    """
    lines = [f"# {recipe}", "", *(f"- {item['text']}" for item in comparison["findings"]), ""]
    lines += ["| test split | accuracy | 95 % by photograph | balanced | macro-F1 | n |",
              "|---|---:|---:|---:|---:|---:|"]  # fmt: skip
    for name, values in comparison["baselines"].items():
        lines.append(
            f"| {BASELINE_LABELS[name]}, no image | {format_percent(values['accuracy'])} | "
            f"{format_interval(values['accuracy_interval'])} | | | {values['n']} |"
        )
    for part, values in comparison["headline"].items():
        lines.append(
            f"| {PART_WORDS[part]} | {format_percent(values['accuracy'])} | "
            f"{format_interval(values['accuracy_interval_by_photo'])} | "
            f"{format_percent(values['balanced_accuracy'])} | "
            f"{format_percent(values['macro_f1'])} | {values['n']} |"
        )
    return "\n".join([*lines, ""])


PART_WORDS = {"zero_shot": "zero-shot", "finetune": "tuned with LoRA"}
