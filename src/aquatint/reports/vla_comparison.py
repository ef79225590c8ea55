"""What each stage was worth: offline errors, the sensor, instructions, flights."""

from __future__ import annotations

from typing import Any

from aquatint.reports.wording import THIN_SPACE, format_percent

PARTS = ("state_only", "stage1", "stage2")
PART_WORDS = {
    "zero": "stands still",
    "mean": "mean action",
    "last_action": "last action again",
    "state_only": "state only",
    "stage1": "stage 1",
    "stage2": "stage 2",
    "expert": "expert",
    "stage2, shuffled_instruction": "stage 2, other instruction",
    "stage2, sensor_zeroed": "stage 2, sensor zeroed",
}
VARIANT_WORDS = {
    "own": "own sensor window",
    "zeroed": "sensor zeroed",
    "missing": "no sensor (learned token)",
    "random_prior": "random prior",
}
_OFFLINE = (
    "scaled_mse_error", "scaled_mse_interval", "scaled_mae_error", "first_mae_error", "n",
    "num_episodes",
)  # fmt: skip


def compare_vla(
    expert: str,
    metrics: dict[str, dict[str, Any]],
    probe: dict[str, Any],
    flights: dict[str, Any],
    report: dict[str, Any],
    latency: dict[str, Any],
) -> dict[str, Any]:
    """Put all policies beside each other, offline and in flight.

    Args:
        expert: ``regression`` or ``diffusion``.
        metrics: Offline metrics of ``state_only``, ``stage1`` and ``stage2``.
        probe: What ``probe_policy`` returns for stage 2.
        flights: What ``evaluate_rollouts`` returns.
        report: What came in.
        latency: Times of a decision.

    Returns:
        ``offline`` and ``baselines``, ``sensor``, ``instruction``, ``flights``, ``findings``;
        plain JSON values.
    """
    comparison: dict[str, Any] = {
        "expert": expert,
        "offline": {part: {key: metrics[part].get(key) for key in _OFFLINE} for part in PARTS},
        "by_sensor": {part: metrics[part]["by_sensor"] for part in PARTS},
        "end_point": {part: metrics[part]["end_point"] for part in PARTS},
        "baselines": {
            name: {key: values.get(key) for key in _OFFLINE}
            for name, values in metrics["stage2"]["baselines"].items()
        },
        "sensor": {
            name: {
                "scaled_mse_error": values["scaled_mse_error"],
                "height_mae_mm": values["by_dimension"]["delta_z"]["mae"],
                "n": values["n"],
            }
            for name, values in probe["sensor"].items()
        },
        "instruction": {
            name: {"scaled_mse_error": values["scaled_mse_error"], "n": values["n"]}
            for name, values in probe["instruction"].items()
        },
        "samples": probe["samples"],
        "noise_by_timestep": probe["noise_by_timestep"],
        "flights": flights,
        "latency": latency["decision"],
        "episodes": report["episodes"],
    }
    return {**comparison, "findings": find_findings(comparison)}


def find_findings(comparison: dict[str, Any]) -> list[dict[str, str]]:
    """Say in sentences what the numbers say, also where they disappoint."""
    findings = [
        _offline_finding(comparison["offline"], "stage1", "state_only"),
        _offline_finding(comparison["offline"], "stage2", "stage1"),
    ]
    sensor = comparison["sensor"]
    if sensor:
        findings.append(_sensor_finding(sensor))
        if "random_prior" in sensor:
            findings.append(_leak_finding(sensor))
    if comparison["instruction"]:
        findings.append(_instruction_finding(comparison["instruction"]))
    policies = comparison["flights"]["policies"]
    if policies:
        findings += [
            _flight_finding(comparison["flights"], other)
            for other in ("state_only", "stage1", "stage2, shuffled_instruction",
                          "stage2, sensor_zeroed")
        ]  # fmt: skip
    return findings


