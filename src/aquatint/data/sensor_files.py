"""Reads npz files of a high-rate sensor: rows of force and echo, or windows of such rows."""

from __future__ import annotations

import zipfile
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aquatint.data.robot_rows import (
    A_SCAN_LENGTH,
    RULE_FINITE_NUMBERS,
    RULE_SENSOR_FILE,
    RULE_SENSOR_SHAPE,
    SENSOR_WIDTH,
    FieldViolation,
    check_times,
)

_ROW_ARRAYS, _WINDOW_ARRAYS = ("timestamps", "forces", "alines"), ("timestamps", "data")
# A row that stands in two windows is read once; clocks of one device agree far better than this.
_SAME_ROW_S = 1e-6


def read_sensor_times(path: Path, sensor_hz: float) -> NDArray[np.float64]:
    """Return the time of each row of a sensor's file without reading the rows.

    Args:
        path: npz with ``timestamps``, ``forces`` and ``alines`` (N, 1025), or with ``timestamps``
            of the windows' ends and ``data`` (N, window, 1026).
        sensor_hz: Rows a second; places the rows of a window.

    Raises:
        FieldViolation: If the file is empty, not readable, or its arrays do not fit together.
    """
    shapes = _read_shapes(path)
    times = check_times(f"{path.name}: timestamps", _read(path, "timestamps"))
    if not len(times):
        raise FieldViolation(path.name, RULE_SENSOR_FILE, "no rows")
    if "data" in shapes:
        shape = shapes["data"]
        if len(shape) != 3 or shape[0] != len(times) or shape[2] != SENSOR_WIDTH:
            raise FieldViolation(f"{path.name}: data", RULE_SENSOR_SHAPE, shape)
        return _row_times(times, shape[1], sensor_hz)[1]
    found = (shapes["forces"], shapes["alines"])
    if found != ((len(times),), (len(times), A_SCAN_LENGTH)):
        raise FieldViolation(f"{path.name}: forces, alines", RULE_SENSOR_SHAPE, found)
    return times


def _read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of the arrays of an npz, from their headers alone."""
    shapes: dict[str, tuple[int, ...]] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                with archive.open(name) as file:
                    version = np.lib.format.read_magic(file)
                    read = getattr(np.lib.format, f"read_array_header_{version[0]}_0")
                    shapes[name.removesuffix(".npy")] = read(file)[0]
    except (OSError, ValueError, AttributeError, zipfile.BadZipFile) as error:
        raise FieldViolation(path.name, RULE_SENSOR_FILE, str(error) or "unreadable") from error
    wanted = _WINDOW_ARRAYS if "data" in shapes else _ROW_ARRAYS
    missing = [name for name in wanted if name not in shapes]
    if missing:
        raise FieldViolation(path.name, RULE_SENSOR_FILE, f"without {', '.join(missing)}")
    return shapes


def _read(path: Path, name: str) -> NDArray[np.float64]:
    with np.load(path, allow_pickle=False) as arrays:
        return np.asarray(arrays[name], np.float64)


def _row_times(
    ends_s: NDArray[np.float64], window: int, sensor_hz: float
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Which rows of the windows are new, shape (N, window), and the times of those."""
    offsets = (np.arange(window) - (window - 1)) / sensor_hz
    times = ends_s[:, None] + offsets
    before = np.concatenate([[-np.inf], ends_s[:-1]])
    is_new = times > before[:, None] + _SAME_ROW_S
    return is_new, times[is_new]


@lru_cache(maxsize=2)
def read_sensor_rows(path: Path, sensor_hz: float) -> NDArray[np.float32]:
    """Return all rows of a sensor's file: force, then the echo's samples.

    Args:
        path: File that ``read_sensor_times`` accepts.
        sensor_hz: Rows a second.

    Returns:
        Shape (N, 1026), in the order of ``read_sensor_times``.

    Raises:
        FieldViolation: If a value is not finite.
    """
    with np.load(path, allow_pickle=False) as arrays:
        if "data" in arrays:
            data = np.asarray(arrays["data"], np.float32)
            is_new, _ = _row_times(np.asarray(arrays["timestamps"]), data.shape[1], sensor_hz)
            rows = data[is_new] if not is_new.all() else data.reshape(-1, SENSOR_WIDTH)
        else:
            force = np.asarray(arrays["forces"], np.float32)[:, None]
            rows = np.concatenate([force, np.asarray(arrays["alines"], np.float32)], axis=1)
    is_finite = np.isfinite(rows).all(axis=1)
    if not is_finite.all():
        row = int(np.nonzero(~is_finite)[0][0])
        raise FieldViolation(f"{path}: row {row}", RULE_FINITE_NUMBERS, "inf or NaN")
    return rows
