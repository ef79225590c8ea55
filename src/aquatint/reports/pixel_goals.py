"""Frames with the way ahead and its pixel goal, so that a person can judge the labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from PIL import Image

from aquatint.data.pixel_goals import NO_GOAL
from aquatint.data.trajectories import poses_of
from aquatint.data.trajectory_names import TrajectorySet
from aquatint.geometry.poses import intrinsic_matrix, project_points
from aquatint.reports.blocks import Block, Cell, Chart, Gallery, Row, Section, Table, Text, Tiles
from aquatint.reports.inspection_gallery import as_uri
from aquatint.reports.markup import TEMPLATES
from aquatint.reports.page import render_page
from aquatint.reports.theme import style_figure
from aquatint.reports.wording import format_count, format_percent

_SHOWN_PX = 256
_GOAL_COLOR = "#D9601A"
_KIND_WORDS = {
    "pixel_goal": "with a pixel goal",
    "turn": "without one, turning",
    "stop": "without one, stopping",
    "forward_without_goal": "without one, flying on (no sample)",
}


@dataclass(frozen=True, eq=False)
class GoalView:
    """Labelled flights and how their look-down images were taken.

    Attributes:
        root: Folder that paths of frames are relative to.
        horizontal_fov_deg: Angle of view over the full width.
        chosen: The set.
        flights: Flights.
        frames: Their frames.
        goals: Their pixel goals.
    """

    root: Path
    horizontal_fov_deg: float
    chosen: TrajectorySet
    flights: pd.DataFrame
    frames: pd.DataFrame
    goals: pd.DataFrame


def render_goal_report(view: GoalView, counts: dict[str, Any], num_samples: int, seed: int) -> str:
    """Return counts and frames with their goals as one HTML page.

    Args:
        view: Flights, labels and images.
        counts: What ``summarise_goals`` returns.
        num_samples: Frames that are shown.
        seed: Decides which.
    """
    shown = list(_samples(view, num_samples, seed))
    html = TEMPLATES.get_template("goals.html").render(items=shown, size=_SHOWN_PX)
    sections = [
        Section("result", "Labels", _result_blocks(view.goals, counts)),
        Section("frames", "Frames", [Gallery(" ".join(html.split()))]),
    ]
    lead = f"The set {view.chosen.token}; look-down images of {view.chosen.look_down_view}."
    return render_page("pixel goals: where the way can last be seen", lead, sections)


def _result_blocks(goals: pd.DataFrame, counts: dict[str, Any]) -> list[Block]:
    kinds = counts["kinds"]
    n, total = counts["n"], counts["n"]["frames"]
    share = kinds["pixel_goal"] / total if total else None
    tiles = [
        ("flights", format_count(n["flights"]), f"{n['scenes']} scenes", "#8C8C8C"),
        ("frames", format_count(total), f"{n['findings']} findings", "#8C8C8C"),
        ("with a pixel goal", format_percent(share), f"n = {format_count(total)}", _GOAL_COLOR),
    ]
    rows = [Row(_KIND_WORDS[name], [Cell(format_count(count))]) for name, count in kinds.items()]
    return [
        Tiles(tiles),
        Text(
            "A frame's goal is the latest later position of the agent that its look-down image "
            f"shows: inside the image, and not hidden by anything that its depth measured. "
            f"{format_count(counts['hidden_positions'])} later positions inside an image were "
            f"hidden, in {format_count(counts['frames_with_something_hidden'])} frames; at "
            f"{format_count(counts['unmeasured_positions'])} no depth was measured."
        ),
        Table(["frames", "n"], rows),
        Chart("offsets", _draw_offsets(goals), "How many frames ahead the goals lie."),
    ]


def _samples(view: GoalView, num: int, seed: int) -> Iterator[dict[str, Any]]:
    """Frames that nobody picked, three of four with a goal, as far as there are."""
    joined = view.frames.merge(view.goals, on=["flight_id", "frame"], validate="1:1")
    words = view.flights.set_index("flight_id")["instructions"]
    rng = np.random.default_rng([seed, 83])
    has_goal = (joined["goal_offset"] != NO_GOAL).to_numpy()
    chosen: list[int] = []
    for positions, count in ((np.nonzero(has_goal)[0], num - num // 4),
                             (np.nonzero(~has_goal)[0], num // 4)):  # fmt: skip
        chosen += rng.permutation(positions)[:count].tolist()
    by_flight = {str(key): rows for key, rows in joined.groupby("flight_id", sort=False)}
    for position in chosen:
        row = joined.iloc[position]
        flight = by_flight[row["flight_id"]]
        way = _way_ahead(view, flight, int(row["frame"]))
        with Image.open(view.root / row["look_down_path"], formats=("JPEG", "PNG")) as image:
            picture = image.convert("RGB")
        scale = _SHOWN_PX / picture.width
        goal = (row["goal_column"] + 0.5) * scale, (row["goal_row"] + 0.5) * scale
        yield {
            "uri": as_uri(picture.resize((_SHOWN_PX, round(picture.height * scale)))),
            "height": round(picture.height * scale),
            "way": [(f"{x * scale:.1f}", f"{y * scale:.1f}") for x, y in way],
            "goal": [f"{value:.1f}" for value in goal] if row["goal_offset"] >= 0 else None,
            "offset": int(row["goal_offset"]),
            "action": ("stop", "forward", "left", "right", "", "look down")[int(row["action"])],
            "name": f"{row['flight_id']}, frame {row['frame']}",
            "instruction": words[row["flight_id"]][0],
        }


def _way_ahead(view: GoalView, flight: pd.DataFrame, frame: int) -> list[tuple[float, float]]:
    """Later positions on the ground that fall into an image, hidden or not, in pixels."""
    poses = poses_of(flight)
    with Image.open(view.root / flight["look_down_path"].iloc[frame]) as image:
        width, height = image.size
    intrinsics = intrinsic_matrix(width, height, view.horizontal_fov_deg)
    floor = poses[frame + 1 :, :3, 3] - (0.0, 0.0, view.chosen.height_cm / 100)
    seen = project_points(floor, poses[frame], intrinsics) if len(floor) else np.zeros((0, 3))
    is_inside = (
        (seen[:, 2] > 0) & (seen[:, :2] >= 0).all(1) & (seen[:, :2] < (width, height)).all(1)
    )
    return [(float(x), float(y)) for x, y in seen[is_inside, :2]]


def _draw_offsets(goals: pd.DataFrame) -> go.Figure:
    counts = goals.loc[goals["goal_offset"] != NO_GOAL, "goal_offset"].value_counts().sort_index()
    figure = style_figure(go.Figure(), 280)
    figure.add_bar(
        x=counts.index.tolist(),
        y=counts.tolist(),
        marker={"color": _GOAL_COLOR},
        hovertemplate="%{x} frames ahead: %{y} goals<extra></extra>",
    )
    figure.update_xaxes(title="frames from image to goal")
    figure.update_yaxes(title="goals")
    return figure.update_layout(showlegend=False, margin={"t": 12})
