"""Where an agent may fly over a scene, and the shortest way to a place."""

from __future__ import annotations

import math
from functools import cached_property, lru_cache

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
# Maps of distances that a town keeps: many flights lead to the same few places.
_MAX_KEPT = 4
# Rows and columns of a step, and of the cells that it passes; its mirror image is added. With steps
# like a knight's, a shortest way is at most 2.7 % longer than the straight one.
_STEPS: tuple[tuple[tuple[int, int], tuple[tuple[int, int], ...]], ...] = (
    ((0, 1), ()),
    ((1, 0), ()),
    ((1, 1), ((0, 1), (1, 0))),
    ((1, 2), ((0, 1), (1, 1))),
    ((2, 1), ((1, 0), (1, 1))),
)
# A cell, and those to its right, above it and above that one, in a flattened map.
_WINDOW = np.array([0, 1, _SIZE, _SIZE + 1])


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
        # Closed behind its end, and before its beginning, where an index of -1 finds the end.
        self._is_open_inside = np.pad(self.is_open, (0, 1))
        self._distances: dict[int, FloatArray] = {}

    def is_free(self, points: FloatArray) -> NDArray[np.bool_]:
        """Whether an agent may be at points of shape (..., 2); outside of the map it may not."""
        cells = np.floor((points + HALF_EXTENT_M) / CELL_M).astype(int)
        inside = np.minimum(np.maximum(cells, -1), _SIZE)
        return self._is_open_inside[inside[..., 1], inside[..., 0]]

    def is_way_free(self, start: FloatArray, end: FloatArray) -> bool:
        """Whether the straight way between two points of shape (2,) is free."""
        return bool(self.are_ways_free(start, end[None])[0])

    def are_ways_free(self, start: FloatArray, ends: FloatArray) -> NDArray[np.bool_]:
        """Whether the straight ways from a point of shape (2,) to others (N, 2) are free, (N,)."""
        ways = ends - start
        # By the same product as a norm of a single way: another one may round differently.
        counts = [math.ceil(2 * math.sqrt(way.dot(way)) / CELL_M) + 1 for way in ways]
        is_free = np.empty(len(ways), bool)
        for count in set(counts):
            same = [place for place, other in enumerate(counts) if other == count]
            points = start + ways[same, None] * _shares(count + 1)
            is_free[same] = self.is_free(points).all(1)
        return is_free

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
            Metres, shape (S, S), by row (y) and column (x), read-only.
        """
        cell = _cell(goal)
        if cell not in self._distances:
            if len(self._distances) == _MAX_KEPT:
                self._distances.pop(next(iter(self._distances)))
            found = dijkstra(self._graph, directed=False, indices=cell).reshape(_SIZE, _SIZE)
            found.setflags(write=False)
            self._distances[cell] = found
        return self._distances[cell]

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
    def at(values: FloatArray, positions: FloatArray) -> FloatArray:
        """Return a map's values around places, between the cells' middles where all are known.

        Args:
            values: A value for each cell, shape (S, S).
            positions: World x and y in metres, shape (N, 2).

        Returns:
            Shape (N,).
        """
        places = (positions + HALF_EXTENT_M) / CELL_M - 0.5
        low = np.minimum(np.maximum(np.floor(places).astype(int), 0), _SIZE - 2)
        right, up = np.minimum(np.maximum(places - low, 0), 1).T
        windows = values.ravel()[(low[:, 1] * _SIZE + low[:, 0])[:, None] + _WINDOW]
        is_known = np.isfinite(windows).all(1)
        left, down = 1 - right, 1 - up
        # Nothing known times nothing of it is no number; it is replaced below.
        with np.errstate(invalid="ignore"):
            parts = np.stack([down * left, down * right, up * left, up * right], -1) * windows
        found = parts[:, 0] + parts[:, 1] + parts[:, 2] + parts[:, 3]
        if not is_known.all():
            nearest = np.round(places[~is_known]).astype(int).clip(0, _SIZE - 1)
            found[~is_known] = values[nearest[:, 1], nearest[:, 0]]
        return found


@lru_cache(maxsize=256)
def _shares(count: int) -> FloatArray:
    """Even shares of a way, from 0 to 1, shape (count, 1)."""
    return np.linspace(0, 1, count)[:, None]


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
