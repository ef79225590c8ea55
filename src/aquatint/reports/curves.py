"""Figures of training: losses by step, and validation scores by what they cost."""

from __future__ import annotations

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from aquatint.reports.progress import COSTS, Trainings
from aquatint.reports.theme import INK, stack_panels, style_figure
from aquatint.reports.wording import LOSS_LABELS, PART_COLORS, label_part

_COST_LABELS = {
    "steps": "optimizer steps",
    "samples": "training samples seen",
    "seconds": "seconds of training",
}
_VALIDATION = "validation: mean recall (%)"
_PANEL_HEIGHT = 150


def draw_losses(trainings: Trainings) -> go.Figure:
    """Draw every unweighted loss term and the validation score by step.

    Stage 2 starts where stage 1 ends; the single stage runs beside both. Thin lines are single
    steps, thick ones their running mean.

    Args:
        trainings: Histories and lineages of stage1, stage2 and baseline.
    """
    offset = trainings.cost("stage1")["steps"]
    starts = {"stage1": 0, "stage2": offset, "baseline": 0}
    histories = {part: trainings.histories[part] for part in starts}
    terms = _loss_terms(histories)
    titles = [*(f"loss {LOSS_LABELS.get(name, name)}" for name in terms), _VALIDATION]
    figure = stack_panels(
        titles, _PANEL_HEIGHT * len(titles) + 80, shared_xaxes=True, vertical_spacing=0.05
    )
    for part, start in starts.items():
        history = histories[part]
        for row, term in enumerate(terms, start=1):
            if f"loss_{term}" in history and history[f"loss_{term}"].notna().any():
                _add_loss(figure, part, start, history, f"loss_{term}", row)
        _add_validation(figure, part, start, history, len(titles))
    figure.add_vline(x=offset, line={"dash": "dot", "color": INK, "width": 1})
    figure.update_xaxes(title="optimizer steps (dotted: stage 1 ends)", row=len(titles), col=1)
    figure.update_yaxes(rangemode="tozero", row=len(titles), col=1)
    return figure.update_layout(legend={"y": -70 / figure.layout.height}, hovermode="x")


def _loss_terms(histories: dict[str, pd.DataFrame]) -> list[str]:
    names = [str(name) for table in histories.values() for name in table]
    names = [name for name in names if name.startswith("loss_")]
    return list(dict.fromkeys(name.removeprefix("loss_") for name in names))


def _add_loss(
    figure: go.Figure, part: str, start: float, history: pd.DataFrame, column: str, row: int
) -> None:
    steps = history["step"] + 1 + start
    values = history[column]
    window = max(1, len(values) // 12)
    running = values.rolling(window, center=True, min_periods=1).mean()
    name, color = label_part(part), PART_COLORS[part]
    figure.add_scatter(
        x=steps, y=values, mode="lines", line={"color": color, "width": 1}, opacity=0.3,
        name=name, legendgroup=part, showlegend=False, hoverinfo="skip", row=row, col=1,
    )  # fmt: skip
    figure.add_scatter(
        x=steps, y=running, mode="lines", line={"color": color, "width": 2.2},
        name=name, legendgroup=part, showlegend=row == 1,
        hovertemplate=f"{name}: %{{y:.3f}}<extra></extra>", row=row, col=1,
    )  # fmt: skip


def _add_validation(
    figure: go.Figure, part: str, start: float, history: pd.DataFrame, row: int
) -> None:
    validated = history.dropna(subset=["val_r_mean"])
    figure.add_scatter(
        x=validated["step"] + 1 + start, y=100 * validated["val_r_mean"], mode="lines+markers",
        line={"color": PART_COLORS[part], "width": 2.2}, name=label_part(part),
        legendgroup=part, showlegend=False,
        hovertemplate=f"{label_part(part)}: %{{y:.1f}} %<extra></extra>", row=row, col=1,
    )  # fmt: skip


def draw_progress(trainings: Trainings, target_r_mean: float) -> go.Figure:
    """Draw the validation score of two stages and of one against steps, samples or seconds.

    Args:
        trainings: Histories and lineages of stage1, stage2 and baseline.
        target_r_mean: Score that is marked, in [0, 1].
    """
    both, ends = trainings.two_stage_curve(), trainings.cost("stage1")
    num_first = len(trainings.curve("stage1"))
    # The last point of stage 1 starts the line of stage 2: it goes on from there.
    pieces = {
        "stage1": both.iloc[:num_first],
        "stage2": both.iloc[max(num_first - 1, 0) :],
        "baseline": trainings.curve("baseline"),
    }
    figure = style_figure(go.Figure(), 380)
    for part, curve in pieces.items():
        _add_curve(figure, part, curve)
    figure.add_scatter(
        x=[ends["steps"]] * 2, y=[0, 100], mode="lines+text", text=["", "stage 1 ends"],
        textposition="bottom right", textfont={"size": 11, "color": INK},
        line={"color": INK, "width": 1, "dash": "dot"}, hoverinfo="skip",
    )  # fmt: skip
    figure.add_hline(
        y=100 * target_r_mean,
        line={"dash": "dash", "color": INK, "width": 1},
        annotation={"text": f"target {100 * target_r_mean:g} %", "font": {"size": 11}},
        annotation_position="bottom right",
    )
    figure.update_yaxes(title=_VALIDATION, range=[0, 102])
    figure.update_xaxes(title=_COST_LABELS["steps"], rangemode="tozero")
    buttons = _cost_buttons([*pieces.values()], ends)
    return figure.update_layout(updatemenus=[buttons], showlegend=False, margin={"r": 90, "t": 56})


def _add_curve(figure: go.Figure, part: str, curve: pd.DataFrame) -> None:
    """One line with its name beside it: at its start for stage 1, else at its end."""
    names = [""] * len(curve)
    place = 0 if part == "stage1" else len(curve) - 1
    position = "middle right" if part == "baseline" else "bottom right"
    names[place] = label_part(part)
    figure.add_scatter(
        x=curve["steps"], y=100 * curve["r_mean"], mode="lines+markers+text", text=names,
        textposition=position, textfont={"color": PART_COLORS[part], "size": 13}, cliponaxis=False,
        line={"color": PART_COLORS[part], "width": 2.5}, name=label_part(part),
        hovertemplate="%{y:.1f} %<extra>" + label_part(part) + "</extra>",
    )  # fmt: skip


def _cost_buttons(curves: list[pd.DataFrame], ends: dict[str, float]) -> dict[str, Any]:
    """Buttons that exchange the horizontal axis."""
    return {
        "type": "buttons",
        "direction": "right",
        "x": 0,
        "xanchor": "left",
        "y": 1.02,
        "yanchor": "bottom",
        "buttons": [
            {
                "label": cost,
                "method": "update",
                "args": [
                    {"x": [*(curve[cost].tolist() for curve in curves), [ends[cost]] * 2]},
                    {"xaxis.title.text": _COST_LABELS[cost], "xaxis.autorange": True},
                ],
            }
            for cost in COSTS
        ],
    }
