"""A vectorised z-buffer: triangles in, the nearest triangle of every pixel out."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aquatint.world.arrays import FloatArray

BUCKET_SIDES_PX = (4, 8, 16, 32, 64, 128, 256)
MAX_SAMPLES = 400_000
FEW_SAMPLES = 8_000
MIN_AREA_PX2 = 1e-6


@dataclass(frozen=True, eq=False)
class Buffers:
    """What a rasterisation leaves of every pixel.

    Args:
        keys: Nearness, and below it the triangle, as one integer each, shape (S, S).
    """

    keys: NDArray[np.int64]

    # Taken apart when they are asked for: who casts shadows does not ask for triangles.
    @cached_property
    def nearness(self) -> FloatArray:
        """Nearness of the nearest triangle, 0 where nothing is, shape (S, S)."""
        return np.ascontiguousarray(self._halves[..., 1]).view(np.float32)

    @cached_property
    def triangles(self) -> NDArray[np.int32]:
        """Index of the nearest triangle, -1 where nothing is, shape (S, S)."""
        return self._halves[..., 0] - 1

    @property
    def _halves(self) -> NDArray[np.int32]:
        halves = self.keys.astype("<i8", copy=False).view("<i4").reshape(*self.keys.shape, 2)
        return halves.astype(np.int32, copy=False)


class _Planes(NamedTuple):
    """Two barycentric weights and the nearness as linear functions of x and y."""

    dx: FloatArray
    dy: FloatArray
    offset: FloatArray


def rasterize(corners: FloatArray, size_px: int) -> Buffers:
    """Find the nearest triangle at every pixel centre.

    Args:
        corners: x and y in pixels and a positive nearness that is linear over the image (such as
            1 / depth), shape (T, 3, 3). The greatest nearness wins.
        size_px: Side of the square image.

    Returns:
        Nearness and index of the triangle, counted from 0, both of shape (size_px, size_px).
    """
    corners = corners.astype(np.float32, copy=False)
    # Pairwise, not min(1) and all(1): a reduction of three numbers costs as much as one of many.
    first, second, third = corners[:, 0], corners[:, 1], corners[:, 2]
    is_near = (first[:, 2] > 0) & (second[:, 2] > 0) & (third[:, 2] > 0)
    bounds = []
    for axis in (0, 1):
        low = np.minimum(np.minimum(first[:, axis], second[:, axis]), third[:, axis])
        high = np.maximum(np.maximum(first[:, axis], second[:, axis]), third[:, axis])
        low = np.minimum(np.maximum(np.ceil(low - 0.5), 0), size_px)
        high = np.minimum(np.maximum(np.floor(high + 0.5), 0), size_px)
        is_near &= high > low
        bounds.append((low, high))
    # One integer holds nearness and index: the bits of a positive float sort like the float.
    keys = np.zeros(size_px * size_px, np.int64)
    # Most triangles of a scene lie outside of a view.
    seen = np.nonzero(is_near)[0]
    if len(seen):
        lows = np.stack([low[seen] for low, _ in bounds], axis=1).astype(np.int32)
        extent = np.maximum(*((high - low)[seen] for low, high in bounds)).astype(np.int32)
        _draw_all(keys, corners[seen], seen, lows, extent)
    return Buffers(keys.reshape(size_px, size_px))


def _draw_all(
    keys: NDArray[np.int64],
    corners: FloatArray,
    triangles: NDArray[np.intp],
    lows: NDArray[np.int32],
    extent: NDArray[np.int32],
) -> None:
    planes, area = _make_planes(corners)
    is_drawn = np.abs(area) > MIN_AREA_PX2
    smallest = 0
    sides = (*BUCKET_SIDES_PX, int(np.sqrt(len(keys))))
    for side, larger in zip(sides, (*sides[1:], None), strict=True):
        bucket = np.nonzero(is_drawn & (extent > smallest) & (extent <= side))[0]
        # Few are drawn with the next larger ones: that costs less than another call.
        if larger is not None and len(bucket) * larger * larger < FEW_SAMPLES:
            continue
        smallest = side
        step = max(1, MAX_SAMPLES // (side * side))
        for start in range(0, len(bucket), step):
            chunk = bucket[start : start + step]
            side_px = int(extent[chunk].max())
            parts = _Planes(*(part[chunk] for part in planes))
            _draw(keys, triangles[chunk], lows[chunk], parts, side_px)


def _make_planes(corners: FloatArray) -> tuple[_Planes, FloatArray]:
    x, y, near = (corners[:, :, axis] for axis in range(3))
    area = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0])
    safe = np.where(np.abs(area) > MIN_AREA_PX2, area, 1.0)
    dx = np.empty((len(corners), 3), np.float32)
    dy = np.empty_like(dx)
    offset = np.empty_like(dx)
    for column, (start, end) in enumerate(((1, 2), (2, 0))):
        dx[:, column] = (y[:, start] - y[:, end]) / safe
        dy[:, column] = (x[:, end] - x[:, start]) / safe
        offset[:, column] = -(dx[:, column] * x[:, start] + dy[:, column] * y[:, start])
    for part in (dx, dy, offset):
        first, second = part[:, 0], part[:, 1]
        part[:, 2] = first * (near[:, 0] - near[:, 2]) + second * (near[:, 1] - near[:, 2])
    offset[:, 2] += near[:, 2]
    return _Planes(dx, dy, offset), area


def _draw(
    keys: NDArray[np.int64],
    triangles: NDArray[np.intp],
    low: NDArray[np.int32],
    planes: _Planes,
    side_px: int,
) -> None:
    size_px = int(np.sqrt(len(keys)))
    grid = np.arange(side_px, dtype=np.int32)
    columns = low[:, :1] + grid
    rows = low[:, 1:] + grid
    x = columns.astype(np.float32) + np.float32(0.5)
    y = rows.astype(np.float32) + np.float32(0.5)

    def evaluate(index: int) -> tuple[FloatArray, FloatArray]:
        along_x = planes.dx[:, index, None] * x
        along_y = planes.dy[:, index, None] * y + planes.offset[:, index, None]
        return along_x, along_y

    first, second = (
        along_x[:, None, :] + along_y[:, :, None] for along_x, along_y in map(evaluate, (0, 1))
    )
    is_inside = (first >= 0) & (second >= 0) & (first + second <= 1)
    is_inside &= (columns < size_px)[:, None, :] & (rows < size_px)[:, :, None]
    which, row, column = np.nonzero(is_inside)
    along_x, along_y = evaluate(2)
    near = along_x[which, column] + along_y[which, row]
    pixels = rows[which, row].astype(np.int64) * size_px + columns[which, column]
    bits = np.maximum(near, np.float32(0)).view(np.int32).astype(np.int64)
    np.maximum.at(keys, pixels, (bits << 32) | (triangles[which] + 1))
