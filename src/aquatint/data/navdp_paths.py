"""Reads paths in the layout that NavDP's data are published in.

``<root>/<group>/<scene>/``: a Parquet file with poses for each episode, numbered pictures and 16-bit
depths, a cloud of points in which obstacles are painted, and which images belong to which episode.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray

from aquatint.data.image_files import inspect_image
from aquatint.data.json_lines import read_json_lines
from aquatint.data.navdp_index import read_index
from aquatint.data.point_cloud import read_ply
from aquatint.data.rejects import ReadMode, RejectLog, RuleViolation
from aquatint.data.tables import SPLITS, check_table
from aquatint.data.trajectories import read_depth
from aquatint.geometry.poses import CameraAxes, is_pose, planar_poses, to_opencv_axes

RULE_TABLE = "must be a Parquet file with at least one row"
RULE_POSES = "must be finite poses: rotations with a place"
RULE_CAMERA = "must be one finite camera matrix of shape (3, 3) with positive focal lengths"
RULE_IMAGES = "must have one picture and one depth for each row"
RULE_BOUNDS = "must have stats.image_index with one min and one max"
RULE_DEPTH = "must be a 16-bit PNG with depth in range somewhere"
RULE_OBSTACLES = "must have obstacles: points painted near (0, 0, 0.5)"
_POSES, _CAMERA, _MOUNT = "action", "observation.camera_intrinsic", "observation.camera_extrinsic"
_MAX_PIXELS = 4_000_000
_NUMBER = re.compile(r"\d+")

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


@dataclass(frozen=True)
class PathReadRule:
    """How paths are judged.

    Attributes:
        mode: ``strict`` stops at the first finding, ``tolerant`` leaves the path or scene out.
        max_rejected_fraction: Largest accepted share of paths with a finding.
        camera_axes: Axes of the cameras that poses and mounts are given for.
        depth_units_per_m: Numbers for one metre in depth images.
        min_depth_m: Nearer depth was not measured.
        max_depth_m: Nor was what is farther.
        obstacle_voxel_m: Obstacles in one cell of this edge are one.
        accepts_open_scenes: Whether a scene may be without obstacles.
        val_fraction: Share of the scenes for validation.
        test_fraction: Share of the scenes for the test.
        test_groups: Groups whose scenes are all for the test.
        seed: Decides which scenes.
    """

    mode: ReadMode
    max_rejected_fraction: float
    camera_axes: CameraAxes
    depth_units_per_m: float
    min_depth_m: float
    max_depth_m: float
    obstacle_voxel_m: float
    accepts_open_scenes: bool
    val_fraction: float
    test_fraction: float
    test_groups: tuple[str, ...]
    seed: int

    def split_of(self, scene_id: str) -> str:
        """Return a scene's split: a function of its name and the seed alone."""
        if scene_id.partition("/")[0] in self.test_groups:
            return "test"
        digest = hashlib.sha256(f"{self.seed} {scene_id}".encode()).digest()
        share = int.from_bytes(digest[:8], "big") / 2**64
        if share < self.test_fraction:
            return "test"
        return "val" if share < self.test_fraction + self.val_fraction else "train"


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


