"""The report of the imitation recipe: steps, closed loop, maps of flown paths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from aquatint.reports.blocks import (
    Block,
    Cell,
    Chart,
    Fold,
    Row,
    Section,
    Table,
    Text,
)
from aquatint.reports.flown_paths import (
    GroundMaps,
    MapStyle,
    draw_flown_paths,
    loop_blocks,
    loop_table,
)
from aquatint.reports.page import render_page
from aquatint.reports.theme import stack_panels
from aquatint.reports.wording import (
    format_count,
    format_interval,
    format_percent,
)

_WORDS = {
    "cma": "CMA",
    "seq2seq": "Seq2Seq",
    "cma_misled": "CMA, another's instruction",
    "seq2seq_misled": "Seq2Seq, another's instruction",
    "expert": "expert",
    "forward": "always forward",
    "random": "by chance",
    "last_action": "as the step before",
}
_COLORS = {"expert": "#1A7F4B", "cma": "#D9601A", "seq2seq": "#3D8BCD"}


@dataclass(frozen=True, eq=False)
class ImitationReport:
    """What the page is made of.

    Attributes:
        counts: What the recordings hold.
        metrics: Step metrics by policy.
        histories: Histories by policy.
        rollout: Summary of the closed loop.
        episodes: One row for each flown episode.
    """

    counts: dict[str, Any]
    metrics: dict[str, dict[str, Any]]
    histories: dict[str, pd.DataFrame]
    rollout: dict[str, Any]
    episodes: pd.DataFrame


def render_imitation_report(
    report: ImitationReport, maps: GroundMaps, num_samples: int, seed: int
) -> str:
    """Return the page as HTML.

    Args:
        report: What it is made of.
        maps: Heights around episodes.
        num_samples: Episodes that are drawn.
        seed: Decides which.
    """
    style = MapStyle("cma", _COLORS, _WORDS)
    drawn = draw_flown_paths(report.episodes, maps, style, num_samples, seed)
    sections = [
        Section("loop", "Closed loop", loop_blocks(report.rollout, _WORDS)),
        Section("steps", "Step by step", [step_table(report.metrics), _step_note()]),
        Section("maps", "Flown paths", [drawn]),
        Section("training", "Training", [Chart("training", _draw_training(report.histories))]),
        Section("data", "Recordings", _data_blocks(report.counts)),
    ]
    lead = "Policies that learnt from recorded flights, told where to go in words."
    return render_page("cma: following instructions by imitation", lead, sections)


def step_table(metrics: dict[str, dict[str, Any]]) -> Table:
    """Return the metrics of single steps by policy, beside what needs no model."""
    first = next(iter(metrics.values()))
    rows = [Row("without a model")]
    rows += [Row(_WORDS[name], _step_cells(found)) for name, found in first["baselines"].items()]
    rows.append(Row("with one"))
    for name, found in metrics.items():
        rows.append(Row(_WORDS[name], _step_cells(found)))
        rows.append(Row(_WORDS[f"{name}_misled"], _step_cells(found["misled"])))
    head = ["held-out flights", "accuracy", "macro-F1", "at changes", "F1 stop", "F1 left",
            "F1 right", "progress error"]  # fmt: skip
    return Table(head, rows)


def _step_cells(found: dict[str, Any]) -> list[Cell]:
    scores = found["per_class"]
    return [
        Cell(
            format_percent(found["accuracy"]),
            f"{format_interval(found['accuracy_interval_by_flight'])}, n = {found['n']}",
        ),
        Cell(format_percent(found["macro_f1"])),
        Cell(format_percent(found["inflection_accuracy"]), f"n = {found['num_inflections']}"),
        *(Cell(format_percent(scores[name]["f1"])) for name in ("stop", "left", "right")),
        Cell(f"{found['progress_error']:.3f}"),
    ]


def _step_note() -> Text:
    return Text(
        "Every step of held-out flights, with the recorded actions so far told. Doing what the "
        "step before did is right most of the time, and never at a change. With another flight's "
        "instruction a policy that reads should do worse."
    )


def _data_blocks(counts: dict[str, Any]) -> list[Block]:
    splits = ("train", "val", "test")
    rows = [
        Row(key, [Cell(format_count(counts[key].get(split, 0))) for split in splits])
        for key in ("flights", "scenes", "steps", "instructions")
    ]
    dropped = ", ".join(f"{count} ({status})" for status, count in counts["dropped"].items())
    text = (
        f"{counts['findings']} flights have a finding and are left out; dropped by status: "
        f"{dropped or 'none'}; {format_count(counts['cut_steps'])} steps of hanging or long "
        "flights are cut off."
    )
    return [Table(["", *splits], rows), Fold("What was left out", [Text(text)])]


def _draw_training(histories: dict[str, pd.DataFrame]) -> go.Figure:
    figure = stack_panels(["loss of the action", "macro-F1 on validation"], 460)
    for name, history in histories.items():
        color, label = _COLORS[name], _WORDS[name]
        smooth = history["loss_action"].rolling(25, min_periods=1).mean()
        figure.add_scatter(x=history["step"], y=smooth, mode="lines", name=label,
                           line={"color": color, "width": 1.8}, row=1, col=1)  # fmt: skip
        scored = history.dropna(subset=["val_macro_f1"])
        figure.add_scatter(x=scored["step"], y=scored["val_macro_f1"], mode="lines+markers",
                           name=label, showlegend=False, line={"color": color, "width": 1.8},
                           row=2, col=1)  # fmt: skip
    figure.update_xaxes(title="step", row=2, col=1)
    return figure


def summarise_imitation(metrics: dict[str, dict[str, Any]], rollout: dict[str, Any]) -> str:
    """Return both tables as Markdown."""
    lines = ["# cma", ""]
    for table in (loop_table(rollout, _WORDS), step_table(metrics)):
        lines += [f"| {' | '.join(table.head)} |", "|---|" + "---:|" * (len(table.head) - 1)]
        for row in table.rows:
            if row.cells:
                cells = [f"{c.text} ({c.note})" if c.note else c.text for c in row.cells]
                lines.append(f"| {' | '.join([row.label, *cells])} |")
        lines.append("")
    return "\n".join(lines)
