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
    Findings,
    Fold,
    Row,
    Section,
    Table,
    Text,
    Tone,
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
    "rdp": "RDP",
    "cma_misled": "CMA, another's instruction",
    "seq2seq_misled": "Seq2Seq, another's instruction",
    "rdp_misled": "RDP, another's instruction",
    "expert": "expert",
    "forward": "always forward",
    "random": "by chance",
    "last_action": "as the step before",
}
_WORDINGS = {"all": "all episodes", "0": "told the landmark",
             "1": "told the landmark and its side", "2": "told what is passed"}  # fmt: skip
_COLORS = {"expert": "#1A7F4B", "cma": "#D9601A", "seq2seq": "#3D8BCD", "rdp": "#8A4FBF"}


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
        Section(
            "loop",
            "Closed loop",
            [
                *loop_blocks(report.rollout, _WORDS),
                _told_findings(report.rollout),
                wording_table(report.rollout),
            ],
        ),
        Section("steps", "Step by step", [step_table(report.metrics), _step_note()]),
        Section("chunks", "Ways that RDP plans", [chunk_table(report.metrics["rdp"]["chunks"])]),
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


def _told_findings(rollout: dict[str, Any]) -> Findings:
    """Say whether policies end nearer to their goals when they are told the truth."""
    sentences: list[tuple[Tone, str]] = []
    for name, by_wording in rollout["wordings"].items():
        error = by_wording["all"]["error_m"]
        interval = error["interval"]
        tone: Tone = "unclear"
        if interval is not None and not interval[0] <= 0 <= interval[1]:
            tone = "better" if interval[1] < 0 else "worse"
        verdict = {
            "better": "nearer to",
            "worse": "farther from",
            "unclear": "no clearly nearer to",
        }
        between = f"{_meters(interval)} by town" if interval else "one town: no interval"
        sentences.append(
            (
                tone,
                f"{_WORDS[name]}, told its own instruction instead of another's, ends "
                f"{verdict[tone]} the goal: {_signed_meters(error['difference'])} ({between}, "
                f"n = {by_wording['all']['n']}).",
            )
        )
    return Findings(sentences)


def wording_table(rollout: dict[str, Any]) -> Table:
    """Return what an own instruction is worth against another episode's, by wording."""
    rows = []
    for name, by_wording in rollout["wordings"].items():
        for wording, found in by_wording.items():
            success, error = found["success"], found["error_m"]
            cells = [
                Cell(format_percent(success["own"]), f"n = {found['n']}"),
                Cell(format_percent(success["other"])),
                Cell(f"{error['own']:.1f} m"),
                Cell(f"{error['other']:.1f} m"),
                Cell(_signed_meters(error["difference"]), _meters(error["interval"])),
            ]
            rows.append(Row(f"{_WORDS[name]}, {_WORDINGS.get(wording, wording)}", cells))
    note = (
        "The same episodes, told their own instruction and that of another landmark; the error is "
        "the distance from the goal at the end, its interval is by town. At the start three "
        "landmarks of four are out of sight: only the second wording says on which side to look."
    )
    head = ["own instruction or another's", "success", "told another's", "error", "told another's",
            "difference of error"]  # fmt: skip
    return Table(head, rows, note)


def chunk_table(chunks: dict[str, Any]) -> Table:
    """Return how far planned ways are from flown ones, beside what needs no model."""
    words = {"still": "staying where it is", "forward": "straight on", "own": "RDP",
             "other": "RDP, another flight's instruction"}  # fmt: skip
    rows = [
        Row(
            label,
            [
                Cell(
                    f"{chunks[name]['average_error_m']:.2f} m",
                    _closely(chunks[name]["average_error_m_interval"]),
                ),
                Cell(f"{chunks[name]['final_error_m']:.2f} m"),
            ],
        )
        for name, label in words.items()
    ]
    note = (
        f"Distance of planned places from those of the recorded flight, at "
        f"{format_count(chunks['num_steps'])} held-out steps: mean over the chunk (ADE, interval "
        "by flight) and at its end (FDE). CMA and Seq2Seq name one action and plan no way."
    )
    return Table(["held-out steps", "ADE", "FDE"], rows, note)


def _meters(interval: list[float] | None) -> str:
    return f"{interval[0]:.1f} to {interval[1]:.1f}".replace("-", "−") if interval else ""


def _closely(interval: list[float] | None) -> str:
    return f"{interval[0]:.2f} to {interval[1]:.2f}" if interval else ""


def _signed_meters(difference: float) -> str:
    return f"{difference:+.1f} m".replace("-", "−")


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
    figure = stack_panels(
        ["loss of the action (RDP: of increments)", "macro-F1 on validation"], 460
    )
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
    """Return all tables as Markdown."""
    lines = ["# cma", ""]
    tables = [loop_table(rollout, _WORDS), wording_table(rollout), step_table(metrics)]
    for table in (*tables, chunk_table(metrics["rdp"]["chunks"])):
        lines += [f"| {' | '.join(table.head)} |", "|---|" + "---:|" * (len(table.head) - 1)]
        for row in table.rows:
            if row.cells:
                cells = [f"{c.text} ({c.note})" if c.note else c.text for c in row.cells]
                lines.append(f"| {' | '.join([row.label, *cells])} |")
        lines.append("")
    return "\n".join(lines)
