"""Errors of predicted action chunks in physical units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aquatint.metrics.paired import group_bootstrap_interval

Array = NDArray[np.floating]


def chunk_errors(
    predicted: Array,
    target: Array,
    is_pad: NDArray[np.bool_],
    scale: Array,
    groups: NDArray[Any] | None = None,
) -> dict[str, Any]:
    """Summarise errors of chunks.

    Args:
        predicted: Actions in physical units, shape (N, H, A).
        target: What was done, shape (N, H, A).
        is_pad: Steps beyond an episode's end, shape (N, H).
        scale: What a difference of 1 means in each dimension, 0 for one that never varies, shape
            (A,): errors are divided by it before they are averaged over dimensions.
        groups: Episode of each chunk, shape (N,), for the interval; None for no interval.

    Returns:
        ``scaled_mse_error`` and ``scaled_mae_error`` over varying dimensions, with the interval by
        group of the first, ``first_mae_error`` of the first action, ``by_step`` of the horizon,
        and n; None where nothing is left to average.
    """
    is_varying = scale > 0
    errors = _errors(predicted, target)[..., is_varying] / scale[is_varying]
    valid = ~is_pad
    has_any = valid.any(axis=1)
    # Of the same steps as the mean itself, a short chunk counting for its length.
    interval = (
        group_bootstrap_interval((errors[valid] ** 2).mean(-1), np.repeat(groups, valid.sum(1)))
        if groups is not None and has_any.any()
        else None
    )
    return {
        "scaled_mse_error": _mean(errors[valid] ** 2),
        "scaled_mse_interval": interval,
        "scaled_mae_error": _mean(np.abs(errors[valid])),
        "first_mae_error": _mean(np.abs(errors[:, 0][valid[:, 0]])),
        "by_step": [
            _mean(np.abs(errors[:, step][valid[:, step]])) for step in range(errors.shape[1])
        ],
        "n": int(has_any.sum()),
        "num_actions": int(valid.sum()),
    }


def dimension_errors(
    predicted: Array, target: Array, is_pad: NDArray[np.bool_], names: Sequence[str]
) -> dict[str, dict[str, float | None]]:
    """MAE, MSE and correlation of every dimension, in its own unit; angles wrapped.

    Args:
        predicted: Actions in physical units, shape (N, H, A).
        target: What was done, shape (N, H, A).
        is_pad: Steps beyond an episode's end, shape (N, H).
        names: Name of each dimension; those that end in ``_a``, ``_b`` or ``_r`` are degrees.

    Returns:
        By name; the correlation is None where either side is constant.
    """
    valid = ~is_pad
    angles = [i for i, name in enumerate(names) if name[-2:] in ("_a", "_b", "_r")]
    errors = _errors(predicted, target, angles)
    found: dict[str, dict[str, float | None]] = {}
    for index, name in enumerate(names):
        values, truth = predicted[..., index][valid], target[..., index][valid]
        found[name] = {
            "mae": _mean(np.abs(errors[..., index][valid])),
            "mse": _mean(errors[..., index][valid] ** 2),
            "correlation": correlation(values, truth),
        }
    return found


def end_point_errors(
    predicted: Array, target: Array, is_pad: NDArray[np.bool_]
) -> dict[str, float | int | None]:
    """Distance between where two chunks end, summed over their valid steps.

    Args:
        predicted: Actions, the first three values lengths in mm, the next three angles in degrees.
        target: What was done, shape (N, H, A).
        is_pad: Steps beyond an episode's end, shape (N, H).

    Returns:
        ``position_mm`` and ``angle_deg``, means over chunks, and n.
    """
    valid = (~is_pad)[..., None]
    gap = np.where(valid, np.asarray(predicted, float) - target, 0).sum(1)[
        is_pad.sum(1) < is_pad.shape[1]
    ]
    angles = 180.0 - (180.0 - gap[:, 3:6]) % 360.0
    return {
        "position_mm": _mean(np.linalg.norm(gap[:, :3], axis=1)),
        "angle_deg": _mean(np.linalg.norm(angles, axis=1)),
        "n": len(gap),
    }


def spread_errors(
    samples: Array, target: Array, is_pad: NDArray[np.bool_], scale: Array
) -> dict[str, Any]:
    """How several samples of a stochastic policy lie around what was done.

    Args:
        samples: K chunks for each step, shape (K, N, H, A).
        target: What was done, shape (N, H, A).
        is_pad: Steps beyond an episode's end, shape (N, H).
        scale: As in ``chunk_errors``.

    Returns:
        ``best_of_k_mse`` and ``mean_mse`` over samples, ``variance`` among them, ``k``, n.
    """
    is_varying = scale > 0
    scaled = samples[..., is_varying] / scale[is_varying]
    truth = target[..., is_varying] / scale[is_varying]
    valid = ~is_pad
    mses = np.stack([_mean_where(((one - truth) ** 2).mean(-1), valid) for one in scaled])
    has_any = valid.any(1)
    return {
        "best_of_k_mse": _mean(mses.min(0)[has_any]),
        "mean_mse": _mean(mses.mean(0)[has_any]),
        "variance": _mean(scaled.var(axis=0)[valid]),
        "k": len(samples),
        "n": int(has_any.sum()),
    }


def correlation(first: Array, second: Array) -> float | None:
    """Pearson's correlation; None where either side is constant or there are fewer than two."""
    if len(first) < 2 or np.ptp(first) < 1e-9 or np.ptp(second) < 1e-9:
        return None
    return float(np.corrcoef(first, second)[0, 1])


def _errors(predicted: Array, target: Array, angles: Sequence[int] = ()) -> NDArray[np.float64]:
    errors = np.asarray(predicted, np.float64) - np.asarray(target, np.float64)
    for index in angles:
        errors[..., index] = 180.0 - (180.0 - errors[..., index]) % 360.0
    return errors


def _mean(values: Array) -> float | None:
    return float(np.mean(values)) if np.size(values) else None


def _mean_where(values: Array, valid: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mean of each row (N, H) over its valid values; 0 where there is none."""
    count = valid.sum(1)
    return np.where(valid, values, 0).sum(1) / np.maximum(count, 1)
