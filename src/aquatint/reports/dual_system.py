"""The report of dual systems: trajectories, closed loop, drift, maps, curves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from aquatint.reports.blocks import Block, Cell, Chart, Row, Section, Table, Text
from aquatint.reports.flown_paths import (
    GroundMaps,
    MapStyle,
    draw_flown_paths,
    loop_blocks,
    loop_table,
)
from aquatint.reports.page import render_page
from aquatint.reports.theme import stack_panels, style_figure
from aquatint.reports.wording import format_interval, format_percent

WORDS = {
    "expert": "expert",
    "forward": "always forward",
    "random": "by chance",
    "system2": "System 2, straight line",
    "nextdit_async": "NextDiT with pictures",
    "nextdit": "NextDiT, latents alone",
    "navdp_async": "NavDP with pictures, depth",
}
_COLORS = {
    "nextdit_async": "#D9601A",
    "nextdit": "#8E5BB5",
    "navdp_async": "#3D8BCD",
}
_MAP_COLORS = {"expert": "#1A7F4B", "system2": "#444444", **_COLORS}
_MAP_REACH_M = 56.0
_NUM_FANS = 9


@dataclass(frozen=True, eq=False)
class DualReport:
    """What the page is made of.

    Attributes:
        metrics: Metrics of trajectories by backend.
        histories: Trainings by backend.
        predictions: Trajectories by backend.
        rollout: Summary of the closed loop.
        episodes: One row for each flown episode.
        drift: What a further training of System 2 alone does.
    """

    metrics: dict[str, dict[str, Any]]
    histories: dict[str, pd.DataFrame]
    predictions: dict[str, pd.DataFrame]
    rollout: dict[str, Any]
    episodes: pd.DataFrame
    drift: dict[str, Any]


def render_dual_report(report: DualReport, maps: GroundMaps, num_samples: int, seed: int) -> str:
    """Return the page as HTML.

    Args:
        report: What it is made of.
        maps: Heights and pads around episodes.
        num_samples: Episodes that are drawn.
        seed: Decides which.
    """
    style = MapStyle("nextdit", _MAP_COLORS, WORDS, _MAP_REACH_M)
    sections = [
        Section("loop", "Closed loop", loop_blocks(report.rollout, WORDS)),
        Section("ways", "Trajectories", [
            way_table(report.metrics),
            Chart("fans", _draw_ways(report.predictions, seed),
                  "Held-out frames, drawn by a fixed seed, as seen from the agent: black is the "
                  "recorded way to the goal, colors the mean of each backend's samples."),
            Chart("time", _draw_time(report.metrics),
                  "Loss on held-out frames by the share of noise. Where decoders say different "
                  "things (prediction_type: clean trajectories, noise, velocities), compare "
                  "shapes, not heights."),
        ]),
        Section("drift", "Drift", _drift_blocks(report.drift)),
        Section("maps", "Flown paths",
                [draw_flown_paths(report.episodes, maps, style, num_samples, seed)]),
        Section("training", "Training", [Chart("training", _draw_training(report.histories))]),
    ]  # fmt: skip
    lead = "System 2 points at the next place to go; a System 1 plans the way there and follows it."
    return render_page("dual_system: pointing, and planning the way there", lead, sections)


def way_table(metrics: Mapping[str, dict[str, Any]]) -> Table:
    """Return the metrics of trajectories, beside what needs no model."""
    everywhere = {name: found for name, found in metrics.items() if name != "nextdit"}
    rows = [
        *_beside_baselines({name: found["goal_frames"] for name, found in metrics.items()}, ""),
        *_beside_baselines(everywhere, ", on the way too"),
    ]
    note = (
        "Mean of all sampled trajectories against the recorded way to the goal: mean (ADE) and "
        "last (FDE) distance, turn of the last point; the best of all samples. Below ADE: its "
        "95 % interval by scene. First where goals are set, which all backends are judged at; then "
        "on the way too, up to the goal itself, which only those with pictures plan from."
    )
    head = ["held-out frames", "ADE", "FDE", "heading", "best sample's ADE"]
    return Table(head, rows, note)


def _beside_baselines(metrics: Mapping[str, dict[str, Any]], where: str) -> list[Row]:
    first = next(iter(metrics.values()))
    baselines = {
        "train ways' mean, always": first["mean_way"],
        "standing still": first["standing_still"],
        "straight line to the labelled place": first["straight_line"],
    }
    named = {WORDS[name]: found for name, found in metrics.items()} | baselines
    return [Row(words + where, _way_cells(found)) for words, found in named.items()]


def _way_cells(found: dict[str, Any]) -> list[Cell]:
    interval = found["ade_interval_m"]
    between = f"{interval[0]:.2f} to {interval[1]:.2f}, " if interval else ""
    best = found["best_ade_m"]
    return [
        Cell(f"{found['ade_m']:.2f} m", f"{between}n = {found['n']}"),
        Cell(f"{found['fde_m']:.2f} m"),
        Cell(f"{np.degrees(found['heading_error_rad']):.0f}°"),
        Cell("" if best is None else f"{best:.2f} m"),
    ]


def _drift_blocks(drift: dict[str, Any]) -> list[Block]:
    interval = drift["cosine_interval"]
    between = f"{interval[0]:.3f} to {interval[1]:.3f} by scene, " if interval else ""
    text = (
        f"System 2 was trained further, alone, while {WORDS[drift['backend']]} stayed as it was. "
        f"Its latents before and after: cosine {drift['cosine']:.3f} ({between}"
        f"n = {drift['n']}; least {drift['least_cosine']:.3f})."
    )
    rows = [
        Row(words, _way_cells(drift[name]))
        for name, words in (("before", "System 1 as trained"),
                            ("after", "the same, after System 2's further training"))
    ]  # fmt: skip
    return [Text(text), Table(["held-out frames", "ADE", "FDE", "heading", "best sample's ADE"],
                              rows)]  # fmt: skip


def _draw_ways(predictions: Mapping[str, pd.DataFrame], seed: int) -> go.Figure:
    first = predictions["nextdit_async"]
    tables = {name: table.set_index(["sample_id", "frame"]) for name, table in predictions.items()}
    shared = [key for key in tables["nextdit"].index if key in tables["nextdit_async"].index]
    order = np.random.default_rng([seed, 89]).permutation(len(shared))[:_NUM_FANS]
    figure = make_subplots(rows=3, cols=3, horizontal_spacing=0.04, vertical_spacing=0.05)
    style_figure(figure, 620)
    horizon = len(first["target"].iloc[0]) // 3
    for place, position in enumerate(order):
        key, cell = shared[position], {"row": place // 3 + 1, "col": place % 3 + 1}
        target = np.array(tables["nextdit"].loc[key, "target"]).reshape(horizon, 3)
        lines = {"recorded": (target, "#222222"), **{
            WORDS[name]: (np.array(table.loc[key, "predicted"]).reshape(horizon, 3), _COLORS[name])
            for name, table in tables.items()
        }}  # fmt: skip
        for label, (points, color) in lines.items():
            # Ahead is up, the left is left.
            figure.add_scatter(x=[0, *(-points[:, 1])], y=[0, *points[:, 0]], mode="lines",
                               name=label, legendgroup=label, showlegend=place == 0,
                               line={"color": color, "width": 2.2}, **cell)  # fmt: skip
        axis = f"x{place + 1}" if place else "x"
        figure.update_yaxes(scaleanchor=axis, **cell)
    return figure


def _draw_time(metrics: Mapping[str, dict[str, Any]]) -> go.Figure:
    figure = style_figure(go.Figure(), 320)
    for name, found in metrics.items():
        parts = found["loss_by_time"]
        figure.add_scatter(x=[part["share_of_noise"] for part in parts],
                           y=[part["loss"] for part in parts], mode="lines+markers",
                           name=WORDS[name], line={"color": _COLORS[name], "width": 2})  # fmt: skip
    # Above: below, it would lie over the axis' title.
    figure.update_layout(legend={"y": 1.02, "yanchor": "bottom"})
    figure.update_xaxes(title="share of noise")
    figure.update_yaxes(title="loss", rangemode="tozero")
    return figure


def _draw_training(histories: Mapping[str, pd.DataFrame]) -> go.Figure:
    figure = stack_panels(["loss", "validation: ADE (m)"], 460, shared_xaxes=True)
    for name, history in histories.items():
        color, label = _COLORS[name], WORDS[name]
        smooth = history["loss_action"].rolling(25, min_periods=1).mean()
        figure.add_scatter(x=history["step"], y=smooth, mode="lines", name=label,
                           line={"color": color, "width": 1.8}, row=1, col=1)  # fmt: skip
        scored = history.dropna(subset=["val_ade_m"])
        figure.add_scatter(x=scored["step"], y=scored["val_ade_m"], mode="lines+markers",
                           name=label, showlegend=False, line={"color": color, "width": 1.8},
                           row=2, col=1)  # fmt: skip
    figure.update_layout(legend={"y": 1.08, "yanchor": "bottom"})
    figure.update_yaxes(type="log", dtick=1, row=1, col=1)
    figure.update_yaxes(rangemode="tozero", row=2, col=1)
    figure.update_xaxes(title="step", row=2, col=1)
    return figure


def summarise_dual(
    metrics: Mapping[str, dict[str, Any]], rollout: dict[str, Any], drift: dict[str, Any]
) -> str:
    """Return both tables and the drift as Markdown."""
    lines = ["# dual_system", ""]
    for table in (loop_table(rollout, WORDS), way_table(metrics)):
        lines += [f"| {' | '.join(table.head)} |", "|---|" + "---:|" * (len(table.head) - 1)]
        for row in table.rows:
            cells = [f"{c.text} ({c.note})" if c.note else c.text for c in row.cells]
            lines.append(f"| {' | '.join([row.label, *cells])} |")
        lines.append("")
    success = {name: found["success"] for name, found in rollout["policies"].items()}
    best = max(_COLORS, key=lambda name: success[name])
    interval = format_interval(rollout["policies"][best]["success_interval"])
    lines += [
        f"Best backend in closed loop: {WORDS[best]}, {format_percent(success[best])} "
        f"({interval}); "
        f"System 2 with a straight line: {format_percent(success['system2'])}.",
        f"Cosine of latents after System 2's further training: {drift['cosine']:.3f}; ADE "
        f"{drift['before']['ade_m']:.2f} m before, {drift['after']['ade_m']:.2f} m after.",
        "",
    ]
    return "\n".join(lines)
