"""The sun's shadow map: what the light reaches, computed once per scene."""

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aquatint.world.arrays import FloatArray
from aquatint.world.meshes import Mesh
from aquatint.world.occupancy import HALF_EXTENT_M
from aquatint.world.raster import rasterize

SHADOW_SIZE_PX = 1024
# Turned to the sun the square of ground needs its diagonal.
_PX_PER_M = SHADOW_SIZE_PX / (2 * HALF_EXTENT_M * 1.08)
# The rasteriser wants positive nearness; heights along the light stay far below this.
_OFFSET_M = 400.0
_BIAS_M = 0.45
# A point is lit by as many of four places around it as the light reaches.
_TAPS_PX = (-0.35, 0.35)


@dataclass(frozen=True, eq=False)
class ShadowMap:
    """Distance along the light at which it stops, seen from the sun.

    Args:
        sun: Unit vector towards the sun, shape (3,).
        axes: Unit vectors of the map's columns, rows and distance, shape (3, 3).
        stops_m: Distance of the nearest surface plus an offset, 0 where nothing stands.
    """

    sun: FloatArray
    axes: FloatArray
    stops_m: FloatArray

    def lit_fraction(self, points: FloatArray) -> FloatArray:
        """Return how much sun reaches world points of shape (3, N), from 0 to 1, shape (N,)."""
        seen = self.axes @ points
        distance = seen[2] + np.float32(_OFFSET_M + _BIAS_M)
        places = seen[:2] * _PX_PER_M + SHADOW_SIZE_PX / 2
        # Columns, and where in the flattened map their rows begin, on either side of the points.
        columns, rows = zip(*(_cells(places + np.float32(tap)) for tap in _TAPS_PX), strict=True)
        starts = [row * SHADOW_SIZE_PX for row in rows]
        flat = self.stops_m.ravel()
        num_lit = np.zeros(len(distance), np.uint8)
        for start, column in itertools.product(starts, columns):
            num_lit += flat.take(start + column) <= distance
        return num_lit.astype(np.float32) / np.float32(len(_TAPS_PX) ** 2)


def _cells(places: FloatArray) -> NDArray[np.int32]:
    cells = places.astype(np.int32)
    return cells.clip(0, SHADOW_SIZE_PX - 1, out=cells)


def cast_shadows(mesh: Mesh, sun: FloatArray) -> ShadowMap:
    """Render the mesh as the sun sees it.

    Args:
        mesh: All solids of the scene.
        sun: Unit vector towards the sun, shape (3,).
    """
    across = np.cross(sun, np.array([0, 0, 1], np.float32))
    across /= np.linalg.norm(across)
    axes = np.stack([across, np.cross(across, sun), sun]).astype(np.float32)
    is_lit = mesh.normals @ sun > 0
    corners = mesh.vertices[is_lit] @ axes.T
    corners[:, :, :2] = corners[:, :, :2] * _PX_PER_M + SHADOW_SIZE_PX / 2
    corners[:, :, 2] += _OFFSET_M
    return ShadowMap(sun, axes, rasterize(corners, SHADOW_SIZE_PX).nearness)
