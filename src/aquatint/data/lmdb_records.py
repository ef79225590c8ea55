"""VLN-PE's recordings in LMDB: read, checked, and laid out as Parquet, arrays and lists.

One record for each trajectory, packed by msgpack with numpy's arrays as maps of type, shape and
bytes. Laid out once, all that follows (rules, features, caches) is the same for both variants.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

RULE_RECORD = "must be a msgpack map with episode_data, finish_status and episodes_in_json"
_PATHS = {
    "rgb": ("episode_data", "camera_info", "pano_camera_0", "rgb"),
    "depth": ("episode_data", "camera_info", "pano_camera_0", "depth"),
    "position": ("episode_data", "robot_info", "position"),
    "orientation": ("episode_data", "robot_info", "orientation"),
    "yaw": ("episode_data", "robot_info", "yaw"),
    "progress": ("episode_data", "progress"),
    "step": ("episode_data", "step"),
    "action": ("episode_data", "action"),
}
_KINDS = "biuf"


def read_lmdb(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield key and record of every trajectory, arrays decoded, in the order of the keys.

    Args:
        folder: Folder of an LMDB environment (``data.mdb``).

    Raises:
        ImportError: If the optional package lmdb is not installed.
        FileNotFoundError: If there is no such environment.
        ValueError: If it is of another version, is damaged, or a record breaks its rule.
    """
    try:
        import lmdb
    except ImportError as error:
        raise ImportError(
            "Recordings in LMDB need the optional package lmdb: pip install 'aquatint[lmdb]'."
        ) from error
    if not (folder / "data.mdb").is_file():
        raise FileNotFoundError(f"{folder} holds no LMDB: data.mdb is missing.")
    try:
        # Nothing is written, and no lock file beside data that may be read-only.
        store = lmdb.open(str(folder), readonly=True, lock=False, create=False, max_readers=1)
    except lmdb.Error as error:
        raise ValueError(
            f"{folder} cannot be read as LMDB: {error}. A file of another version has to be copied "
            "with the tools of that version (mdb_dump, mdb_load); a damaged one fetched again."
        ) from error
    try:
        with store, store.begin() as transaction:
            for key, content in transaction.cursor():
                name = bytes(key).decode("utf-8", "replace")
                yield name, _decode(bytes(content), folder, name)
    except lmdb.Error as error:
        raise ValueError(f"{folder} is damaged: {error}. Fetch it again.") from error


def _decode(content: bytes, folder: Path, key: str) -> dict[str, Any]:
    try:
        record = _plain(msgspec.msgpack.decode(content))
    except (msgspec.DecodeError, ValueError) as error:
        raise ValueError(f"{folder}, record {key!r} {RULE_RECORD}: {error}") from error
    wanted = ("episode_data", "finish_status", "episodes_in_json")
    if not isinstance(record, dict) or any(name not in record for name in wanted):
        found = sorted(record) if isinstance(record, dict) else type(record).__name__
        raise ValueError(f"{folder}, record {key!r} {RULE_RECORD}, got {found}.")
    return record


def _plain(value: Any) -> Any:  # noqa: ANN401 - msgpack values
    """Turn maps of numpy's arrays into arrays, and keys into text."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    named = {k.decode() if isinstance(k, bytes) else str(k): v for k, v in value.items()}
    if "nd" not in named:
        return {key: _plain(item) for key, item in named.items()}
    kind = named["type"].decode() if isinstance(named["type"], bytes) else named["type"]
    dtype = np.dtype(kind) if isinstance(kind, str) else None
    # Plain numbers alone: an object array would have to be unpickled.
    if dtype is None or dtype.kind not in _KINDS:
        raise ValueError(f"arrays must hold plain numbers, got {kind!r}")
    values = np.frombuffer(named["data"], dtype)
    return values.reshape(named["shape"]) if named["nd"] else values[0].item()


def lay_out(folder: Path, place: Path) -> int:
    """Write the records of an LMDB as one scan set of VLN-PE's layout.

    Args:
        folder: Folder of the LMDB.
        place: Folder of the scan set to write, ``.../train``.

    Returns:
        Number of trajectories.

    Raises:
        ValueError: If a record lacks an array, or arrays differ in length.
    """
    rows: dict[str, tuple[list[Any], list[Any]]] = {}
    count = 0
    for key, record in read_lmdb(folder):
        scene = _scene_of(record, folder, key)
        tasks, stats = rows.setdefault(scene, ([], []))
        index, first = len(stats), len(tasks)
        _write_arrays(place / scene, index, _arrays_of(record, folder, key))
        tasks += _tasks_of(record, first)
        bounds = {"min": [first], "max": [len(tasks) - 1]}
        stats.append({"episode_index": index, "stats": {"task_index": bounds}})
        count += 1
    for scene, (tasks, stats) in rows.items():
        meta = place / scene / "meta"
        meta.mkdir(parents=True, exist_ok=True)
        for name, content in (("tasks", tasks), ("episodes_stats", stats)):
            (meta / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in content))
    return count


def _scene_of(record: Mapping[str, Any], folder: Path, key: str) -> str:
    episodes = record["episodes_in_json"]
    first = episodes[0] if isinstance(episodes, list) and episodes else episodes
    scene = first.get("scan", first.get("scene_id")) if isinstance(first, dict) else None
    name = Path(str(scene)).stem
    if not scene or not name or name.startswith("."):
        raise ValueError(f"{folder}, record {key!r} must name its scan in episodes_in_json.")
    return name


def _arrays_of(record: Mapping[str, Any], folder: Path, key: str) -> dict[str, NDArray[Any]]:
    found: dict[str, NDArray[Any]] = {}
    for name, path in _PATHS.items():
        value: Any = record
        for part in path:
            value = value.get(part) if isinstance(value, dict) else None
        if value is None:
            raise ValueError(f"{folder}, record {key!r} lacks {'.'.join(path)}.")
        found[name] = np.asarray(value)
    lengths = {name: len(values) for name, values in found.items()}
    if len({*lengths.values()}) != 1:
        raise ValueError(f"{folder}, record {key!r} has arrays of different lengths: {lengths}.")
    return found


def _write_arrays(scene: Path, index: int, arrays: Mapping[str, NDArray[Any]]) -> None:
    chunk = f"chunk-{index // 1000:03d}"
    for kind in ("rgb", "depth"):
        place = scene / "videos" / chunk / f"observation.images.{kind}"
        place.mkdir(parents=True, exist_ok=True)
        np.save(place / f"episode_{index:06d}.npy", arrays[kind], allow_pickle=False)
    columns = {
        f"observation.{'robot_' if name in ('position', 'orientation', 'yaw') else ''}{name}":
        pa.array(values.tolist())
        for name, values in arrays.items() if name not in ("rgb", "depth")
    }  # fmt: skip
    place = scene / "data" / chunk
    place.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), place / f"episode_{index:06d}.parquet")


def _tasks_of(record: Mapping[str, Any], first: int) -> list[dict[str, Any]]:
    episodes = record["episodes_in_json"]
    listed = episodes if isinstance(episodes, list) else [episodes]
    return [
        {
            "task_index": first + number,
            "task": told.get("instruction_text"),
            "instruction_tokens": _as_list(told.get("instruction_tokens")),
            "finish_status": record["finish_status"],
            "fail_reason": record.get("fail_reason", ""),
        }
        for number, told in enumerate(episode.get("instruction", {}) for episode in listed)
    ]


def _as_list(values: Any) -> Any:  # noqa: ANN401 - whatever was recorded; the reader judges it
    return values.tolist() if isinstance(values, np.ndarray) else values
