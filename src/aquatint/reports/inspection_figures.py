"""Figures of the inspection report: accuracies, confusions, training, calibration."""

from __future__ import annotations

from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from aquatint.reports.inspection_comparison import BASELINE_LABELS, PART_WORDS
from aquatint.reports.theme import INK, stack_panels, style_figure, whiskers

COLORS = {
    "blind": "#8C8C8C",
    "zero_shot": "#3D8BCD",
    "finetune": "#D9601A",
    "ablation": "#2E9E7B",
}
_MODE_LABELS = {"own": "own picture", "grey": "grey picture", "shuffled": "another's picture"}
_SCALE = [[0, "#EEF4FA"], [1, "#3D8BCD"]]


def draw_accuracies(comparison: dict[str, Any]) -> go.Figure:
    """Draw the accuracy of every system, blind ones first, with 95 % intervals.

    Args:
        comparison: What ``compare_inspection`` returns.
    """
    bars = [
        (BASELINE_LABELS[name], values, COLORS["blind"])
        for name, values in comparison["baselines"].items()
    ]
    bars += [
        (PART_WORDS[part], values, COLORS[part]) for part, values in comparison["headline"].items()
    ]
    bars += [
        (f"tuned, {_MODE_LABELS[mode]}", values, COLORS["blind"])
        for mode, values in comparison["image_use"].items()
        if mode != "own"
    ]
    return draw_bars(bars)


def draw_bars(bars: list[tuple[str, dict[str, Any], str]]) -> go.Figure:
    """Draw one horizontal bar for each system: label, accuracy with its interval, color."""
    figure = style_figure(go.Figure(), 70 + 44 * len(bars))
    known = [bar for bar in bars if bar[1]["accuracy"] is not None]
    values = [100 * bar[1]["accuracy"] for bar in known]
    ends = [[100 * end for end in _interval(bar[1])] for bar in known]
    figure.add_bar(
        y=[bar[0] for bar in known],
        x=values,
        orientation="h",
        marker={"color": [bar[2] for bar in known]},
        error_x=whiskers(values, ends, width=4),
        customdata=[[*end, bar[1]["n"]] for end, bar in zip(ends, known, strict=True)],
        hovertemplate="%{x:.1f} % (%{customdata[0]:.1f} to %{customdata[1]:.1f}), "
        "n = %{customdata[2]}<extra></extra>",
        showlegend=False,
    )
    figure.add_scatter(
        y=[bar[0] for bar in known],
        x=[end[1] for end in ends],
        text=[f"  {value:.1f}" for value in values],
        mode="text",
        textposition="middle right",
        cliponaxis=False,
        hoverinfo="skip",
        showlegend=False,
    )
    figure.update_yaxes(autorange="reversed", showgrid=False, ticks="", automargin=True)
    figure.update_xaxes(range=[0, 108], title="accuracy (%)", tickvals=[0, 25, 50, 75, 100])
    return figure.update_layout(margin={"l": 170, "t": 12})


def _interval(values: dict[str, Any]) -> list[float]:
    found = values.get("accuracy_interval_by_photo") or values["accuracy_interval"]
    return found or [values["accuracy"]] * 2


def draw_confusions(metrics: dict[str, dict[str, Any]]) -> go.Figure:
    """Draw which class was taken for which, by the untouched and by the tuned model.

    Args:
        metrics: Metrics of both.
    """
    figure = make_subplots(
        rows=2, cols=1, subplot_titles=[PART_WORDS[part] for part in metrics], vertical_spacing=0.2
    )
    style_figure(figure, 1040)
    for row, values in enumerate(metrics.values(), start=1):
        found = values["confusion"]["class"]
        totals = [sum(line) for line in found["confusion"]]
        shares = [
            [100 * count / total if total else None for count in line]
            for line, total in zip(found["confusion"], totals, strict=True)
        ]
        figure.add_heatmap(
            z=shares,
            x=found["columns"],
            y=[f"{n} ({t})" for n, t in zip(found["class_names"], totals, strict=True)],
            text=found["confusion"],
            texttemplate="%{text}",
            zmin=0,
            zmax=100,
            colorscale=_SCALE,
            showscale=False,
            xgap=2,
            ygap=2,
            hovertemplate="target %{y}, predicted %{x}: %{text}, %{z:.0f} %<extra></extra>",
            row=row,
            col=1,
        )
    figure.update_yaxes(autorange="reversed", showgrid=False, ticks="", automargin=True)
    figure.update_xaxes(showline=False, tickangle=-35, ticks="")
    return figure.update_layout(margin={"l": 180, "b": 110})


def draw_training(history: pd.DataFrame) -> go.Figure:
    """Draw the loss by step and the validation scores by epoch.

    Args:
        history: One row a step.
    """
    titles = ["loss of an answer (nats a token)", "validation (%)"]
    figure = stack_panels(titles, 460, shared_xaxes=True, vertical_spacing=0.1)
    color = COLORS["finetune"]
    steps = history["step"] + 1
    figure.add_scatter(x=steps, y=history["loss_answer"], line={"color": color, "width": 0.6},
                       opacity=0.4, showlegend=False, row=1, col=1)  # fmt: skip
    window = max(1, len(history) // 30)
    smooth = history["loss_answer"].rolling(window, min_periods=1).mean()
    figure.add_scatter(x=steps, y=smooth, line={"color": color, "width": 2.2}, showlegend=False,
                       row=1, col=1)  # fmt: skip
    scored = history[history["val_accuracy"].notna()]
    for column, name, dash in (
        ("val_accuracy", "accuracy", "solid"),
        ("val_macro_f1", "macro-F1", "dot"),
    ):
        figure.add_scatter(
            x=scored["step"] + 1,
            y=100 * scored[column],
            name=name,
            mode="lines+markers",
            line={"color": color, "dash": dash},
            row=2,
            col=1,
        )
    figure.update_yaxes(rangemode="tozero", row=1, col=1)
    figure.update_xaxes(title="optimizer steps", row=2, col=1)
    return figure.update_layout(legend={"y": -0.2})


def draw_calibration(metrics: dict[str, dict[str, Any]]) -> go.Figure:
    """Draw how often answers were right by how sure the model was.

    Args:
        metrics: Metrics of the untouched and the tuned model.
    """
    figure = style_figure(go.Figure(), 400)
    figure.add_scatter(x=[0, 100], y=[0, 100], mode="lines", showlegend=False, hoverinfo="skip",
                       line={"color": INK, "dash": "dot", "width": 1})  # fmt: skip
    for part, values in metrics.items():
        bins = (values["calibration"] or {"bins": []})["bins"]
        figure.add_scatter(
            x=[100 * item["confidence"] for item in bins],
            y=[100 * item["accuracy"] for item in bins],
            mode="lines+markers",
            name=PART_WORDS[part],
            line={"color": COLORS[part]},
            marker={"size": [5 + item["n"] ** 0.5 for item in bins]},
            customdata=[item["n"] for item in bins],
            hovertemplate="sure %{x:.0f} %, right %{y:.0f} %, n = %{customdata}<extra></extra>",
        )
    figure.update_xaxes(title="probability of the chosen answer (%)", range=[0, 103])
    figure.update_yaxes(title="right (%)", range=[0, 105])
    return figure.update_layout(legend={"y": -0.22})
