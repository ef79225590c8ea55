"""Reads instruction-following trajectories in the layout that VLN-CE's are published in.

``<root>/<set>/<scene>/`` with ``meta/episodes.jsonl``, one Parquet file and one folder of frames
for each episode, and columns named after the height and pitch of the camera.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from aquatint.data.image_files import inspect_image
from aquatint.data.json_lines import read_json_lines
from aquatint.data.rejects import ReadMode, RejectLog, RuleViolation
from aquatint.data.trajectory_names import TrajectorySet
from aquatint.geometry.poses import CameraAxes, is_pose, to_opencv_axes

Floats = NDArray[np.float64]

INSTRUCTION_MARK = "<INSTRUCTION_SEP>"
STOP, FORWARD, LEFT, RIGHT, LOOK_DOWN = 0, 1, 2, 3, 5
ACTIONS = (STOP, FORWARD, LEFT, RIGHT, LOOK_DOWN)
RULE_EPISODE = "must hold episode_index, length and at least one instruction in tasks"
RULE_TABLE = "must exist and be a Parquet file"
RULE_LENGTH = "must have as many rows as the episode's length, at least 1"
RULE_ACTIONS = f"must be one of {ACTIONS}"
RULE_POSES = "must be finite, a rotation and a place"
RULE_FRAMES = "must exist for every frame"
RULE_DEPTH = "must be complete 16-bit PNGs of one size"
_CHUNK = 1000
_MAX_PIXELS = 50_000_000

FLIGHT_DTYPES = {
    "flight_id": "str",
    "set_name": "str",
    "scene": "str",
    "episode_index": "int64",
    "num_frames": "int64",
    "num_instructions": "int64",
    "length_m": "float64",
}
FRAME_DTYPES = {
    "flight_id": "str",
    "scene": "str",
    "frame": "int64",
    "action": "int64",
    "rgb_path": "str",
    "look_down_path": "str",
    "depth_path": "str",
}


@dataclass(frozen=True)
class ReadRule:
    """How trajectories are judged.

    Attributes:
        mode: ``strict`` stops at the first finding, ``tolerant`` leaves the flight out.
        max_rejected_fraction: Largest accepted share of flights with a finding.
        camera_axes: Axes of the cameras that the poses are of.
        decodes_frames: Whether every picture is decoded to see that it is whole, not only looked
            for; costs about a millisecond each.
    """

    mode: ReadMode
    max_rejected_fraction: float
    camera_axes: CameraAxes
    decodes_frames: bool


def read_trajectories(
    root: Path, chosen: TrajectorySet, rule: ReadRule
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Read all flights of a set.

    Args:
        root: Folder of the sets.
        chosen: Which set, and which of its cameras.
        rule: How flights are judged.

    Returns:
        Flights (``FLIGHT_DTYPES`` with ``instructions``); frames (``FRAME_DTYPES`` with ``pose``,
        camera to world of the look-down camera, OpenCV's axes, row by row in 16 numbers), paths
        relative to ``root``; rejects.

    Raises:
        FileNotFoundError: If the set's folder is missing.
        ValueError: If a column is missing, with all that are; in strict mode at the first finding;
            above the limit of findings.
    """
    root = root.resolve()
    folder = root / chosen.name
    if not folder.is_dir():
        raise FileNotFoundError(
            f"The set {chosen.token} needs the folder {folder}, which is missing."
        )
    log = RejectLog(folder, rule.mode)
    flights: list[dict[str, Any]] = []
    tables: list[pd.DataFrame] = []
    number = 0
    for scene in sorted(path for path in folder.iterdir() if path.is_dir()):
        for record in read_json_lines(scene / "meta" / "episodes.jsonl"):
            flight_id = f"{chosen.name}/{scene.name}/{record.get('episode_index')!s:0>6}"
            try:
                flight, frames = _read_flight(root, scene, record, flight_id, chosen, rule)
            except RuleViolation as fault:
                log.add(number, flight_id, "flight", fault)
            else:
                flights.append(flight)
                tables.append(frames)
            number += 1
    if not number:
        raise ValueError(f"{folder} holds no flight: <scene>/meta/episodes.jsonl lists them.")
    log.check_limit(number, rule.max_rejected_fraction)
    # An empty table first: then there are columns also where every flight was left out.
    frames = pd.concat([pd.DataFrame(columns=[*FRAME_DTYPES, "pose"]), *tables], ignore_index=True)
    table = pd.DataFrame(flights, columns=[*FLIGHT_DTYPES, "instructions"])
    return table.astype(FLIGHT_DTYPES), frames.astype(FRAME_DTYPES), log.table()