def read_paths(root: Path, rule: PathReadRule, index_file: Path | None = None) -> PathRecords:
    """Read all groups.

    Args:
        root: Folder of the groups.
        rule: How paths are judged.
        index_file: Index of paths; only what it lists is read then.

    Raises:
        FileNotFoundError: If there are no scenes, or a scene's list is missing.
        ValueError: In strict mode at the first finding; above the limit of findings; if nothing is
            left of a split.
    """
    root = root.resolve()
    listed = read_index(index_file, root) if index_file else None
    log = RejectLog(root, rule.mode)
    paths, frames, obstacles = [], [], []
    number = 0
    for scene in _scenes_of(root):
        scene_id = scene.relative_to(root).as_posix()
        points: NDArray[Any] | RuleViolation
        try:
            points = _read_obstacles(scene / "meta" / "pointcloud.ply", rule)
        except RuleViolation as fault:
            points = fault
        images = _images_of(scene, root)
        kept = 0
        for stats in read_json_lines(scene / "meta/episodes_stats.jsonl", "episode_index"):
            path_id = f"{scene_id}/{stats['episode_index']:06d}"
            if listed is not None and path_id not in listed:
                continue
            try:
                if isinstance(points, RuleViolation):
                    raise points
                row, table = _read_path(root, scene, path_id, stats, images, rule)
            except RuleViolation as fault:
                log.add(number, path_id, "path", fault)
            else:
                paths.append({**row, "scene_id": scene_id, "split": rule.split_of(scene_id)})
                frames.append(table)
                kept += 1
            number += 1
        if kept and not isinstance(points, RuleViolation):
            obstacles.append(_obstacle_rows(scene_id, points))
    log.check_limit(number, rule.max_rejected_fraction)
    empty = sorted({*SPLITS} - {path["split"] for path in paths})
    if empty:
        raise ValueError(
            f"{root} leaves no path for {', '.join(empty)}; {number} were read. Change val_fraction, "
            "test_fraction or test_groups, or add scenes."
        )
    return PathRecords(
        paths=pd.DataFrame(paths)[list(PATH_DTYPES)].astype(PATH_DTYPES),
        frames=pd.concat(frames, ignore_index=True).astype(FRAME_DTYPES),
        obstacles=pd.concat(obstacles, ignore_index=True).astype(OBSTACLE_DTYPES),
        rejects=log.table(),
    )


def _scenes_of(root: Path) -> list[Path]:
    scenes = sorted(path.parent for path in root.glob("*/*/meta") if path.is_dir())
    if not scenes:
        raise FileNotFoundError(
            f"Paths need <group>/<scene>/meta below {root}, which holds none. Point navdp.data.raw "
            "at the folder of the groups (docs/recipes/navdp.md)."
        )
    return scenes


def _obstacle_rows(scene_id: str, points: NDArray[Any]) -> pd.DataFrame:
    return pd.DataFrame({"scene_id": scene_id, "x_m": points[:, 0], "y_m": points[:, 1]})


def _read_obstacles(path: Path, rule: PathReadRule) -> NDArray[Any]:
    """Places of obstacles over the ground, one for each voxel, shape (N, 2)."""
    obstacles = read_ply(path).obstacles[:, :2]
    if not len(obstacles) and not rule.accepts_open_scenes:
        raise RuleViolation(RULE_OBSTACLES, path.name)
    cells = np.unique(np.floor(obstacles / rule.obstacle_voxel_m).astype(np.int64), axis=0)
    return (cells + 0.5) * rule.obstacle_voxel_m


def _images_of(scene: Path, root: Path) -> dict[str, list[str]]:
    """Pictures and depths of a scene over all chunks, by their numbers."""
    found = {}
    for kind in ("rgb", "depth"):
        files = scene.glob(f"videos/*/observation.images.{kind}/*.*")
        found[kind] = [
            path.relative_to(root).as_posix() for path in sorted(files, key=_place_in_scene)
        ]
    return found


def _place_in_scene(path: Path) -> tuple[str, tuple[int, ...], str]:
    # By number, not by letter: 10 comes after 9.
    chunk = path.parents[1].name
    return chunk, tuple(int(number) for number in _NUMBER.findall(path.stem)), path.stem


def _bounds(stats: Mapping[str, Any]) -> tuple[int, int]:
    try:
        bounds = stats.get("stats", stats)["image_index"]
        first, last = (int(np.ravel(bounds[name])[0]) for name in ("min", "max"))
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise RuleViolation(RULE_BOUNDS, f"{error!r} of {stats}") from error
    return first, last