def _offline_finding(offline: dict[str, Any], better: str, worse: str) -> dict[str, str]:
    first, second = (offline[name]["scaled_mse_error"] for name in (better, worse))
    change = (first - second) / second
    outcome = "better" if first < second else "worse"
    return {
        "outcome": outcome,
        "text": f"Offline, {PART_WORDS[better]} has {100 * abs(change):.0f}{THIN_SPACE}% "
        f"{'less' if first < second else 'more'} error than {PART_WORDS[worse]} on held-out "
        f"episodes ({first:.4f} against {second:.4f}; squared, in train deviations; "
        f"{offline[better]['num_episodes']} episodes).",
    }


def _sensor_finding(sensor: dict[str, Any]) -> dict[str, str]:
    own, zeroed = sensor["own"], sensor["zeroed"]
    rises = zeroed["scaled_mse_error"] > own["scaled_mse_error"]
    return {
        "outcome": "better" if rises else "worse",
        "text": f"With the sensor zeroed, the error on episodes that have one "
        f"{'rises' if rises else 'does not rise'}: {own['scaled_mse_error']:.4f} to "
        f"{zeroed['scaled_mse_error']:.4f}; of a step's height, {own['height_mae_mm']:.0f} to "
        f"{zeroed['height_mae_mm']:.0f}{THIN_SPACE}mm (n = {own['n']}).",
    }


def _instruction_finding(instruction: dict[str, Any]) -> dict[str, str]:
    own, other = instruction["own"], instruction["other"]
    rises = other["scaled_mse_error"] > own["scaled_mse_error"]
    return {
        "outcome": "better" if rises else "worse",
        "text": f"Told to do something else, the policy's error on held-out steps "
        f"{'rises' if rises else 'does not rise'}: {own['scaled_mse_error']:.4f} to "
        f"{other['scaled_mse_error']:.4f} (n = {own['n']}).",
    }


def _leak_finding(sensor: dict[str, Any]) -> dict[str, str]:
    own, other = (sensor[name]["scaled_mse_error"] for name in ("own", "random_prior"))
    return {
        "outcome": "better" if other > own else "worse",
        "text": f"A random prior {'does not help' if other > own else 'helps'}: error {own:.4f} "
        f"with the policy's own prior, {other:.4f} with noise. Nothing of the answer is in it.",
    }


def _flight_finding(flights: dict[str, Any], other: str) -> dict[str, str]:
    own, against = flights["policies"]["stage2"], flights["policies"][other]
    test = flights["differences"][other]
    is_clear = test["p_value"] < 0.05
    outcome = "unclear" if not is_clear else "better" if test["difference"] > 0 else "worse"
    return {
        "outcome": outcome,
        "text": f"In flight, stage 2 reaches its goal in {format_percent(own['success_rate'], 0)} "
        f"of {own['n']} flights, {PART_WORDS[other]} in "
        f"{format_percent(against['success_rate'], 0)} (McNemar p = {test['p_value']:.3g}).",
    }


def summarise_vla(recipe: str, comparison: dict[str, Any]) -> str:
    """Write findings and the main tables as Markdown."""
    lines = [f"# {recipe}", ""]
    lines += [f"- {item['text']}" for item in comparison["findings"]]
    lines += ["", "| offline, test split | squared error | first action, absolute | n |",
              "|---|---:|---:|---:|"]  # fmt: skip
    for name, values in {**comparison["baselines"], **comparison["offline"]}.items():
        lines.append(
            f"| {PART_WORDS[name]} | {values['scaled_mse_error']:.4f} | "
            f"{values['first_mae_error']:.4f} | {values['n']} |"
        )
    lines += ["", "| in flight | success | final error (m) | n |", "|---|---:|---:|---:|"]
    for name, values in comparison["flights"]["policies"].items():
        lines.append(
            f"| {PART_WORDS[name]} | {format_percent(values['success_rate'])} | "
            f"{values['final_error_m']:.2f} | {values['n']} |"
        )
    return "\n".join(lines) + "\n"
