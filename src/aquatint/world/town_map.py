"""Where an agent may fly over a scene, and the shortest way to a place."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra

from aquatint.world.arrays import FloatArray
from aquatint.world.raster import rasterize
from aquatint.world.scenes import Scene

HALF_EXTENT_M = 70.0
CELL_M = 1.0
_SIZE = int(2 * HALF_EXTENT_M / CELL_M)
# Rows and columns of a step, and of the cells that it passes; its mirror image is added. With steps
# like a knight's, a shortest way is at most 2.7 % longer than the straight one.
_STEPS: tuple[tuple[tuple[int, int], tuple[tuple[int, int], ...]], ...] = (
    ((0, 1), ()),
    ((1, 0), ()),
    ((1, 1), ((0, 1), (1, 0))),
    ((1, 2), ((0, 1), (1, 1))),
    ((2, 1), ((1, 0), (1, 1))),
)


class TownMap:
    """The middle of a scene in cells of one metre, for an agent at one height.

    Args:
        scene: The scene.
        altitude_m: Height of the agent over the ground.
        clearance_m: Least height above whatever it flies over.
        radius_m: Least distance from what is too high, a whole number of cells.
    """

    def __init__(
        self, scene: Scene, altitude_m: float, clearance_m: float, radius_m: float
    ) -> None:
        self.heights_m = _height_map(scene)
        is_high = self.heights_m > altitude_m - clearance_m
        reach = np.ones((3, 3), bool)
        self.is_open = ~binary_dilation(is_high, reach, iterations=max(1, round(radius_m / CELL_M)))

    def is_free(self, points: FloatArray) -> NDArray[np.bool_]:
        """Whether an agent may be at points of shape (N, 2); outside of the map it may not."""
        cells = np.floor((points + HALF_EXTENT_M) / CELL_M).astype(int)
        is_inside = ((cells >= 0) & (cells < _SIZE)).all(1)
        inside = cells.clip(0, _SIZE - 1)
        return is_inside & self.is_open[inside[:, 1], inside[:, 0]]

    def is_way_free(self, start: FloatArray, end: FloatArray) -> bool:
        """Whether the straight way between two points of shape (2,) is free."""
        num_points = int(np.ceil(2 * np.linalg.norm(end - start) / CELL_M)) + 1
        shares = np.linspace(0, 1, num_points + 1)[:, None]
        return bool(self.is_free(start + (end - start) * shares).all())

    @cached_property
    def _graph(self) -> coo_matrix:
        number = np.arange(_SIZE * _SIZE).reshape(_SIZE, _SIZE)
        sources, targets, lengths = [], [], []
        for (down, right), passed in _STEPS:
            for side in (1, -1) if right and down else (1,):
                cells = [(d, side * r) for d, r in ((0, 0), (down, right), *passed)]
                is_free = np.logical_and.reduce([self._shifted(*cell, down, right, side)
                                                 for cell in cells])  # fmt: skip
                rows, columns = np.nonzero(is_free)
                columns = columns + (right if side < 0 else 0)
                sources.append(number[rows, columns])
                targets.append(number[rows + down, columns + side * right])
                lengths.append(np.full(len(rows), CELL_M * np.hypot(down, right)))
        edges = (np.concatenate(sources), np.concatenate(targets))
        return coo_matrix((np.concatenate(lengths), edges), (number.size, number.size)).tocsr()

    def _shifted(
        self, down: int, right: int, most_down: int, most_right: int, side: int
    ) -> NDArray[np.bool_]:
        """Whether the cell a step away is open, for all cells from which a whole step fits."""
        first = right + (most_right if side < 0 else 0)
        return self.is_open[down : _SIZE - most_down + down, first : _SIZE - most_right + first]

    def distances_to(self, goal: FloatArray) -> FloatArray:
        """Return the length of the shortest way to a point from every cell, inf where none is.

        Returns:
            Metres, shape (S, S), by row (y) and column (x).
        """
        return dijkstra(self._graph, directed=False, indices=_cell(goal)).reshape(_SIZE, _SIZE)

    def way(self, start: FloatArray, goal: FloatArray) -> FloatArray | None:
        """Return the middles of the cells of a shortest way, both ends included.

        Args:
            start: Where it begins, shape (2,).
            goal: Where it ends, shape (2,).

        Returns:
            Shape (N, 2), from start to goal; None where there is none.
        """
        found, before = dijkstra(
            self._graph, directed=False, indices=_cell(goal), return_predecessors=True
        )
        cell = _cell(start)
        if not np.isfinite(found[cell]):
            return None
        cells = [cell]
        while before[cells[-1]] >= 0:
            cells.append(int(before[cells[-1]]))
        rows, columns = np.divmod(np.array(cells), _SIZE)
        return (np.stack([columns, rows], axis=1) + 0.5) * CELL_M - HALF_EXTENT_M

    @staticmethod
    def at(values: FloatArray, position: FloatArray) -> float:
        """Return a map's value around a place, between the cells' middles where all are known."""
        place = (position + HALF_EXTENT_M) / CELL_M - 0.5
        low = np.floor(place).astype(int).clip(0, _SIZE - 2)
        share = (place - low).clip(0, 1)
        window = values[low[1] : low[1] + 2, low[0] : low[0] + 2]
        if not np.isfinite(window).all():
            cell = np.round(place).astype(int).clip(0, _SIZE - 1)
            return float(values[cell[1], cell[0]])
        weights = np.outer([1 - share[1], share[1]], [1 - share[0], share[0]])
        return float((weights * window).sum())


def _cell(point: FloatArray) -> int:
    column, row = np.floor((np.asarray(point) + HALF_EXTENT_M) / CELL_M).astype(int)
    return int(row * _SIZE + column)


def _height_map(scene: Scene) -> FloatArray:
    """Height of the highest surface over every cell, in metres, shape (S, S) by y and x."""
    corners = scene.mesh.vertices.astype(np.float32).copy()
    corners[..., :2] = (corners[..., :2] + HALF_EXTENT_M) / CELL_M
    # The rasteriser wants what is nearest as the largest positive number: here the height.
    corners[..., 2] = np.maximum(corners[..., 2], 0) + 1
    buffers = rasterize(corners, _SIZE)
    return np.where(buffers.triangles >= 0, buffers.nearness - 1, 0.0)
