"""Figures of the covt report: accuracies, kinds of questions, trainings, anchors."""

from __future__ import annotations

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from aquatint.reports.covt_comparison import ANCHOR_MEASURES, SYSTEM_WORDS, headline
from aquatint.reports.inspection_figures import draw_bars
from aquatint.reports.theme import stack_panels, style_figure
from aquatint.reports.wording import SERIES_COLORS

COLORS = {
    "blind": "#8C8C8C",
    "text_only": "#8C8C8C",
    "base": "#3D8BCD",
    "stage1": "#2E9E7B",
    "trained": "#D9601A",
}
_STAGE_NAMES = ("", "understanding", "generation", "reasoning", "efficient")


def draw_accuracies(metrics: dict[str, Any]) -> go.Figure:
    """Draw the accuracy of every system and manner, with 95 % intervals."""
    bars = [(name, values, COLORS["blind"]) for name, values in metrics["baselines"].items()]
    bars += [
        (SYSTEM_WORDS[name], _by_group(values), COLORS[name])
        for name, values in headline(metrics).items()
    ]
    bars += [
        (f"all stages, {manner}", _by_group(values), "#E8A87C")
        for manner, values in metrics["accuracy"]["trained"].items()
        if manner != "thinking"
    ]
    bars += [
        (f"after stage 1, {manner}", _by_group(values), "#9CCFBE")
        for manner, values in metrics["accuracy"]["stage1"].items()
        if manner != "free"
    ]
    figure = draw_bars(bars)
    return figure.update_layout(margin={"l": 230})


def _by_group(values: dict[str, Any]) -> dict[str, Any]:
    found = values["accuracy_interval_by_group"] or values["accuracy_interval"]
    return {**values, "accuracy_interval": found}


def draw_kinds(metrics: dict[str, Any]) -> go.Figure:
    """Draw the accuracy of each kind of question, by system."""
    figure = style_figure(go.Figure(), 420)
    systems = {"base": "free", "text_only": "free", "stage1": "free", "trained": "thinking"}
    for name, manner in systems.items():
        kinds = metrics["accuracy"][name][manner]["by_kind"]
        shares = [100 * value["accuracy"] for value in kinds.values()]
        ends = [value["accuracy_interval"] for value in kinds.values()]
        figure.add_bar(
            x=[f"{kind}<br>n = {value['n']}" for kind, value in kinds.items()],
            y=shares,
            name=SYSTEM_WORDS[name],
            marker={"color": COLORS[name]},
            error_y={
                "array": [100 * e[1] - s for e, s in zip(ends, shares, strict=True)],
                "arrayminus": [s - 100 * e[0] for e, s in zip(ends, shares, strict=True)],
                "thickness": 1,
                "width": 2,
            },
        )
    figure.update_yaxes(title="accuracy (%)", range=[0, 105])
    return figure.update_layout(barmode="group", bargap=0.25)


def draw_training(stage1: pd.DataFrame, stage234: pd.DataFrame) -> go.Figure:
    """Draw every loss term by step of both trainings, one behind the other."""
    terms = [str(name) for name in stage234 if str(name).startswith("loss_")]
    titles = [f"{name.removeprefix('loss_').replace('_', ' ')}" for name in terms]
    figure = stack_panels(titles, 170 * len(terms), shared_xaxes=True, vertical_spacing=0.06)
    shift = int(stage1["step"].max()) + 1
    for row, name in enumerate(terms, start=1):
        for label, history, offset, color in (
            ("stage 1", stage1, 0, COLORS["stage1"]),
            ("stages 2 to 4", stage234, shift, COLORS["trained"]),
        ):
            values = history[name]
            smooth = values.rolling(max(1, len(history) // 40), min_periods=1).mean()
            steps = history["step"] + offset + 1
            figure.add_scatter(
                x=steps, y=values, line={"color": color, "width": 0.5}, opacity=0.35,
                showlegend=False, hoverinfo="skip", row=row, col=1,
            )  # fmt: skip
            figure.add_scatter(
                x=steps, y=smooth, name=label, legendgroup=label, showlegend=row == 1,
                line={"color": color, "width": 2}, row=row, col=1,
            )  # fmt: skip
        figure.update_yaxes(rangemode="tozero", row=row, col=1)
    figure.update_xaxes(title="optimizer steps", row=len(terms), col=1)
    return figure


def draw_anchors(metrics: dict[str, Any]) -> go.Figure:
    """Draw what decoded anchors reach of the way from no image to perfection."""
    names = list(metrics["anchors"])
    figure = style_figure(go.Figure(), 130 + 60 * len(names))
    for index, name in enumerate(names):
        key, words, is_higher_better = ANCHOR_MEASURES[name]
        values = metrics["anchors"][name]
        decoded, constant = values["decoded"][key], values["constant"][key]
        best = 1.0 if is_higher_better else 0.0
        way = (decoded - constant) / (best - constant) if best != constant else 0.0
        figure.add_bar(
            y=[f"{name}: {words}"],
            x=[100 * way],
            orientation="h",
            marker={"color": SERIES_COLORS[index % len(SERIES_COLORS)]},
            text=[f"{decoded:.3g}, without an image {constant:.3g}"],
            textposition="auto",
            showlegend=False,
        )
    figure.update_yaxes(autorange="reversed", automargin=True, showgrid=False, ticks="")
    figure.update_xaxes(title="share of the way from no image (0) to perfect (100) %")
    return figure.update_layout(margin={"l": 260})
