"""Nodes that read trajectories, label them, count the labels and show some of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from aquatint.data.sources import TrajectoryFolder
from aquatint.pipelines.pixel_goals.params import LabellingParams, ReadingParams, ReportParams


def read_flights(
    folder: TrajectoryFolder, params: ReadingParams
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Read all flights of the set; return flights, frames and rejects."""
    from aquatint.data.trajectories import ReadRule, read_trajectories

    rule = ReadRule(
        params.mode, params.max_rejected_fraction, params.camera_axes, params.decodes_frames
    )
    return read_trajectories(Path(folder.root), chosen_set(params), rule)


def chosen_set(params: ReadingParams) -> Any:  # noqa: ANN401 - TrajectorySet
    """The set that the parameters name."""
    from aquatint.data.trajectory_names import PUBLISHED_NAMES, parse_trajectory_name

    chosen = parse_trajectory_name(params.name, (*PUBLISHED_NAMES, *params.further_names))
    if chosen.percent != 100:
        raise ValueError(
            f"{params.name!r}: a share is drawn from finished samples when a model trains; labels "
            f"are made for whole sets. Take {chosen.token}."
        )
    return chosen


def label_goals(
    folder: TrajectoryFolder, frames: pd.DataFrame, reading: ReadingParams, params: LabellingParams
) -> pd.DataFrame:
    """Find in every look-down image the farthest visible place of the way ahead."""
    from aquatint.data.goal_tables import DepthCamera, label_frames
    from aquatint.data.pixel_goals import GoalRule

    rule = GoalRule(
        params.depth_tolerance_m,
        params.min_offset,
        params.max_depth_m,
        chosen_set(reading).height_cm / 100,
        params.min_distance_m,
    )
    camera = DepthCamera(params.horizontal_fov_deg, params.depth_units_per_m)
    return label_frames(Path(folder.root), frames, camera, rule)


def export_goals(folder: TrajectoryFolder, goals: pd.DataFrame, params: ReadingParams) -> Any:  # noqa: ANN401 - light
    """Hand out the set's Parquet files with the columns of the goals."""
    from aquatint.data.goal_tables import LabelledTrajectories

    return LabelledTrajectories(folder.root, chosen_set(params), goals)


def count_goals(
    flights: pd.DataFrame, frames: pd.DataFrame, goals: pd.DataFrame, rejects: pd.DataFrame
) -> dict[str, Any]:
    """Count flights, kinds of samples, offsets and what was hidden."""
    from aquatint.data.goal_tables import summarise_goals

    return summarise_goals(flights, frames, goals, len(rejects))


def render_goals(  # noqa: PLR0913 - one argument for each catalog entry
    folder: TrajectoryFolder,
    flights: pd.DataFrame,
    frames: pd.DataFrame,
    goals: pd.DataFrame,
    counts: dict[str, Any],
    labelling: LabellingParams,
    reading: ReadingParams,
    params: ReportParams,
) -> str:
    """Show frames with the way ahead and its goal, beside the counts."""
    from aquatint.reports.pixel_goals import GoalView, render_goal_report

    view = GoalView(
        Path(folder.root), labelling.horizontal_fov_deg, chosen_set(reading), flights, frames, goals
    )
    return render_goal_report(view, counts, params.num_samples, params.seed)
