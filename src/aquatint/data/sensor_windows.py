"""Windows of a high-rate sensor: which rows belong to a step, and their values."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

WindowAlignment = Literal["end", "interval"]


def window_rows(
    row_times_s: NDArray[np.float64],
    starts_s: NDArray[np.float64],
    ends_s: NDArray[np.float64],
    window: int,
    tolerance_s: float,
) -> NDArray[np.int64]:
    """Return which rows each window takes: the last ones of its interval.

    Args:
        row_times_s: Time of each row, ascending, shape (N,).
        starts_s: Where each interval begins, shape (T,); -inf for windows that are bounded by
            their length alone.
        ends_s: Where each ends, shape (T,).
        window: Most rows of a window; the most recent are kept.
        tolerance_s: Largest age of a window's last row.

    Returns:
        First row and row after the last, shape (T, 2); equal where the sensor was silent.
    """
    stops = np.searchsorted(row_times_s, ends_s, side="right")
    starts = np.maximum(np.searchsorted(row_times_s, starts_s, side="right"), stops - window)
    last = row_times_s[np.maximum(stops - 1, 0)] if len(row_times_s) else np.full(len(stops), 0.0)
    is_silent = (stops == 0) | (ends_s - last > tolerance_s)
    starts = np.where(is_silent, stops, np.minimum(starts, stops))
    return np.stack([starts, stops], axis=1).astype(np.int64)


def cut_window(rows: NDArray[np.float32], start: int, stop: int, window: int) -> NDArray:
    """Return rows ``start`` to ``stop``, the echo as log(1 + x), zeros before a short window.

    Args:
        rows: Force, then non-negative echo samples, shape (N, C).
        start: First row.
        stop: Row after the last.
        window: Rows of the result.

    Returns:
        Shape (window, C), float32.
    """
    cut = np.zeros((window, rows.shape[1]), np.float32)
    chosen = rows[start:stop]
    if len(chosen):
        cut[-len(chosen) :, 0] = chosen[:, 0]
        # An echo spans three orders of magnitude; noise below 0 has no logarithm.
        cut[-len(chosen) :, 1:] = np.log1p(np.maximum(chosen[:, 1:], 0))
    return cut
