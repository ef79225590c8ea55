"""Pixel goals of whole trajectory sets: tables, their summary, and files to train on elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from aquatint.data.pixel_goals import NO_GOAL, GoalRule, label_pixel_goals
from aquatint.data.tables import check_table
from aquatint.data.trajectories import FORWARD, STOP, poses_of, read_depth, table_path
from aquatint.data.trajectory_names import TrajectorySet
from aquatint.geometry.poses import intrinsic_matrix

GOAL_DTYPES = {
    "flight_id": "str",
    "frame": "int64",
    "goal_row": "int64",
    "goal_column": "int64",
    "goal_offset": "int64",
    "num_hidden": "int64",
    "num_unmeasured": "int64",
}


@dataclass(frozen=True)
class DepthCamera:
    """How a set's depth images are to be read.

    Attributes:
        horizontal_fov_deg: Angle of view over the full width of the look-down images.
        units_per_m: Numbers for one metre; 1000 for millimetres.
    """

    horizontal_fov_deg: float
    units_per_m: float


def label_frames(
    root: Path, frames: pd.DataFrame, camera: DepthCamera, rule: GoalRule
) -> pd.DataFrame:
    """Find the pixel goal of every frame.

    Args:
        root: Folder that paths of frames are relative to.
        frames: Table of ``read_trajectories``.
        camera: How depth images are read.
        rule: What counts as visible.

    Returns:
        One row for each frame, ``GOAL_DTYPES``: row and column of the goal in pixels of the
        look-down image, counted from 0, and frames up to it; -1 without one.

    Raises:
        ValueError: If depth cannot be read, or its size differs within a flight.
    """
    parts = [
        _label_flight(root, str(flight_id), rows, camera, rule)
        for flight_id, rows in frames.groupby("flight_id", sort=False)
    ]
    columns = list(GOAL_DTYPES)
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)
    return table.astype(GOAL_DTYPES)


def _label_flight(
    root: Path, flight_id: str, rows: pd.DataFrame, camera: DepthCamera, rule: GoalRule
) -> pd.DataFrame:
    paths = [root / path for path in rows["depth_path"]]
    try:
        height, width = read_depth(paths[0], camera.units_per_m).shape
        found = label_pixel_goals(
            poses_of(rows),
            lambda frame: read_depth(paths[frame], camera.units_per_m),
            intrinsic_matrix(width, height, camera.horizontal_fov_deg),
            rule,
        )
    except ValueError as error:
        raise ValueError(f"{flight_id}: {error}") from error
    return pd.DataFrame(
        {
            "flight_id": flight_id,
            "frame": rows["frame"].to_numpy(),
            "goal_row": found.rows,
            "goal_column": found.columns,
            "goal_offset": found.offsets,
            "num_hidden": found.hidden,
            "num_unmeasured": found.unmeasured,
        }
    )


def check_goals(table: pd.DataFrame) -> None:
    """Check a table of pixel goals.

    Raises:
        ValueError: If a column, a key, or a goal that is none in part breaks its rule.
    """
    check_table("goals", table, GOAL_DTYPES, ["flight_id", "frame"], is_empty_allowed=False)
    is_none = (table[["goal_row", "goal_column", "goal_offset"]] == NO_GOAL).to_numpy()
    is_whole = is_none.all(1) | ~is_none.any(1)
    if not is_whole.all():
        first = table[~is_whole].iloc[0].to_dict()
        raise ValueError(f"a goal has row, column and offset, or none of them; got {first}.")


def summarise_goals(
    flights: pd.DataFrame, frames: pd.DataFrame, goals: pd.DataFrame, num_rejects: int
) -> dict[str, Any]:
    """Count what the labels hold.

    Args:
        flights: Flights that were read.
        frames: Their frames.
        goals: Their pixel goals.
        num_rejects: Findings of the reading.

    Returns:
        Counts of flights, frames and goals; kinds of samples that training would draw; quantiles
        of offsets; how many later positions were hidden by something.
    """
    joined = frames.merge(goals, on=["flight_id", "frame"], validate="1:1")
    has_goal = joined["goal_offset"] != NO_GOAL
    is_stop = joined["action"] == STOP
    is_turn = ~has_goal & ~is_stop & (joined["action"] != FORWARD)
    offsets = joined.loc[has_goal, "goal_offset"]
    quantiles = (0.05, 0.25, 0.5, 0.75, 0.95)
    return {
        "n": {
            "flights": len(flights),
            "scenes": int(flights["scene"].nunique()),
            "instructions": int(flights["num_instructions"].sum()),
            "frames": len(frames),
            "findings": num_rejects,
        },
        "kinds": {
            "pixel_goal": int(has_goal.sum()),
            "turn": int(is_turn.sum()),
            "stop": int((~has_goal & is_stop).sum()),
            "forward_without_goal": int((~has_goal & ~is_turn & ~is_stop).sum()),
        },
        "offset_quantiles": {
            f"{q:g}": float(offsets.quantile(q)) if len(offsets) else None for q in quantiles
        },
        "frames_with_something_hidden": int((joined["num_hidden"] > 0).sum()),
        "hidden_positions": int(joined["num_hidden"].sum()),
        "unmeasured_positions": int(joined["num_unmeasured"].sum()),
    }


@dataclass(frozen=True)
class LabelledTrajectories:
    """The Parquet files of a set with the columns of its goals, to be written to a folder.

    Attributes:
        root: Folder of the sets.
        chosen: The set and its cameras.
        goals: Table of ``label_frames``.
    """

    root: str
    chosen: TrajectorySet
    goals: pd.DataFrame

    def write(self, folder: Path) -> None:
        """Write ``<set>/<scene>/data/chunk-*/episode_*.parquet`` below a folder.

        All columns stay; ``goal.<height>cm_<pitch>deg`` (row, column) and
        ``relative_goal_frame_id.<height>cm_<pitch>deg`` are added, or replaced where they exist.
        """
        for flight_id, rows in self.goals.groupby("flight_id", sort=False):
            name, scene, index = str(flight_id).split("/")
            path = table_path(Path(self.root) / name / scene, int(index))
            target = folder / path.relative_to(self.root)
            target.parent.mkdir(parents=True, exist_ok=True)
            table = pq.read_table(path)
            for column, values in self._columns(rows):
                if column in table.column_names:
                    table = table.drop_columns([column])
                table = table.append_column(column, values)
            pq.write_table(table, target)

    def _columns(self, rows: pd.DataFrame) -> Iterator[tuple[str, pa.Array]]:
        view = self.chosen.look_down_view
        places = rows[["goal_row", "goal_column"]].to_numpy(np.int64).tolist()
        yield f"goal.{view}", pa.array(places, pa.list_(pa.int64()))
        offsets = rows["goal_offset"].to_numpy(np.int64)
        yield f"relative_goal_frame_id.{view}", pa.array(offsets, pa.int64())