def _read_path(
    root: Path,
    scene: Path,
    path_id: str,
    stats: Mapping[str, Any],
    images: Mapping[str, list[str]],
    rule: PathReadRule,
) -> tuple[dict[str, Any], pd.DataFrame]:
    first, last = _bounds(stats)
    name = f"episode_{stats['episode_index']:06d}.parquet"
    poses, camera, mount = _read_poses(scene, name, rule.camera_axes)
    chosen = {kind: files[first : last + 1] for kind, files in images.items()}
    counts = {kind: len(files) for kind, files in chosen.items()}
    if {*counts.values()} != {len(poses)}:
        raise RuleViolation(RULE_IMAGES, f"{name}: {counts} for {len(poses)} rows")
    places = planar_poses(poses)
    facts = [inspect_image(root, path, _MAX_PIXELS) for path in chosen["rgb"]]
    table = pd.DataFrame(
        {
            "path_id": path_id,
            "frame": range(len(poses)),
            "x_m": places[:, 0],
            "y_m": places[:, 1],
            "heading_rad": places[:, 2],
            "rgb_path": chosen["rgb"],
            "depth_path": chosen["depth"],
            "rgb_sha256": [fact.sha256 for fact in facts],
            "depth_sha256": [_check_depth(root, path, rule) for path in chosen["depth"]],
        }
    )
    row = {
        "path_id": path_id,
        "num_frames": len(poses),
        "length_m": float(np.linalg.norm(np.diff(places[:, :2], axis=0), axis=1).sum()),
        "camera_height_m": mount[2, 3],
        "focal_x_px": camera[0, 0],
        "focal_y_px": camera[1, 1],
        "center_x_px": camera[0, 2],
        "center_y_px": camera[1, 2],
        "width_px": facts[0].width,
        "height_px": facts[0].height,
        "pitch_down_rad": float(np.arcsin(np.clip(-mount[2, 2], -1, 1))),
    }
    return row, table


def _read_poses(
    scene: Path, name: str, axes: CameraAxes
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Poses of the frames (T, 4, 4), camera matrix (3, 3) and mount of the camera (4, 4)."""
    found = sorted(scene.glob(f"data/*/{name}"))
    if len(found) != 1:
        raise RuleViolation(RULE_TABLE, f"{len(found)} files data/*/{name}")
    try:
        present = pq.read_schema(found[0]).names
    except (OSError, ValueError) as error:
        raise RuleViolation(RULE_TABLE, f"{name}: {error}") from error
    missing = [column for column in (_POSES, _CAMERA, _MOUNT) if column not in present]
    if missing:
        # Not a fault of one path, but another layout.
        raise ValueError(f"{found[0]} lacks the columns {', '.join(missing)} of NavDP's layout.")
    table = pq.read_table(found[0], columns=[_POSES, _CAMERA, _MOUNT])
    if not table.num_rows:
        raise RuleViolation(RULE_TABLE, f"{name}: no rows")
    poses = np.array([_matrix(value, 4) for value in table[_POSES].to_pylist()])
    wrong = [number for number, pose in enumerate(poses) if not is_pose(pose)]
    if wrong:
        raise RuleViolation(RULE_POSES, f"{name}, rows {wrong[:5]}")
    camera = _matrix(table[_CAMERA][0].as_py(), 3)
    if not np.isfinite(camera).all() or min(camera[0, 0], camera[1, 1]) <= 0:
        raise RuleViolation(RULE_CAMERA, f"{name}: {camera.tolist()}")
    mount = _matrix(table[_MOUNT][0].as_py(), 4)
    if not is_pose(mount):
        raise RuleViolation(RULE_POSES, f"{name}: camera_extrinsic")
    return to_opencv_axes(poses, axes), camera, to_opencv_axes(mount[None], axes)[0]


def _matrix(value: Any, size: int) -> NDArray[np.float64]:  # noqa: ANN401 - nested lists
    """A matrix that may be written in rows or flat; NaN where it has another number of values."""
    flat = np.hstack([np.ravel(row) for row in value]) if value is not None else np.zeros(0)
    if flat.size != size * size:
        return np.full((size, size), np.nan)
    return flat.astype(float).reshape(size, size)


def _check_depth(root: Path, path: str, rule: PathReadRule) -> str:
    try:
        depth_m = read_depth(root / path, rule.depth_units_per_m)
    except ValueError as error:
        raise RuleViolation(RULE_DEPTH, f"{path}: {error}") from error
    if not ((depth_m >= rule.min_depth_m) & (depth_m <= rule.max_depth_m)).any():
        raise RuleViolation(RULE_DEPTH, f"{path}: nothing in range")
    return hashlib.sha256((root / path).read_bytes()).hexdigest()


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

