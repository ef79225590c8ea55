"""Figures of the vision-language-action report: errors, sensor curves, training, flights."""

from __future__ import annotations

from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from aquatint.reports.theme import INK, stack_panels, style_figure
from aquatint.reports.vla_comparison import PART_WORDS, PARTS

COLORS = {
    "state_only": "#8C8C8C",
    "stage1": "#3D8BCD",
    "stage2": "#D9601A",
    "last_action": "#B8860B",
    "expert": "#2E9E7B",
    "zero": "#8C8C8C",
    "stage2, shuffled_instruction": "#C2579A",
    "stage2, sensor_zeroed": "#C2579A",
}
_UNITS = {"delta_x": "mm", "delta_y": "mm", "delta_z": "mm", "delta_a": "°", "delta_b": "°",
          "delta_r": "°"}  # fmt: skip
_AXIS_WORDS = {"delta_x": "x", "delta_y": "y", "delta_z": "z", "delta_a": "a", "delta_b": "b",
               "delta_r": "r"}  # fmt: skip


def draw_horizon(metrics: dict[str, dict[str, Any]]) -> go.Figure:
    """Draw the absolute error of each step of a chunk, in train deviations."""
    figure = style_figure(go.Figure(), 320)
    curves = {part: metrics[part]["by_step"] for part in PARTS}
    curves["last_action"] = metrics["stage2"]["baselines"]["last_action"]["by_step"]
    for name, values in curves.items():
        figure.add_scatter(
            x=list(range(1, len(values) + 1)),
            y=values,
            mode="lines+markers",
            name=PART_WORDS[name],
            line={"color": COLORS[name], "dash": "dot" if name == "last_action" else "solid"},
        )
    figure.update_xaxes(title="step of the chunk", dtick=1)
    figure.update_yaxes(title="absolute error (train deviations)", rangemode="tozero")
    return figure.update_layout(legend={"y": -0.24})


def draw_dimensions(metrics: dict[str, dict[str, Any]]) -> go.Figure:
    """Draw the absolute error of every dimension in its own unit; constant ones are left out."""
    names = [
        name
        for name, values in metrics["stage2"]["by_dimension"].items()
        if name in _UNITS and values["correlation"] is not None
    ]
    lengths = [name for name in names if _UNITS[name] == "mm"]
    angles = [name for name in names if _UNITS[name] != "mm"]
    figure = make_subplots(
        rows=1,
        cols=2,
        column_widths=[max(1, len(lengths)), max(1, len(angles))],
        subplot_titles=["millimetres a step", "degrees a step"],
    )
    for part in PARTS:
        for column, chosen in ((1, lengths), (2, angles)):
            figure.add_bar(
                x=[_AXIS_WORDS[name] for name in chosen],
                y=[metrics[part]["by_dimension"][name]["mae"] for name in chosen],
                name=PART_WORDS[part],
                marker={"color": COLORS[part]},
                legendgroup=part,
                showlegend=column == 1,
                row=1,
                col=column,
            )
    style_figure(figure, 320)
    figure.update_yaxes(rangemode="tozero")
    return figure.update_layout(legend={"y": -0.16}, bargap=0.3)


def draw_sensor(histories: dict[str, pd.DataFrame]) -> go.Figure:
    """Draw the validation loss of steps with and without the sensor, epoch by epoch."""
    figure = stack_panels(["stage 1", "stage 2"], 430, vertical_spacing=0.16)
    words = {"sensor": ("with the sensor", "#2E9E7B"), "no_sensor": ("without it", "#8C8C8C")}
    for row, part in enumerate(("stage1", "stage2"), start=1):
        history = histories[part]
        epochs = history[history["val_loss"].notna()]
        for kind, (label, color) in words.items():
            if f"val_loss_{kind}" in epochs:
                figure.add_scatter(
                    x=epochs["epoch"] + 1,
                    y=epochs[f"val_loss_{kind}"],
                    mode="lines+markers",
                    name=label,
                    line={"color": color},
                    legendgroup=kind,
                    showlegend=row == 1,
                    row=row,
                    col=1,
                )
    figure.update_yaxes(title="loss", rangemode="tozero")
    figure.update_xaxes(title="epoch", row=2, col=1)
    return figure.update_layout(legend={"y": -0.16})


def draw_training(histories: dict[str, pd.DataFrame]) -> go.Figure:
    """Draw training and validation loss of every stage by step."""
    figure = stack_panels([PART_WORDS[part] for part in PARTS], 560, vertical_spacing=0.1)
    for row, part in enumerate(PARTS, start=1):
        history = histories[part]
        window = max(1, len(history) // 20)
        smooth = history["loss_action"].rolling(window, center=True, min_periods=1).mean()
        judged = history[history["val_loss"].notna()]
        common: dict[str, Any] = {"row": row, "col": 1, "showlegend": row == len(PARTS)}
        figure.add_scatter(
            x=history["step"] + 1, y=history["loss_action"], mode="lines", opacity=0.3,
            line={"color": COLORS[part], "width": 1}, hoverinfo="skip",
            **{**common, "showlegend": False},
        )  # fmt: skip
        figure.add_scatter(
            x=history["step"] + 1, y=smooth, mode="lines", name="training, running mean",
            line={"color": COLORS[part], "width": 2}, **common,
        )  # fmt: skip
        figure.add_scatter(
            x=judged["step"] + 1, y=judged["val_loss"], mode="markers", name="validation",
            marker={"color": INK, "size": 6, "symbol": "diamond-open"}, **common,
        )  # fmt: skip
    figure.update_yaxes(rangemode="tozero")
    figure.update_xaxes(title="optimizer steps", row=len(PARTS), col=1)
    return figure.update_layout(legend={"y": -0.12})


def draw_flights(flights: dict[str, Any]) -> go.Figure:
    """Draw the success rate and the final error of every policy, with 95 % intervals."""
    policies = flights["policies"]
    names = list(reversed(policies))
    figure = make_subplots(
        rows=1, cols=2, shared_yaxes=True, horizontal_spacing=0.06,
        subplot_titles=["flights that reach their goal (%)", "distance from it at the end (m)"],
    )  # fmt: skip
    columns = (
        ("success_rate", "success_interval", 100.0),
        ("final_error_m", "final_error_m_interval", 1.0),
    )
    for column, (key, interval, factor) in enumerate(columns, start=1):
        values = [factor * policies[name][key] for name in names]
        ends = [policies[name][interval] or [policies[name][key]] * 2 for name in names]
        figure.add_bar(
            x=values,
            y=[PART_WORDS[name] for name in names],
            orientation="h",
            marker={"color": [COLORS[name] for name in names]},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [factor * end[1] - v for end, v in zip(ends, values, strict=True)],
                "arrayminus": [v - factor * end[0] for end, v in zip(ends, values, strict=True)],
                "color": INK,
                "thickness": 1.2,
            },
            showlegend=False,
            row=1,
            col=column,
        )
    style_figure(figure, 90 + 34 * max(1, len(names)))
    figure.update_xaxes(rangemode="tozero")
    return figure
