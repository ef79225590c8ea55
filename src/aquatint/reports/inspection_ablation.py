"""What each enhancement changes on its own."""

from __future__ import annotations

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from aquatint.metrics.paired import group_bootstrap_interval, mcnemar
from aquatint.reports.blocks import Block, Cell, Chart, Row, Section, Table, Text, Tone
from aquatint.reports.inspection_figures import COLORS, draw_bars
from aquatint.reports.page import render_page
from aquatint.reports.wording import (
    format_interval,
    format_p_value,
    format_percent,
    format_points,
)

_REFERENCE, _CONTROL = "none", "shuffled_labels"


def compare_variants(
    metrics: dict[str, dict[str, Any]], predictions: dict[str, pd.DataFrame]
) -> tuple[dict[str, Any], go.Figure]:
    """Compare every variant with the one that has no enhancement.

    Args:
        metrics: Metrics by variant; ``none`` among them.
        predictions: Predictions by variant.

    Returns:
        Rows by variant with accuracy, macro-F1, accuracy of the rarest condition and the paired
        difference to ``none``; a figure of the accuracies.
    """
    tests = {
        name: table[table["split"] == "test"].set_index("instance_id").sort_index()
        for name, table in predictions.items()
    }
    right = {name: (t["predicted"] == t["target"]).to_numpy() for name, t in tests.items()}
    groups = tests[_REFERENCE]["source_group"].to_numpy()
    rows = {}
    for name, values in metrics.items():
        difference = right[name].astype(float) - right[_REFERENCE].astype(float)
        rows[name] = {
            "accuracy": values["accuracy"],
            "accuracy_interval": values["accuracy_interval"],
            "accuracy_interval_by_photo": values["accuracy_interval_by_photo"],
            "balanced_accuracy": values["balanced_accuracy"],
            "macro_f1": values["macro_f1"],
            "per_condition": values["per_condition"],
            "difference": float(difference.mean()),
            "difference_interval": group_bootstrap_interval(difference, groups),
            "mcnemar": mcnemar(right[name], right[_REFERENCE]),
            "n": values["n"],
        }
    baselines = metrics[_REFERENCE]["baselines"]
    bars = [("type only, no image", baselines["type_only"], COLORS["blind"])]
    bars += [
        (_label(name), values, COLORS["blind" if name == _CONTROL else "ablation"])
        for name, values in rows.items()
    ]
    return {"variants": rows, "baselines": baselines}, draw_bars(bars)


def _label(name: str) -> str:
    words = {"none": "no enhancement", "every": "all five",
             "shuffled_labels": "control: labels exchanged within each type"}  # fmt: skip
    return words.get(name, name.replace("_", " "))


def _table(comparison: dict[str, Any]) -> Table:
    conditions = list(next(iter(comparison["variants"].values()))["per_condition"])
    rows = []
    for name, values in comparison["variants"].items():
        cells = [
            Cell(
                format_percent(values["accuracy"]),
                f"{format_interval(values['accuracy_interval_by_photo'])}, n = {values['n']}",
            ),
            Cell(format_percent(values["balanced_accuracy"])),
            Cell(format_percent(values["macro_f1"])),
            *(
                Cell(
                    format_percent(values["per_condition"][condition]["accuracy"]),
                    f"n = {values['per_condition'][condition]['n']}",
                )
                for condition in conditions
            ),
            Cell(
                format_points(values["difference"]),
                format_p_value(values["mcnemar"]["p_value"]),
                _tone(values["difference_interval"]),
            ),
        ]
        rows.append(Row(_label(name), cells))
    head = ["test split", "accuracy", "balanced", "macro-F1", *conditions, "against none"]
    note = "Against none: points of accuracy on the same objects, with McNemar's p. One seed each."
    return Table(head, rows, note)


def _tone(interval: list[float] | None) -> Tone:
    if interval is None or interval[0] <= 0 <= interval[1]:
        return "unclear"
    return "better" if interval[0] > 0 else "worse"


def summarise_variants(comparison: dict[str, Any]) -> str:
    """Return the table of variants as Markdown."""
    table = _table(comparison)
    lines = ["# inspection_ablation", "", f"| {' | '.join(table.head)} |"]
    lines.append("|---|" + "---:|" * (len(table.head) - 1))
    for row in table.rows:
        cells = [f"{cell.text} ({cell.note})" if cell.note else cell.text for cell in row.cells]
        lines.append(f"| {' | '.join([row.label, *cells])} |")
    return "\n".join([*lines, "", table.note, ""])


def render_variants(comparison: dict[str, Any], figure: go.Figure) -> str:
    """Return table and figure as one HTML page."""
    text = Text(
        "Every variant is trained alike, from the same seed; only the toggles differ. Weights and "
        "repeats come from the train split alone. The control learns from labels exchanged "
        "between objects of one type: a sound pipeline leaves it at or below what knowing the type "
        "gives, because no picture tells its labels."
    )
    blocks: list[Block] = [
        text,
        _table(comparison),
        Chart("variants", figure, "95 % intervals by photograph."),
    ]
    lead = "The five enhancements of the source document, each alone, none and all together."
    return render_page(
        "inspection: what each enhancement changes", lead, [Section("result", "Result", blocks)]
    )
