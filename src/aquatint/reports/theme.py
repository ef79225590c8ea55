"""The look that all figures share: quiet axes, no background, room for direct labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

# Readable on white and on near-black; pages replace it by their own ink.
INK = "#7A828E"
FAINT = "rgba(128, 136, 148, 0.25)"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def stack_panels(titles: Sequence[str], height: int, **options: Any) -> go.Figure:  # noqa: ANN401
    """Return a figure with one panel below the other, each with a title at its left edge.

    Args:
        titles: Title of each panel, top first.
        height: Height in pixels.
        **options: Further arguments of ``plotly.subplots.make_subplots``.
    """
    figure = make_subplots(rows=len(titles), cols=1, subplot_titles=list(titles), **options)
    figure.update_annotations(x=0, xanchor="left", font={"size": 13})
    return style_figure(figure, height)


def style_figure(figure: go.Figure, height: int) -> go.Figure:
    """Give a figure the shared look, in place, and return it.

    Args:
        figure: Figure.
        height: Height in pixels.
    """
    figure.update_layout(
        template="none",
        height=height,
        autosize=True,
        font={"family": FONT, "size": 12, "color": INK},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        margin={"l": 56, "r": 24, "t": 36, "b": 48},
        legend={"orientation": "h", "y": -0.12, "yanchor": "top", "x": 0},
        hoverlabel={"font": {"family": FONT}},
        bargap=0.2,
    )
    quiet = {"gridcolor": FAINT, "zeroline": False, "linecolor": FAINT, "automargin": True}
    figure.update_xaxes(**quiet, showgrid=False, showline=True)
    figure.update_yaxes(**quiet)
    return figure


def whiskers(
    values: Sequence[float], ends: Sequence[Sequence[float]], width: int
) -> dict[str, Any]:
    """Return plotly's error bars from values to the ends of their intervals.

    Args:
        values: Height or length of each bar.
        ends: Lower and upper end of each interval.
        width: Half width of a whisker's cap, in pixels.
    """
    return {
        "array": [end[1] - value for end, value in zip(ends, values, strict=True)],
        "arrayminus": [value - end[0] for end, value in zip(ends, values, strict=True)],
        "color": INK,
        "thickness": 1.4,
        "width": width,
    }


def spread_labels(positions: Sequence[float], gap: float) -> list[float]:
    """Return positions moved apart so that no two are closer than ``gap``; order is kept.

    Args:
        positions: Where labels want to be.
        gap: Smallest distance between two of them.
    """
    order = sorted(range(len(positions)), key=lambda index: positions[index])
    blocks: list[list[int]] = []
    for index in order:
        blocks.append([index])
        # Labels that touch move as one block around the middle of where they want to be.
        while len(blocks) > 1 and _bottom(blocks[-1], positions, gap) < _top(
            blocks[-2], positions, gap
        ):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    spread = list(positions)
    for block in blocks:
        start = _bottom(block, positions, gap) + gap / 2
        for place, index in enumerate(block):
            spread[index] = start + place * gap
    return spread


def _middle(block: list[int], positions: Sequence[float]) -> float:
    return sum(positions[index] for index in block) / len(block)


def _bottom(block: list[int], positions: Sequence[float], gap: float) -> float:
    return _middle(block, positions) - len(block) * gap / 2


def _top(block: list[int], positions: Sequence[float], gap: float) -> float:
    return _middle(block, positions) + len(block) * gap / 2
