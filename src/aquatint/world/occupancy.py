"""A map of the taken ground, so that nothing stands on top of another."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from aquatint.world.arrays import FloatArray

HALF_EXTENT_M = 164.0


class Occupancy:
    """The ground in cells of one metre, none of them taken at first."""

    def __init__(self) -> None:
        self._size = int(2 * HALF_EXTENT_M)
        self._taken = np.zeros((self._size, self._size), bool)

    def is_free(self, polygon: FloatArray) -> bool:
        """Whether no taken cell lies in the polygon, given in world metres, shape (N, 2)."""
        # Most candidates fail at a corner or in the middle, which is ten times cheaper to see.
        middle = np.add.reduce(polygon, keepdims=True) / len(polygon)
        if not self.is_free_at(np.concatenate([polygon, middle])).all():
            return False
        window, mask = self._mask(polygon)
        return not bool((self._taken[window] & mask).any())

    def take(self, polygon: FloatArray) -> None:
        """Mark the cells of the polygon, given in world metres, shape (N, 2), as taken."""
        window, mask = self._mask(polygon)
        self._taken[window] |= mask

    def is_free_at(self, points: FloatArray) -> NDArray[np.bool_]:
        """Whether the cells of world points of shape (N, 2) are free, shape (N,)."""
        cells = (points + HALF_EXTENT_M).astype(int)
        cells = np.minimum(np.maximum(cells, 0), self._size - 1)
        return ~self._taken[cells[:, 1], cells[:, 0]]

    def _mask(self, polygon: FloatArray) -> tuple[tuple[slice, slice], NDArray[np.bool_]]:
        cells = polygon + HALF_EXTENT_M
        low = np.minimum(np.maximum(np.floor(cells.min(0)), 0), self._size - 1).astype(int)
        high = np.minimum(np.maximum(np.ceil(cells.max(0)), 1), self._size).astype(int)
        width, height = np.maximum(high - low, 1).tolist()
        image = Image.new("1", (width, height))
        ImageDraw.Draw(image).polygon((cells - low).ravel().tolist(), fill=1)
        window = (slice(low[1], low[1] + height), slice(low[0], low[0] + width))
        return window, np.asarray(image)
