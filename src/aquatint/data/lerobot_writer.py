"""Writes episodes as a LeRobot data set, version 2.1 or 3.0, images in its Parquet files."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from aquatint.data.lerobot_layout import (
    ACTION,
    CHUNK_SIZE,
    DATA_PATHS,
    IMAGES,
    INFO,
    STATE,
    V3_EPISODES,
    V3_STATS,
    V3_TASKS,
    V21_EPISODES,
    V21_STATS,
    V21_TASKS,
    LeRobotLayout,
)
from aquatint.data.robot_rows import ACTION_NAMES

_SCALARS = {
    "timestamp": "float32",
    "frame_index": "int64",
    "episode_index": "int64",
    "index": "int64",
    "task_index": "int64",
}


@dataclass(frozen=True, eq=False)
class LeRobotEpisode:
    """One episode, every stream at the rate of the actions.

    Attributes:
        task: What the robot was told.
        state: Values of ``state_names``, shape (T, S).
        state_names: Name of each value of the state.
        action: Actions, shape (T, 7): changes of the pose in mm and degrees, gripper.
        frames: Pictures by camera as uint8, shape (T, H, W, 3).
    """

    task: str
    state: NDArray[np.float32]
    state_names: Sequence[str]
    action: NDArray[np.float32]
    frames: dict[str, NDArray[np.uint8]]


def write_lerobot(
    folder: Path, episodes: Sequence[LeRobotEpisode], layout: LeRobotLayout, fps: int
) -> None:
    """Write a data set that LeRobot's own classes open.

    Args:
        folder: Folder to create.
        episodes: Episodes with the same cameras and the same state.
        layout: ``v2.1`` writes a file for each episode, ``v3.0`` one for all.
        fps: Steps a second.

    Raises:
        ValueError: If there are no episodes.
    """
    if not episodes:
        raise ValueError("A LeRobot data set needs at least one episode.")
    tasks = list(dict.fromkeys(episode.task for episode in episodes))
    tables, start = [], 0
    for number, episode in enumerate(episodes):
        tables.append(_table(episode, number, start, tasks.index(episode.task), fps))
        start += len(episode.action)
    (folder / "meta").mkdir(parents=True)
    _write_json(folder / INFO, _info(episodes, tables, len(tasks), layout, fps))
    if layout == "v2.1":
        _write_v21(folder, episodes, tables, tasks)
    else:
        _write_v3(folder, episodes, tables, tasks)


def _table(
    episode: LeRobotEpisode, number: int, start: int, task_index: int, fps: int
) -> pd.DataFrame:
    num = len(episode.action)
    steps = np.arange(num)
    columns: dict[str, Any] = {
        STATE: list(episode.state.astype(np.float32)),
        ACTION: list(episode.action.astype(np.float32)),
        "timestamp": (steps / fps).astype(np.float32),
        "frame_index": steps,
        "episode_index": np.full(num, number),
        "index": start + steps,
        "task_index": np.full(num, task_index),
    }
    for camera, frames in episode.frames.items():
        columns[IMAGES + camera] = _encode_all(frames)
    return pd.DataFrame(columns)


def _encode_all(frames: NDArray[np.uint8]) -> list[dict[str, Any]]:
    """Frames as the structs of a Hugging Face image column; a repeated frame is encoded once."""
    cells: list[dict[str, Any]] = []
    for number, frame in enumerate(frames):
        if number and np.array_equal(frame, frames[number - 1]):
            cells.append(cells[-1])
            continue
        buffer = io.BytesIO()
        Image.fromarray(frame).save(buffer, "PNG", compress_level=1)
        cells.append({"bytes": buffer.getvalue(), "path": f"frame_{number:06d}.png"})
    return cells


def _info(
    episodes: Sequence[LeRobotEpisode],
    tables: Sequence[pd.DataFrame],
    num_tasks: int,
    layout: LeRobotLayout,
    fps: int,
) -> dict[str, Any]:
    first = episodes[0]
    features: dict[str, Any] = {
        STATE: {
            "dtype": "float32",
            "shape": [len(first.state_names)],
            "names": list(first.state_names),
        },
        ACTION: {
            "dtype": "float32",
            "shape": [first.action.shape[1]],
            "names": list(ACTION_NAMES),
        },
        **{name: {"dtype": dtype, "shape": [1], "names": None} for name, dtype in _SCALARS.items()},
    }
    for camera, frames in first.frames.items():
        features[IMAGES + camera] = {
            "dtype": "image",
            "shape": list(frames.shape[1:]),
            "names": ["height", "width", "channels"],
        }
    total = sum(map(len, tables))
    sizes = {"data_files_size_in_mb": 100, "video_files_size_in_mb": 200}
    older = {"total_videos": 0, "total_chunks": 1}
    return {
        "codebase_version": layout,
        "robot_type": "drone",
        "total_episodes": len(episodes),
        "total_frames": total,
        "total_tasks": num_tasks,
        "chunks_size": CHUNK_SIZE,
        "fps": fps,
        "splits": {"train": f"0:{len(episodes)}"},
        "data_path": DATA_PATHS[layout],
        "video_path": None,
        "features": features,
        **(older if layout == "v2.1" else sizes),
    }


def _stats(table: pd.DataFrame) -> dict[str, Any]:
    """Minimum, maximum, mean, deviation and count of each numeric feature."""
    found = {}
    for name in (STATE, ACTION, *_SCALARS):
        values = np.stack(table[name].to_list()).astype(np.float64).reshape(len(table), -1)
        found[name] = {
            "min": values.min(0).tolist(),
            "max": values.max(0).tolist(),
            "mean": values.mean(0).tolist(),
            "std": values.std(0).tolist(),
            "count": [len(table)],
        }
    return found


def _write_v21(
    folder: Path,
    episodes: Sequence[LeRobotEpisode],
    tables: Sequence[pd.DataFrame],
    tasks: list[str],
) -> None:
    for number, table in enumerate(tables):
        path = folder / DATA_PATHS["v2.1"].format(
            episode_chunk=number // CHUNK_SIZE, episode_index=number
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        table.to_parquet(path, index=False)
    lines = [
        {"episode_index": number, "tasks": [episode.task], "length": len(episode.action)}
        for number, episode in enumerate(episodes)
    ]
    _write_lines(folder / V21_EPISODES, lines)
    _write_lines(
        folder / V21_TASKS,
        [{"task_index": number, "task": task} for number, task in enumerate(tasks)],
    )
    stats = [
        {"episode_index": number, "stats": _stats(table)} for number, table in enumerate(tables)
    ]
    _write_lines(folder / V21_STATS, stats)


def _write_v3(
    folder: Path,
    episodes: Sequence[LeRobotEpisode],
    tables: Sequence[pd.DataFrame],
    tasks: list[str],
) -> None:
    table = pd.concat(tables, ignore_index=True)
    path = folder / DATA_PATHS["v3.0"].format(chunk_index=0, file_index=0)
    path.parent.mkdir(parents=True)
    table.to_parquet(path, index=False)
    names = pd.DataFrame({"task_index": range(len(tasks))}, index=pd.Index(tasks, name="task"))
    names.to_parquet(folder / V3_TASKS)
    stops = np.cumsum([len(item) for item in tables])
    rows = pd.DataFrame(
        {
            "episode_index": range(len(episodes)),
            "tasks": [[episode.task] for episode in episodes],
            "length": [len(item) for item in tables],
            "data/chunk_index": 0,
            "data/file_index": 0,
            "dataset_from_index": stops - [len(item) for item in tables],
            "dataset_to_index": stops,
        }
    )
    place = folder / V3_EPISODES / "chunk-000" / "file-000.parquet"
    place.parent.mkdir(parents=True)
    rows.to_parquet(place, index=False)
    _write_json(folder / V3_STATS, _stats(table))


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=4) + "\n")


def _write_lines(path: Path, lines: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
