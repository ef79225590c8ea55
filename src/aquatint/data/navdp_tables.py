"""Tables of NavDP's paths: their columns, their checks, and what they hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from aquatint.data.tables import SPLITS, check_table

PATH_DTYPES = {
    "path_id": "str",
    "scene_id": "str",
    "split": "str",
    "num_frames": "int64",
    "length_m": "float64",
    "camera_height_m": "float64",
    "focal_x_px": "float64",
    "focal_y_px": "float64",
    "center_x_px": "float64",
    "center_y_px": "float64",
    "width_px": "int64",
    "height_px": "int64",
    "pitch_down_rad": "float64",
}
FRAME_DTYPES = {
    "path_id": "str",
    "frame": "int64",
    "x_m": "float64",
    "y_m": "float64",
    "heading_rad": "float64",
    "rgb_path": "str",
    "depth_path": "str",
    "rgb_sha256": "str",
    "depth_sha256": "str",
}
OBSTACLE_DTYPES = {"scene_id": "str", "x_m": "float64", "y_m": "float64"}


@dataclass(frozen=True, eq=False)
class PathRecords:
    """Paths as tables.

    Attributes:
        paths: One row for each path, ``PATH_DTYPES``.
        frames: One row for each frame, ``FRAME_DTYPES``; files relative to the root.
        obstacles: Obstacles over the ground, ``OBSTACLE_DTYPES``.
        rejects: Findings.
    """

    paths: pd.DataFrame
    frames: pd.DataFrame
    obstacles: pd.DataFrame
    rejects: pd.DataFrame


def check_paths(table: pd.DataFrame) -> None:
    """Check a table of paths.

    Raises:
        ValueError: If a column, an id, a split or a number of frames breaks its rule.
    """
    check_table("paths", table, PATH_DTYPES, ["path_id"], is_empty_allowed=False)
    if not table["split"].isin(SPLITS).all() or (table["num_frames"] < 1).any():
        raise ValueError(f"every path needs a split of {SPLITS} and at least one frame.")


def check_frames(table: pd.DataFrame) -> None:
    """Check a table of frames.

    Raises:
        ValueError: If a column is missing or a frame repeats.
    """
    check_table("frames", table, FRAME_DTYPES, ["path_id", "frame"], is_empty_allowed=False)


def check_obstacles(table: pd.DataFrame) -> None:
    """Check a table of obstacles.

    Raises:
        ValueError: If a column is missing or a place is not finite.
    """
    check_table("obstacles", table, OBSTACLE_DTYPES, ["scene_id", "x_m", "y_m"])
    if not np.isfinite(table[["x_m", "y_m"]].to_numpy()).all():
        raise ValueError("every obstacle needs a finite place.")


def summarise_paths(found: PathRecords) -> dict[str, Any]:
    """Count paths, scenes, frames and obstacles by split, and what was left out."""
    paths = found.paths
    split_of = paths.drop_duplicates("scene_id").set_index("scene_id")["split"]
    obstacles = found.obstacles["scene_id"].map(split_of)
    return {
        "paths": {str(k): int(v) for k, v in paths["split"].value_counts().items()},
        "scenes": {str(k): int(v) for k, v in split_of.value_counts().items()},
        "frames": {str(k): int(v) for k, v in paths.groupby("split")["num_frames"].sum().items()},
        "obstacles": {str(k): int(v) for k, v in obstacles.value_counts().items()},
        "mean_length_m": float(paths["length_m"].mean()),
        "findings": {str(k): int(v) for k, v in found.rejects["rule"].value_counts().items()},
    }