def _read_flight(
    root: Path,
    scene: Path,
    record: dict[str, Any],
    flight_id: str,
    chosen: TrajectorySet,
    rule: ReadRule,
) -> tuple[dict[str, Any], pd.DataFrame]:
    index, length, instructions = _check_record(record)
    path = table_path(scene, index)
    actions, poses = _read_table(path, chosen, rule)
    if not len(actions) == length >= 1:
        raise RuleViolation(RULE_LENGTH, f"{path.name}: {len(actions)} rows, length {length}")
    frames = _frame_paths(root, scene, index, length, chosen)
    if rule.decodes_frames:
        for name in sorted({*frames["rgb_path"], *frames["look_down_path"]}):
            inspect_image(root, name, _MAX_PIXELS)
        _check_depth([root / name for name in frames["depth_path"]])
    table = pd.DataFrame(
        {
            "flight_id": flight_id,
            "scene": scene.name,
            "frame": range(length),
            "action": _acted(actions),
            **frames,
            "pose": [pose.ravel().tolist() for pose in poses],
        }
    ).astype(FRAME_DTYPES)
    flight = {
        "flight_id": flight_id,
        "set_name": chosen.name,
        "scene": scene.name,
        "episode_index": index,
        "num_frames": length,
        "num_instructions": len(instructions),
        "length_m": float(np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1).sum()),
        "instructions": instructions,
    }
    return flight, table


def _check_record(record: dict[str, Any]) -> tuple[int, int, list[str]]:
    """Index, number of frames, and instructions; one task may hold several."""
    tasks = record.get("tasks")
    index, length = record.get("episode_index"), record.get("length")
    if not isinstance(index, int) or not isinstance(length, int) or not isinstance(tasks, list):
        raise RuleViolation(RULE_EPISODE, record)
    texts = [text.strip() for task in tasks for text in str(task).split(INSTRUCTION_MARK)]
    if not any(texts):
        raise RuleViolation(RULE_EPISODE, record)
    return index, length, [text for text in texts if text]


def table_path(scene: Path, index: int) -> Path:
    """Return the Parquet file of an episode."""
    return scene / "data" / f"chunk-{index // _CHUNK:03d}" / f"episode_{index:06d}.parquet"


def _read_table(path: Path, chosen: TrajectorySet, rule: ReadRule) -> tuple[NDArray[Any], Floats]:
    needed = ["action", f"pose.{chosen.look_down_view}"]
    try:
        present = pq.read_schema(path).names
    except (OSError, ValueError) as error:
        raise RuleViolation(RULE_TABLE, f"{path.name}: {error}") from error
    missing = [name for name in needed if name not in present]
    if missing:
        # Not a fault of one flight: a data set without a camera cannot be read as that camera's.
        raise ValueError(
            f"{path} needs the columns {', '.join(needed)} for {chosen.token}; it lacks "
            f"{', '.join(missing)} and has {', '.join(present)}."
        )
    table = pq.read_table(path, columns=needed)
    actions = np.asarray(table["action"].to_pylist())
    if not np.isin(actions, ACTIONS).all():
        raise RuleViolation(RULE_ACTIONS, f"{path.name}: {sorted(set(actions.tolist()))[:8]}")
    try:
        poses = np.array(table[needed[1]].to_pylist(), float).reshape(-1, 4, 4)
    except (ValueError, TypeError) as error:
        raise RuleViolation(RULE_POSES, f"{path.name}: {error}") from error
    wrong = [number for number, pose in enumerate(poses) if not is_pose(pose)]
    if wrong or len(poses) != len(actions):
        raise RuleViolation(RULE_POSES, f"{path.name}, frames {wrong[:5]}")
    return actions, to_opencv_axes(poses, rule.camera_axes)


