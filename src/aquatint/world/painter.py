"""Draws shapes given in metres into the three rasters of the ground: colour, ids, surfaces."""

import numpy as np
from PIL import Image, ImageDraw

from aquatint.world.arrays import Bytes, FloatArray
from aquatint.world.occupancy import HALF_EXTENT_M
from aquatint.world.palette import Rgb, Surface

GROUND_SIZE_PX = 896
PX_PER_M = GROUND_SIZE_PX / (2 * HALF_EXTENT_M)


class Painter:
    """A square of ground, north up, that remembers what it shows.

    Args:
        image: Colours of the bare ground, ``GROUND_SIZE_PX`` square; drawn into.
    """

    def __init__(self, image: Image.Image) -> None:
        size = (GROUND_SIZE_PX, GROUND_SIZE_PX)
        self.image = image
        # Eight bits hold all ids: the layout stops far below 255 objects.
        self.ids = Image.new("L", size, 0)
        self.surfaces = Image.new("L", size, int(Surface.GROUND))
        self._draw_image = ImageDraw.Draw(self.image)
        self._draw_ids = ImageDraw.Draw(self.ids)
        self._draw_surfaces = ImageDraw.Draw(self.surfaces)

    def fill(
        self,
        polygon: FloatArray,
        color: Rgb,
        surface: Surface | None = None,
        object_id: int | None = None,
    ) -> None:
        """Fill a polygon.

        Args:
            polygon: World x and y in metres, shape (N, 2).
            color: Its colour.
            surface: What it now shows; unchanged if not given.
            object_id: Object that it belongs to; unchanged if not given.
        """
        points = to_raster(polygon)
        self._draw_image.polygon(points, fill=color)
        if surface is not None:
            self._draw_surfaces.polygon(points, fill=int(surface))
        if object_id is not None:
            self._draw_ids.polygon(points, fill=object_id)

    def surfaces_at(self, points: FloatArray) -> Bytes:
        """Return what world points in metres, shape (N, 2), show so far, shape (N,)."""
        cells = np.array(to_raster(points), int).clip(0, GROUND_SIZE_PX - 1)
        return np.asarray(self.surfaces)[cells[:, 1], cells[:, 0]]

    def line(self, points: FloatArray, color: Rgb, width_m: float) -> None:
        """Draw a line on whatever is there, which stays what it is.

        Args:
            points: World x and y in metres, shape (N, 2).
            color: Its colour.
            width_m: Its width, at least one pixel.
        """
        width_px = max(1, round(width_m * PX_PER_M))
        self._draw_image.line(to_raster(points), fill=color, width=width_px)


def to_raster(points: FloatArray) -> list[tuple[float, ...]]:
    """Convert world points in metres, shape (N, 2), to pixels of the ground raster."""
    scaled = (np.asarray(points) * (1, -1) + HALF_EXTENT_M) * PX_PER_M
    return list(map(tuple, scaled.tolist()))


def colorize(values: Image.Image, table: Bytes) -> Image.Image:
    """Look the colour of each grey value up in a table of shape (256, 3)."""
    # Through a palette: five times faster than indexing the table with an array.
    indexed = values.copy()
    indexed.putpalette(table.tobytes())
    return indexed.convert("RGB")


def circle(center: FloatArray, radius_m: float, num_corners: int = 32) -> FloatArray:
    """Return a polygon close to a circle in world metres, shape (num_corners, 2)."""
    angles = np.arange(num_corners) * (2 * np.pi / num_corners)
    return np.asarray(center) + radius_m * np.stack([np.cos(angles), np.sin(angles)], -1)
