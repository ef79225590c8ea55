"""Scales of actions, states and sensor, fitted on the train split and invertible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

ScaleMode = Literal["min_max", "z_score"]
# Below this share of a dimension's magnitude a spread is rounding, and the dimension constant.
_CONSTANT = 1e-6


def fit_scale(
    values: NDArray[np.floating], mode: ScaleMode, names: Sequence[str]
) -> dict[str, Any]:
    """Fit the scale of every dimension.

    Args:
        values: Finite values, shape (N, D).
        mode: ``min_max`` maps to [-1, 1], ``z_score`` to mean 0 and deviation 1.
        names: Name of each dimension.

    Returns:
        JSON-ready: mode, names, offset, factor, is_constant, and min, max, mean, std for reading.

    Raises:
        ValueError: If there is nothing to fit, or a value is not finite.
    """
    values = np.asarray(values, np.float64)
    if not len(values) or not np.isfinite(values).all():
        raise ValueError(f"A scale needs finite values, got {len(values)} rows with inf or NaN.")
    low, high = values.min(0), values.max(0)
    mean, std = values.mean(0), values.std(0)
    is_constant = high - low <= _CONSTANT * np.maximum(1.0, np.abs(values).max(0))
    if mode == "min_max":
        offset, factor = (low + high) / 2, (high - low) / 2
    else:
        offset, factor = mean, std
    # A constant dimension becomes 0 and comes back exactly: nothing is divided by zero.
    offset = np.where(is_constant, values[0], offset)
    factor = np.where(is_constant, 1.0, factor)
    return {
        "mode": mode,
        "names": list(names),
        "offset": offset.tolist(),
        "factor": factor.tolist(),
        "is_constant": is_constant.tolist(),
        "min": low.tolist(),
        "max": high.tolist(),
        "mean": mean.tolist(),
        "std": std.tolist(),
        "n": len(values),
    }


def normalise(values: NDArray[np.floating], scale: Mapping[str, Any]) -> NDArray[np.float32]:
    """Return scaled values, shape (..., D)."""
    offset, factor = np.asarray(scale["offset"]), np.asarray(scale["factor"])
    return ((np.asarray(values, np.float64) - offset) / factor).astype(np.float32)


def denormalise(values: NDArray[np.floating], scale: Mapping[str, Any]) -> NDArray[np.float64]:
    """Return values in their own units, constant dimensions exactly as they were; (..., D)."""
    offset, factor = np.asarray(scale["offset"]), np.asarray(scale["factor"])
    restored = np.asarray(values, np.float64) * factor + offset
    return np.where(np.asarray(scale["is_constant"]), offset, restored)


def encode_angles(states: NDArray[np.floating]) -> NDArray[np.float32]:
    """Replace the last three values, angles in degrees, by their sines and cosines.

    Args:
        states: Joints and pose, shape (..., 12).

    Returns:
        Shape (..., 15): near 180 degrees an angle itself would jump.
    """
    values = np.asarray(states, np.float64)
    angles = np.radians(values[..., -3:])
    return np.concatenate([values[..., :-3], np.sin(angles), np.cos(angles)], -1).astype(np.float32)


def fit_sensor_scale(windows: NDArray[np.floating]) -> dict[str, Any]:
    """Fit one scale for the force and one for the echo, already as log(1 + x).

    Args:
        windows: Windows of train episodes, shape (N, T, C), force first.
    """
    force, echo = windows[..., 0].astype(np.float64), windows[..., 1:].astype(np.float64)
    return {
        "transform": "log1p",
        "force": {"mean": float(force.mean()), "std": max(float(force.std()), 1e-6)},
        "a_scan": {"mean": float(echo.mean()), "std": max(float(echo.std()), 1e-6)},
        "n": len(windows),
    }


def normalise_sensor(
    windows: NDArray[np.floating], scale: Mapping[str, Any]
) -> NDArray[np.float32]:
    """Return scaled windows, shape (N, T, C)."""
    values = np.array(windows, np.float32)
    values[..., 0] = (values[..., 0] - scale["force"]["mean"]) / scale["force"]["std"]
    values[..., 1:] -= np.float32(scale["a_scan"]["mean"])
    values[..., 1:] /= np.float32(scale["a_scan"]["std"])
    return values
