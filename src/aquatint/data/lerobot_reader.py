"""Reads LeRobot data sets, versions 2.1 and 3.0, with images in Parquet or in videos."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aquatint.data.frame_refs import digest_frame, parquet_ref, video_ref
from aquatint.data.lerobot_layout import (
    ACTION,
    IMAGES,
    INFO,
    STATE,
    V3_EPISODES,
    V3_TASKS,
    V21_EPISODES,
    V21_TASKS,
)
from aquatint.data.robot_rows import (
    ACTION_WIDTH,
    RULE_ACTION_WIDTH,
    RULE_COLUMNS,
    RULE_FINITE_NUMBERS,
    RULE_METADATA,
    RULE_PRESENT,
    STATE_NAMES,
    FieldViolation,
    Frames,
    RobotEpisode,
    check_times,
)

_NUMBERS = ["timestamp", "frame_index", "episode_index", "task_index"]


@dataclass(frozen=True)
class LeRobotMeta:
    """What ``meta/`` says.

    Attributes:
        folder: Folder of the data set.
        info: Content of info.json.
        episodes: One row for each episode.
        tasks: Instruction by task_index.
    """

    folder: Path
    info: dict[str, Any]
    episodes: pd.DataFrame
    tasks: dict[int, str]

    @property
    def cameras(self) -> list[str]:
        """Names of the cameras, without their prefix."""
        return sorted(
            name.removeprefix(IMAGES) for name in self.info["features"] if name.startswith(IMAGES)
        )


def read_lerobot_meta(folder: Path) -> LeRobotMeta:
    """Read ``meta/``.

    Raises:
        FieldViolation: If a file is missing or does not hold what the format asks for.
    """
    try:
        info = json.loads((folder / INFO).read_text())
        version = str(info["codebase_version"]).lstrip("v")
        if version.startswith("3"):
            parts = sorted((folder / V3_EPISODES).rglob("*.parquet"))
            episodes = pd.concat([pd.read_parquet(path) for path in parts], ignore_index=True)
            table = pd.read_parquet(folder / V3_TASKS).reset_index()
            tasks = dict(zip(table["task_index"], table["task"].astype(str), strict=True))
        elif version.startswith("2.1"):
            episodes = pd.DataFrame(_lines(folder / V21_EPISODES))
            tasks = {row["task_index"]: row["task"] for row in _lines(folder / V21_TASKS)}
        else:
            raise FieldViolation(INFO, RULE_METADATA, f"codebase_version {version!r}, not 2.1 or 3")
        width = info["features"][ACTION]["shape"][0]
        names = info["features"][STATE]["names"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, FieldViolation):
            raise
        raise FieldViolation("meta", RULE_METADATA, repr(error)) from error
    if width != ACTION_WIDTH:
        raise FieldViolation(f"{INFO}: {ACTION}", RULE_ACTION_WIDTH, width)
    missing = sorted(set(STATE_NAMES) - set(_flat_names(names)))
    if missing:
        raise FieldViolation(f"{INFO}: {STATE}", RULE_COLUMNS, f"without {', '.join(missing)}")
    return LeRobotMeta(folder, info, episodes, {int(k): str(v) for k, v in tasks.items()})


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


def _flat_names(names: Any) -> list[str]:  # noqa: ANN401 - a list, or a dict with one
    found = next(iter(names.values())) if isinstance(names, dict) else names
    return [str(name) for name in found or []]


def iterate_lerobot(
    root: Path, meta: LeRobotMeta, max_pixels: int
) -> Iterator[tuple[str, RobotEpisode | FieldViolation]]:
    """Yield every episode by its id, or what is wrong with it.

    Args:
        root: Folder of all data sets, resolved.
        meta: What ``read_lerobot_meta`` returned.
        max_pixels: Of one image.
    """
    place = meta.folder.relative_to(root).as_posix()
    tables: dict[Path, pd.DataFrame] = {}
    for record in meta.episodes.to_dict(orient="records"):
        row = {str(name): value for name, value in record.items()}
        number = int(row["episode_index"])
        episode_id = f"{place}/episode_{number:06d}"
        try:
            path = meta.folder / _data_path(meta, row)
            if path not in tables:
                tables = {path: _read_numbers(path)}
            yield episode_id, _read_one(root, meta, episode_id, row, path, tables[path], max_pixels)
        except FieldViolation as fault:
            yield episode_id, fault


def _data_path(meta: LeRobotMeta, row: dict[str, Any]) -> str:
    number = int(row["episode_index"])
    return str(
        meta.info["data_path"].format(
            episode_chunk=number // int(meta.info.get("chunks_size", 1000)),
            episode_index=number,
            chunk_index=int(row.get("data/chunk_index", 0)),
            file_index=int(row.get("data/file_index", 0)),
        )
    )


def _read_numbers(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise FieldViolation(path.name, RULE_PRESENT, "no such file")
    try:
        return pd.read_parquet(path, columns=[STATE, ACTION, *_NUMBERS])
    except (ValueError, OSError, KeyError) as error:
        raise FieldViolation(path.name, RULE_COLUMNS, str(error)) from error


def _read_one(  # noqa: PLR0913 - what one episode lies in
    root: Path,
    meta: LeRobotMeta,
    episode_id: str,
    row: dict[str, Any],
    path: Path,
    table: pd.DataFrame,
    max_pixels: int,
) -> RobotEpisode:
    rows = np.nonzero((table["episode_index"] == row["episode_index"]).to_numpy())[0]
    if len(rows) != int(row["length"]):
        raise FieldViolation("length", RULE_METADATA, f"{row['length']}, file has {len(rows)}")
    mine = table.iloc[rows]
    times = check_times("timestamp", mine["timestamp"].to_numpy(np.float64))
    names = _flat_names(meta.info["features"][STATE]["names"])
    states = _matrix(mine[STATE], len(names), STATE)
    order = [names.index(name) for name in STATE_NAMES]
    task = meta.tasks[int(mine["task_index"].iloc[0])]
    return RobotEpisode(
        episode_id=episode_id,
        source="lerobot",
        task=task,
        instruction=task,
        confidence=1.0,
        times_s=times,
        states=states[:, order],
        frames={
            camera: _frames(root, meta, row, path, rows, times, camera, max_pixels)
            for camera in meta.cameras
        },
        actions=_matrix(mine[ACTION], ACTION_WIDTH, ACTION),
    )


def _matrix(column: pd.Series, width: int, name: str) -> NDArray[np.float64]:
    widths = {len(value) for value in column}
    if widths != {width}:
        rule = RULE_ACTION_WIDTH if name == ACTION else RULE_METADATA
        raise FieldViolation(name, rule, sorted(widths))
    values = np.stack(column.to_list()).astype(np.float64)
    faulty = np.nonzero(~np.isfinite(values).all(axis=1))[0]
    if len(faulty):
        raise FieldViolation(f"{name}: frame {faulty[0]}", RULE_FINITE_NUMBERS, values[faulty[0]])
    return values


def _frames(  # noqa: PLR0913 - what one camera of an episode lies in
    root: Path,
    meta: LeRobotMeta,
    row: dict[str, Any],
    path: Path,
    rows: NDArray[np.intp],
    times: NDArray[np.float64],
    camera: str,
    max_pixels: int,
) -> Frames:
    key = IMAGES + camera
    if meta.info["features"][key]["dtype"] == "image":
        file = path.relative_to(root).as_posix()
        refs = [parquet_ref(file, key, int(number)) for number in rows]
    else:
        refs = _video_refs(root, meta, row, key, len(rows))
    digests = [digest_frame(root, ref, max_pixels) for ref in refs]
    # A frame that stands at several steps in a row is one frame, seen when it first appeared.
    is_new = np.array([i == 0 or digests[i] != digests[i - 1] for i in range(len(refs))])
    kept = np.nonzero(is_new)[0]
    return Frames(times[kept], [refs[i] for i in kept], [digests[i] for i in kept])


def _video_refs(
    root: Path, meta: LeRobotMeta, row: dict[str, Any], key: str, num: int
) -> list[str]:
    number = int(row["episode_index"])
    file = meta.info["video_path"].format(
        video_key=key,
        episode_chunk=number // int(meta.info.get("chunks_size", 1000)),
        episode_index=number,
        chunk_index=int(row.get(f"videos/{key}/chunk_index", 0)),
        file_index=int(row.get(f"videos/{key}/file_index", 0)),
    )
    # In version 3 episodes follow each other in one file; the table says where each begins.
    first = round(float(row.get(f"videos/{key}/from_timestamp", 0.0)) * float(meta.info["fps"]))
    place = (meta.folder / file).relative_to(root).as_posix()
    return [video_ref(place, first + step) for step in range(num)]
