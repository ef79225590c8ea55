"""Sections of the retrieval report that say what came out: results, differences, training."""

from __future__ import annotations

from typing import Any

from aquatint.reports.blocks import (
    Block,
    Cell,
    Chart,
    Findings,
    Fold,
    Row,
    Section,
    Table,
    Text,
    Tiles,
    Tone,
)
from aquatint.reports.headline import HEADLINE, R_MEAN, HeadlineMetric
from aquatint.reports.wording import (
    NOTHING,
    PART_COLORS,
    format_count,
    format_difference,
    format_interval,
    format_percent,
    format_points,
    format_relative,
    format_seconds,
    format_value,
    label_part,
)

_NO_MODEL = "no model"
_COLORS = {label_part(part): color for part, color in PART_COLORS.items()}
_PAIR_TITLES = {
    "stage1_vs_zero_shot": "stage 1 − zero-shot",
    "stage2_vs_stage1": "stage 2 − stage 1",
    "stage2_vs_baseline": "stage 2 − single stage",
}


def result_section(comparison: dict[str, Any], recalls: Chart) -> Section:
    """What the parts reached: tiles, findings, the headline table and recalls drawn.

    Args:
        comparison: What ``compare_parts`` returns.
        recalls: Figure of the recalls.
    """
    chance = format_percent(comparison["references"][R_MEAN])
    tiles = [
        (label_part(part), format_percent(values[R_MEAN]), "mean recall", PART_COLORS[part])
        for part, values in comparison["headline"].items()
    ]
    findings = [(_tone(item["outcome"]), item["text"]) for item in comparison["verdicts"]]
    blocks: list[Block] = [
        Tiles([("chance", chance, "a random order", "#80889466"), *tiles]),
        Findings(findings),
        headline_table(comparison),
        recalls,
    ]
    return Section("result", "Result", blocks)


def _tone(outcome: str) -> Tone:
    return {"better": "better", "worse": "worse"}.get(outcome, "unclear")  # type: ignore[return-value]


def headline_table(comparison: dict[str, Any]) -> Table:
    """Every headline metric by part, beside what needs no model, with intervals and n.

    Args:
        comparison: What ``compare_parts`` returns.
    """
    parts = list(comparison["headline"])
    rows: list[Row] = []
    for metric in HEADLINE:
        if all(comparison["headline"][part][metric.key] is None for part in parts):
            continue
        if metric.group not in {row.label for row in rows if not row.cells}:
            rows.append(Row(metric.group))
        rows.append(_headline_row(metric, comparison, parts))
    note = (
        "Test split. Below a value: its 95 % Wilson interval, which takes queries as independent. "
        "Bold: the best of a row. “No model”: the exact expectation of a random order, the mean "
        "box of the training split for every sentence, or always the most frequent relation. A "
        "building counts as found if any of its images is; the very image is the stricter question."
    )
    return Table(["metric", _NO_MODEL, *map(label_part, parts), "n"], rows, note, _COLORS)


def _headline_row(metric: HeadlineMetric, comparison: dict[str, Any], parts: list[str]) -> Row:
    values = {part: comparison["headline"][part][metric.key] for part in parts}
    known = [value for value in values.values() if value is not None]
    best = min(known) if metric.is_error else max(known)
    cells = [
        Cell(
            format_value(value, metric.is_share),
            format_interval(comparison["headline_intervals"][part][metric.key]),
            "best" if value == best and len(known) > 1 else "",
        )
        for part, value in values.items()
    ]
    counts = [comparison["headline_n"][part][metric.key] for part in parts]
    counted = next((count for count in counts if count), None)
    reference = Cell(format_value(comparison["references"][metric.key], metric.is_share))
    return Row(metric.label, [reference, *cells, Cell(format_count(counted))])


def differences_section(comparison: dict[str, Any]) -> Section:
    """What each stage was worth: differences of pairs with intervals.

    Args:
        comparison: What ``compare_parts`` returns.
    """
    deltas = comparison["deltas"]
    rows: list[Row] = []
    for metric in HEADLINE:
        cells = [_change_cell(metric, deltas[pair]["changes"].get(metric.key)) for pair in deltas]
        if any(cell.text != NOTHING for cell in cells):
            if metric.group not in {row.label for row in rows if not row.cells}:
                rows.append(Row(metric.group))
            rows.append(Row(metric.label, cells))
    rows += [
        Row("Size"),
        Row("trainable parameters", [_parameters(deltas[pair]) for pair in deltas]),
    ]
    note = (
        "Percentage points for shares, else the plain difference; below, the relative change and "
        "the 95 % interval of the difference. The interval draws whole buildings anew, the same "
        "for both models (2,000 draws). Colored where it excludes zero."
    )
    heads = [_PAIR_TITLES.get(pair, pair) for pair in deltas]
    return Section("stages", "What each stage was worth", [Table(["", *heads], rows, note)])


def _change_cell(metric: HeadlineMetric, change: dict[str, Any] | None) -> Cell:
    if change is None:
        return Cell(NOTHING)
    value, interval = change["absolute"], change["interval"]
    text = format_points(value) if metric.is_share else format_difference(value)
    ends = [format_relative(change["relative"]), format_interval(interval)]
    tone: Tone = ""
    if interval is not None and not interval[0] <= 0 <= interval[1]:
        tone = "better" if value > 0 else "worse"
    return Cell(text, " · ".join(end for end in ends if end), tone)


