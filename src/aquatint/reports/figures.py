"""Figures of evaluation: recalls, confusions, robustness."""

from __future__ import annotations

from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from aquatint.reports.headline import DIRECTIONS, RECALL_KS
from aquatint.reports.theme import INK, spread_labels, stack_panels, style_figure, whiskers
from aquatint.reports.wording import (
    DIRECTION_LABELS,
    PART_COLORS,
    SERIES_COLORS,
    label_part,
)

_GROUP_WIDTH = 0.86
_LABEL_GAP = 5.5  # points of recall: one line of text
_NUMBER_HEIGHT = 8.0  # points of recall that a number above a bar takes
# Opaque, so that Plotly picks a readable ink for each cell on any background.
_SCALE = [[0, "#EEF4FA"], [1, "#3D8BCD"]]


def draw_recalls(metrics: dict[str, dict[str, Any]]) -> go.Figure:
    """Draw recall of each part in both directions, with 95 % intervals and chance.

    Args:
        metrics: Metrics by part.
    """
    titles = [f"{DIRECTION_LABELS[direction]}, recall (%)" for direction in DIRECTIONS]
    figure = stack_panels(titles, 560, vertical_spacing=0.12)
    for row, direction in enumerate(DIRECTIONS, start=1):
        for place, (part, values) in enumerate(metrics.items()):
            _add_recall_bars(figure, values[direction], part, (place, len(metrics)), row)
        _add_chance(figure, next(iter(metrics.values()))[direction], row)
    ticks = {"tickvals": list(range(len(RECALL_KS))), "ticktext": [f"R@{k}" for k in RECALL_KS]}
    figure.update_xaxes(**ticks, range=[-0.5, len(RECALL_KS) - 0.5], showline=False)
    figure.update_yaxes(range=[0, 105], tickvals=[0, 25, 50, 75, 100])
    return figure.update_layout(legend={"y": -0.07})


def _add_recall_bars(
    figure: go.Figure, values: dict[str, Any], part: str, place: tuple[int, int], row: int
) -> None:
    width = _GROUP_WIDTH / place[1]
    known = [
        (group, k) for group, k in enumerate(RECALL_KS) if values[f"recall_at_{k}"] is not None
    ]
    recalls = [100 * values[f"recall_at_{k}"] for _, k in known]
    ends = [[100 * end for end in values[f"recall_at_{k}_interval"]] for _, k in known]
    figure.add_bar(
        x=[group + (place[0] - (place[1] - 1) / 2) * width for group, _ in known],
        y=recalls,
        width=width * 0.92,
        marker={"color": PART_COLORS.get(part, INK)},
        error_y=whiskers(recalls, ends, width=3),
        name=label_part(part),
        legendgroup=part,
        showlegend=row == 1,
        customdata=[[*end, values["n"]] for end in ends],
        hovertemplate="%{y:.1f} % (%{customdata[0]:.1f} to %{customdata[1]:.1f}), "
        "n = %{customdata[2]}<extra>" + label_part(part) + "</extra>",
        row=row,
        col=1,
    )
    # Above the whisker: inside the bar, a small value would have no room. And above chance, where
    # its line would run through the number.
    chances = [100 * (values.get(f"chance_at_{k}") or 0) for _, k in known]
    heights = [
        chance if end[1] < chance < end[1] + _NUMBER_HEIGHT else end[1]
        for end, chance in zip(ends, chances, strict=True)
    ]
    figure.add_scatter(
        x=[group + (place[0] - (place[1] - 1) / 2) * width for group, _ in known],
        y=heights,
        text=[f"{recall:.0f}" for recall in recalls],
        mode="text",
        textposition="top center",
        cliponaxis=False,
        showlegend=False,
        legendgroup=part,
        hoverinfo="skip",
        row=row,
        col=1,
    )


def _add_chance(figure: go.Figure, values: dict[str, Any], row: int) -> None:
    x: list[float | None] = []
    y: list[float | None] = []
    for group, k in enumerate(RECALL_KS):
        chance = values.get(f"chance_at_{k}")
        if chance is not None:
            x += [group - 0.47, group + 0.47, None]
            y += [100 * chance, 100 * chance, None]
    figure.add_scatter(
        x=x,
        y=y,
        mode="lines",
        line={"color": INK, "width": 2, "dash": "dot"},
        name="chance",
        legendgroup="chance",
        showlegend=row == 1,
        hovertemplate="%{y:.1f} %<extra>chance</extra>",
        row=row,
        col=1,
    )