def _check_depth(paths: list[Path]) -> None:
    sizes = set()
    for path in paths:
        try:
            sizes.add(read_depth(path, 1).shape)
        except ValueError as error:
            raise RuleViolation(RULE_DEPTH, str(error)) from error
    if len(sizes) != 1:
        raise RuleViolation(RULE_DEPTH, f"{paths[0].parent.name}: sizes {sorted(sizes)}")


def _acted(actions: NDArray[Any]) -> list[int]:
    """What was done at each frame: the first row holds nothing, and the last frame stops."""
    return [*actions[1:].tolist(), STOP]


def _frame_paths(
    root: Path, scene: Path, index: int, length: int, chosen: TrajectorySet
) -> dict[str, list[str]]:
    videos = scene / "videos" / f"chunk-{index // _CHUNK:03d}"
    kinds = {
        "rgb_path": (f"observation.images.rgb.{chosen.view}", "jpg"),
        "look_down_path": (f"observation.images.rgb.{chosen.look_down_view}", "jpg"),
        "depth_path": (f"observation.images.depth.{chosen.look_down_view}", "png"),
    }
    found: dict[str, list[str]] = {}
    for column, (folder, suffix) in kinds.items():
        place = videos / folder
        names = {entry.name for entry in place.iterdir()} if place.is_dir() else set()
        wanted = [f"episode_{index:06d}_{frame}.{suffix}" for frame in range(length)]
        lost = [name for name in wanted if name not in names]
        if lost:
            raise RuleViolation(RULE_FRAMES, f"{folder}/{lost[0]}, {len(lost)} of {length} missing")
        found[column] = [(place / name).relative_to(root).as_posix() for name in wanted]
    return found


def read_depth(path: Path, units_per_m: float) -> Floats:
    """Read an image of uint16 depths.

    Args:
        path: PNG file.
        units_per_m: Numbers for one metre; 1000 for millimetres.

    Returns:
        Metres, 0 where nothing was measured, shape (H, W).

    Raises:
        ValueError: If the file cannot be decoded or is no 16-bit image.
    """
    try:
        with Image.open(path, formats=("PNG",)) as image:
            values = np.asarray(image)
    except (OSError, SyntaxError) as error:
        raise ValueError(f"{path} must be a PNG of depths: {error}.") from error
    if values.ndim != 2 or values.dtype.itemsize < 2 or values.dtype.kind not in "ui":
        raise ValueError(f"{path} must hold one 16-bit number for each pixel, got {values.dtype}.")
    return values.astype(np.float64) / units_per_m


def poses_of(frames: pd.DataFrame) -> Floats:
    """Return the poses of frames in their order, shape (T, 4, 4)."""
    return np.array(frames["pose"].to_list(), float).reshape(-1, 4, 4)


def check_flights(table: pd.DataFrame) -> None:
    """Check a table of flights.

    Raises:
        ValueError: If a column is missing or of another type, or an id repeats.
    """
    _check(table, FLIGHT_DTYPES, "flights", ["flight_id"])


def check_frames(table: pd.DataFrame) -> None:
    """Check a table of frames.

    Raises:
        ValueError: If a column is missing or of another type, or a frame repeats.
    """
    _check(table, FRAME_DTYPES, "frames", ["flight_id", "frame"])


def _check(table: pd.DataFrame, dtypes: dict[str, str], name: str, key: Sequence[str]) -> None:
    from aquatint.data.tables import check_table

    check_table(name, table, dtypes, list(key), is_empty_allowed=False)