def _parameters(delta: dict[str, Any]) -> Cell:
    change = delta["trainable_parameters"]
    if change is None:
        return Cell(NOTHING)
    sign = {True: "+", False: "−"}[change["absolute"] > 0] if change["absolute"] else ""
    count = format_count(abs(change["absolute"]))
    return Cell(f"{sign}{count}", format_relative(change["relative"]))


def training_section(comparison: dict[str, Any], progress: Chart, losses: Chart) -> Section:
    """What training cost and how it went.

    Args:
        comparison: What ``compare_parts`` returns.
        progress: Figure of validation scores by cost.
        losses: Figure of the losses.
    """
    blocks: list[Block] = [
        progress,
        *target_tables(comparison),
        efficiency_table(comparison),
        losses,
    ]
    return Section("training", "Training", blocks)


def target_tables(comparison: dict[str, Any]) -> list[Block]:
    """Cost of the given target and of the best score that both ways to train reach."""
    formats = {"steps": format_count, "samples": format_count, "seconds": format_seconds}
    rows: list[Row] = []
    for target in comparison["time_to_target"]:
        rows.append(Row(f"to {format_percent(target['target'])} ({target['reason']})"))
        for cost, show in formats.items():
            sides = [target[name] for name in ("two_stage", "baseline")]
            cells = [Cell(show(side[cost]) if side else "not reached") for side in sides]
            ratio = target["ratio"][cost] if target["ratio"] else None
            cells.append(Cell(f"{ratio:.2f} ×" if ratio else NOTHING))
            rows.append(Row(cost, cells))
    head = ["validation mean recall", "two stages", "single stage", "single / two"]
    note = (
        "At the first validation, once an epoch, with at least that score. A ratio above 1 means "
        "that two stages are cheaper. Seconds are steps times the part's mean seconds a step, "
        "without validation and without the features that all parts share."
    )
    return [Text("What a validation score cost, from untrained heads on:"), Table(head, rows, note)]


def efficiency_table(comparison: dict[str, Any]) -> Table:
    """Steps, samples, seconds, memory and parameters of each trained part."""
    parts = comparison["efficiency"]
    total = comparison["two_stage_total"]
    plan = (
        ("optimizer steps", "num_steps", format_count),
        ("samples seen", "num_samples_seen", format_count),
        ("training time", "train_seconds", format_seconds),
        ("steps a second", "steps_per_second", lambda v: NOTHING if v is None else f"{v:.2f}"),
        ("best validation mean recall", "best_val_r_mean", format_percent),
        ("best after step", "best_step", format_count),
        ("peak memory", "peak_memory_mb", _format_memory),
    )
    columns = {**parts, "both": total}
    order = [name for name in ("stage1", "stage2", "both", "baseline") if name in columns]
    rows = [
        Row(label, [Cell(show(columns[name].get(key))) for name in order])
        for label, key, show in plan
    ]
    rows.append(Row("trainable parameters", [_share_trained(columns[name]) for name in order]))
    head = ["", *("both stages" if name == "both" else label_part(name) for name in order)]
    note = (
        "As the trainer measured it. Peak memory on the CPU is that of the whole process so far, "
        "so a part that ran later contains what ran before it."
    )
    return Table(head, rows, note, _COLORS)


def _format_memory(peaks: dict[str, float] | float | None) -> str:
    if not peaks:
        return NOTHING
    by_device = peaks if isinstance(peaks, dict) else {"": peaks}
    return ", ".join(f"{mb / 1000:.2f} GB {name}".strip() for name, mb in by_device.items())


def _share_trained(measured: dict[str, Any]) -> Cell:
    trained, total = measured.get("num_trainable_parameters"), measured.get("num_parameters")
    if trained is None or not total:
        return Cell(NOTHING)
    return Cell(format_count(trained), f"{format_percent(trained / total)} of all")


def numbers_fold(metrics: dict[str, dict[str, Any]]) -> Fold:
    """Every single number of the metrics, by its dotted name.

    Args:
        metrics: Metrics by part.
    """
    flat = {part: dict(flatten(values)) for part, values in metrics.items()}
    names = list(dict.fromkeys(name for values in flat.values() for name in values))
    rows = [Row(name, [Cell(show_number(flat[part].get(name))) for part in flat]) for name in names]
    return Fold(
        f"All {len(names)} numbers", [Table(["", *map(label_part, flat)], rows, colors=_COLORS)]
    )


def flatten(values: dict[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    """Return every number in nested dicts with its dotted name; lists are left out."""
    found: list[tuple[str, float]] = []
    for name, value in values.items():
        if isinstance(value, dict):
            found += flatten(value, f"{prefix}{name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found.append((f"{prefix}{name}", value))
    return found


def show_number(value: float | None) -> str:
    """Return a number with four decimals, a count without."""
    if value is None:
        return NOTHING
    return str(value) if isinstance(value, int) else f"{value:.4f}"