def draw_confusion(spatial: dict[str, Any]) -> go.Figure:
    """Draw how often each relation was taken for each: all nine, and both axes alone.

    Args:
        spatial: Metrics of relations, with ``horizontal`` and ``vertical``.
    """
    figure = make_subplots(
        rows=2,
        cols=2,
        specs=[[{"colspan": 2}, None], [{}, {}]],
        row_heights=[0.68, 0.32],
        vertical_spacing=0.16,
        horizontal_spacing=0.2,
        subplot_titles=["both axes", "horizontal", "vertical"],
    )
    style_figure(figure, 760)
    places = ((spatial, 1, 1), (spatial["horizontal"], 2, 1), (spatial["vertical"], 2, 2))
    for values, row, column in places:
        _add_confusion(figure, values, row, column)
    figure.update_yaxes(autorange="reversed", showgrid=False, ticks="")
    figure.update_xaxes(showline=False, tickangle=0, ticks="")
    figure.update_xaxes(tickangle=-35, row=1, col=1)
    figure.update_annotations(font={"size": 13})
    return figure.update_layout(margin={"l": 96})


def _add_confusion(figure: go.Figure, values: dict[str, Any], row: int, column: int) -> None:
    counts = values["confusion"]
    totals = [sum(line) for line in counts]
    # An empty row has no shares; left out, it stays blank instead of reading as zero.
    shares = [
        [100 * count / total if total else None for count in line]
        for line, total in zip(counts, totals, strict=True)
    ]
    names = values["class_names"]
    figure.add_heatmap(
        z=shares,
        x=names,
        y=names,
        zmin=0,
        zmax=100,
        colorscale=_SCALE,
        showscale=False,
        xgap=2,
        ygap=2,
        text=counts,
        texttemplate="%{text}",
        textfont={"size": 11},
        hovertemplate="target %{y}, predicted %{x}: %{text} pairs, %{z:.1f} % of the target"
        "<extra></extra>",
        row=row,
        col=column,
    )


def draw_robustness(robustness: pd.DataFrame, chance: float | None) -> go.Figure:
    """Draw text-to-image R@10 by severity, one line for each corruption.

    Args:
        robustness: corruption, severity (0 for clean), recall_at_10 with its low and high end, n.
        chance: R@10 of a random order; None where it is not known.
    """
    figure = style_figure(go.Figure(), 420)
    clean = robustness[robustness["severity"] == 0]
    ends = []
    kinds = [kind for kind in robustness["corruption"].unique() if kind != "clean"]
    for index, kind in enumerate(kinds):
        rows = pd.concat([clean, robustness[robustness["corruption"] == kind]])
        rows = rows.sort_values("severity")
        color = SERIES_COLORS[index % len(SERIES_COLORS)]
        _add_robustness_line(figure, rows, kind, color)
        ends.append((kind, color, rows.iloc[-1]))
    if ends:
        _label_ends(figure, ends)
    if chance is not None:
        figure.add_hline(
            y=100 * chance,
            line={"dash": "dot", "color": INK, "width": 1.5},
            annotation={"text": "chance", "font": {"size": 11}},
            annotation_position="bottom left",
        )
    severities = sorted(robustness["severity"].unique().tolist())
    ticks = ["clean" if severity == 0 else str(severity) for severity in severities]
    figure.update_xaxes(title="severity", tickvals=severities, ticktext=ticks)
    figure.update_yaxes(title="text → image R@10 (%)", range=[0, 102])
    return figure.update_layout(showlegend=False, margin={"r": 110})


def _add_robustness_line(figure: go.Figure, rows: pd.DataFrame, kind: str, color: str) -> None:
    recall = rows["recall_at_10"]
    figure.add_scatter(
        x=rows["severity"],
        y=100 * recall,
        mode="lines+markers",
        line={"color": color, "width": 2.2},
        error_y={
            "array": 100 * (rows["recall_at_10_high"] - recall),
            "arrayminus": 100 * (recall - rows["recall_at_10_low"]),
            "color": color,
            "thickness": 1,
            "width": 3,
        },
        name=kind.replace("_", " "),
        customdata=rows[["n"]],
        hovertemplate="%{y:.1f} %, n = %{customdata[0]}<extra>" + kind + "</extra>",
    )


def _label_ends(figure: go.Figure, ends: list[tuple[str, str, pd.Series]]) -> None:
    """Name each line at its end instead of in a legend."""
    heights = [100 * float(row["recall_at_10"]) for _, _, row in ends]
    for (kind, color, row), height in zip(ends, spread_labels(heights, _LABEL_GAP), strict=True):
        figure.add_annotation(
            x=row["severity"],
            y=height,
            text=kind.replace("_", " "),
            font={"color": color, "size": 12},
            xanchor="left",
            xshift=10,
            showarrow=False,
        )
