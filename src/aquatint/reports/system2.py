"""The report of System 2: answers on held-out frames, closed loop, maps, frames, curves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from PIL import Image

from aquatint.reports.blocks import (
    Block,
    Cell,
    Chart,
    Fold,
    Gallery,
    Row,
    Section,
    Table,
    Text,
    Tiles,
)
from aquatint.reports.flown_paths import (
    GroundMaps,
    MapStyle,
    draw_flown_paths,
    loop_blocks,
    loop_table,
)
from aquatint.reports.inspection_gallery import as_uri
from aquatint.reports.markup import TEMPLATES
from aquatint.reports.page import render_page
from aquatint.reports.theme import stack_panels
from aquatint.reports.wording import format_count, format_interval, format_percent

WORDS = {
    "expert": "expert",
    "forward": "always forward",
    "random": "by chance",
    "untrained": "System 2 before its training",
    "system2": "System 2",
    "system2_misled": "System 2, another's instruction",
}
_TOLD_WORDS = {
    "own": "System 2",
    "other": "with another flight's instruction",
    "grey": "over grey images",
    "untrained": "before its training",
}
_COLORS = {"expert": "#1A7F4B", "system2": "#D9601A", "system2_misled": "#3D8BCD"}
_MAP_REACH_M = 56.0
_SHOWN_PX = 224
_SHADES = {"pixel": "#D9601A", "turn": "#3D8BCD", "stop": "#1A7F4B"}


@dataclass(frozen=True, eq=False)
class System2Report:
    """What the page is made of.

    Attributes:
        root: Folder that paths of frames are relative to.
        counts: What the samples hold.
        frames: Paths of frames.
        predictions: Answers on held-out samples, asked in all ways.
        metrics: Their metrics.
        history: The training.
        rollout: Summary of the closed loop.
        episodes: One row for each flown episode.
    """

    root: Path
    counts: dict[str, Any]
    frames: pd.DataFrame
    predictions: pd.DataFrame
    metrics: dict[str, Any]
    history: pd.DataFrame
    rollout: dict[str, Any]
    episodes: pd.DataFrame


def render_system2_report(
    report: System2Report, maps: GroundMaps, num_samples: int, seed: int
) -> str:
    """Return the page as HTML.

    Args:
        report: What it is made of.
        maps: Heights and pads around episodes.
        num_samples: Episodes, and frames, that are drawn.
        seed: Decides which.
    """
    style = MapStyle("system2", _COLORS, WORDS, _MAP_REACH_M)
    drawn = draw_flown_paths(report.episodes, maps, style, num_samples, seed)
    sections = [
        Section("result", "Result", _result_blocks(report)),
        Section("loop", "Closed loop",
                [*loop_blocks(report.rollout, WORDS), _answer_table(report.rollout)]),
        Section("answers", "Held-out frames", _answer_blocks(report)),
        Section("frames", "Pixel goals", [_frames(report, num_samples, seed)]),
        Section("maps", "Flown paths", [drawn]),
        Section("training", "Training", [Chart("training", _draw_training(report.history))]),
        Section("data", "Samples", _data_blocks(report.counts)),
    ]  # fmt: skip
    lead = "A vision-language model that points at where to go next, turns, or stops."
    return render_page("system2: pointing at the next place to go", lead, sections)


def _result_blocks(report: System2Report) -> list[Block]:
    policies, own = report.rollout["policies"], report.metrics["own"]
    flown, pixels = policies["system2"], own["pixels"]
    tiles = [
        (
            "success in closed loop",
            format_percent(flown["success"]),
            f"{format_interval(flown['success_interval'])}, n = {flown['n']}",
            "#D9601A",
        ),
        (
            "pixels within a tenth of the diagonal",
            format_percent(pixels["hit_at_0.1"]),
            f"{format_interval(pixels['hit_at_0.1_interval'])}, n = {pixels['n']}",
            "#3D8BCD",
        ),
        (
            "right kind of answer",
            format_percent(own["kinds"]["accuracy"]),
            f"most frequent kind: {format_percent(own['kinds']['majority_accuracy'])}",
            "#8C8C8C",
        ),
    ]
    return [Tiles(tiles)]


def _answer_table(rollout: dict[str, Any]) -> Table:
    kinds = ("pixel", "turn", "stop", "invalid")
    rows = [
        Row(WORDS.get(name, name), [Cell(format_count(counts[kind])) for kind in kinds])
        for name, counts in rollout["answers"].items()
    ]
    note = (
        "Invalid: neither two numbers nor arrows nor STOP, or a pixel without depth; the agent "
        "then turns left once."
    )
    return Table(["answers while flying", *kinds], rows, note)


def answer_table(metrics: dict[str, Any]) -> Table:
    """Return the metrics of held-out answers, beside what needs no model."""
    rows = []
    if "mean_pixel" in metrics:
        found = metrics["mean_pixel"]
        rows.append(Row("train goals' mean pixel, always", [*[Cell("")] * 4, *_pixel_cells(found)]))
    for told, words in _TOLD_WORDS.items():
        found = metrics[told]
        kinds, turns = found["kinds"], found["turns"]
        cells = [
            Cell(
                format_percent(kinds["accuracy"]),
                f"{format_interval(kinds['accuracy_interval'])}, n = {kinds['n']}",
            ),
            Cell(format_percent(kinds["stop_precision"]), format_percent(kinds["stop_recall"])),
            Cell(format_percent(turns["exact_match"]), f"n = {turns['n']}"),
            Cell(format_percent(kinds["invalid_rate"])),
            *_pixel_cells(found["pixels"]),
        ]
        rows.append(Row(words, cells))
    head = ["held-out frames", "kind right", "stops", "turns exact", "invalid",
            "pixel error", "within 5 %", "within 10 %"]  # fmt: skip
    note = (
        "Pixels: after the arrow down, which is given; distances to the goal that depth and poses "
        "give, their median, and hits within shares of the image's diagonal. Stops: precision, and "
        "recall below it. Turns: the whole string of arrows."
    )
    return Table(head, rows, note)


def _pixel_cells(pixels: dict[str, Any]) -> list[Cell]:
    median = pixels["median_px_error"]
    return [
        Cell("none" if median is None else f"{median:.1f} px", f"n = {pixels['answered']}"),
        Cell(format_percent(pixels["hit_at_0.05"]), format_interval(pixels["hit_at_0.05_interval"])
             if pixels["n"] else ""),
        Cell(format_percent(pixels["hit_at_0.1"]), format_interval(pixels["hit_at_0.1_interval"])
             if pixels["n"] else ""),
    ]  # fmt: skip


def _answer_blocks(report: System2Report) -> list[Block]:
    confusion = report.metrics["own"]["kinds"]["confusion"]
    kinds = ("pixel", "turn", "stop", "invalid")
    rows = [
        Row(target, [Cell(format_count(counts[kind])) for kind in kinds])
        for target, counts in confusion.items()
    ]
    blocks: list[Block] = [answer_table(report.metrics)]
    for told, found in report.metrics["differences"].items():
        if found["px_error"] is not None:
            blocks.append(
                Text(
                    f"{_TOLD_WORDS[told]}: pixels lie {found['px_error']:+.1f} px farther from "
                    f"their goals ({_px_interval(found['px_error_interval'])}, n = {found['n']})."
                )
            )
    return [*blocks, Table(["should be, and said:", *kinds], rows)]


def _px_interval(interval: list[float] | None) -> str:
    if interval is None:
        return "one scene: no interval"
    return f"{interval[0]:+.1f} to {interval[1]:+.1f} by scene"


def _data_blocks(counts: dict[str, Any]) -> list[Block]:
    splits = ("train", "val", "test")
    rows = [
        Row(kind, [Cell(format_count(counts["kinds"][split][kind])) for split in splits])
        for kind in _SHADES
    ]
    rows.append(Row("scenes", [Cell(format_count(counts["scenes"][split])) for split in splits]))
    skipped = counts["frames_without_sample"]
    text = (
        f"{counts['n']['flights']} flights; {counts['n']['findings']} have a finding and are left "
        f"out. Frames that gave no sample: {skipped['forward_without_goal']} that fly on and see "
        f"no goal, {skipped['goal_too_near']} whose goal is too near. An epoch shows "
        f"{format_count(counts['shown_in_an_epoch'])} samples."
    )
    return [Table(["samples", *splits], rows), Fold("What was left out", [Text(text)])]


def _frames(report: System2Report, num: int, seed: int) -> Gallery:
    items = list(_pointed(report, num, seed))
    html = TEMPLATES.get_template("pointed.html").render(items=items, size=_SHOWN_PX)
    return Gallery(" ".join(html.split()))


def _pointed(report: System2Report, num: int, seed: int) -> Iterator[dict[str, Any]]:
    """Pixel samples that nobody picked."""
    table = report.predictions
    table = table[(table["told"] == "own") & (table["kind"] == "pixel")].reset_index(drop=True)
    paths = report.frames.set_index(["flight_id", "frame"])["look_down_path"]
    order = np.random.default_rng([seed, 88]).permutation(len(table))[:num]
    for row in table.iloc[order].to_dict(orient="records"):
        name = paths[(row["flight_id"], row["frame"])]
        with Image.open(report.root / name, formats=("JPEG", "PNG")) as image:
            picture = image.convert("RGB")
        scale = _SHOWN_PX / picture.width
        height = round(picture.height * scale)
        is_named = row["predicted_row"] >= 0
        gap = np.hypot(row["predicted_row"] - row["goal_row"],
                       row["predicted_column"] - row["goal_column"])  # fmt: skip
        yield {
            "uri": as_uri(picture.resize((_SHOWN_PX, height))),
            "height": height,
            "goal": _place(row["goal_row"], row["goal_column"], scale),
            "named": _place(row["predicted_row"], row["predicted_column"], scale)
            if is_named else None,
            "instruction": row["instruction"],
            "outcome": f"{gap:.0f} px off" if is_named else f"said {row['second_answer']!r}",
            "name": f"{row['flight_id']}, frame {row['frame']}",
        }  # fmt: skip


def _place(row: int, column: int, scale: float) -> list[str]:
    return [f"{(value + 0.5) * scale:.1f}" for value in (column, row)]


def _draw_training(history: pd.DataFrame) -> go.Figure:
    figure = stack_panels(["loss of the answers' tokens", "validation"], 460, shared_xaxes=True)
    smooth = history["loss_next_token"].rolling(25, min_periods=1).mean()
    figure.add_scatter(x=history["step"], y=smooth, mode="lines", name="loss",
                       showlegend=False, line={"color": "#D9601A", "width": 1.8},
                       row=1, col=1)  # fmt: skip
    for name, label, color in (("val_kind_accuracy", "right kind of answer", "#8C8C8C"),
                               ("val_hit_at_0.1", "pixels within 10 %", "#3D8BCD")):  # fmt: skip
        if name in history:
            scored = history.dropna(subset=[name])
            figure.add_scatter(x=scored["step"], y=scored[name], mode="lines+markers", name=label,
                               line={"color": color, "width": 1.8}, row=2, col=1)  # fmt: skip
    # A tick for each power of ten: in between they would stand in one another.
    figure.update_yaxes(type="log", dtick=1, row=1, col=1)
    figure.update_yaxes(range=[0, 1], row=2, col=1)
    figure.update_xaxes(title="step", row=2, col=1)
    return figure


def summarise_system2(metrics: dict[str, Any], rollout: dict[str, Any]) -> str:
    """Return both tables as Markdown."""
    lines = ["# system2", ""]
    for table in (loop_table(rollout, WORDS), answer_table(metrics)):
        lines += [f"| {' | '.join(table.head)} |", "|---|" + "---:|" * (len(table.head) - 1)]
        for row in table.rows:
            cells = [f"{c.text} ({c.note})" if c.note else c.text for c in row.cells]
            lines.append(f"| {' | '.join([row.label, *cells])} |")
        lines.append("")
    return "\n".join(lines)
