"""Turns visible surface points into colours: texture, damage, sun, sky and haze."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aquatint.world.arrays import FloatArray
from aquatint.world.noise import noise_bank, sample_tile
from aquatint.world.palette import HAZE, ROOF_HOLE, ROOF_MATERIALS, WINDOW, Material
from aquatint.world.scenes import Scene

AMBIENT = 0.44
SUNLIGHT = 0.78
_SUN_TINT = np.array([1.06, 1.02, 0.94], np.float32)
_SKY_TINT = np.array([0.84, 0.94, 1.12], np.float32)
_HOLE_LEVELS = {"damaged": 0.45, "burnt": 0.55}
_GROUND_GRAIN = 0.05
_SOLID_GRAIN = 0.04
_HAZE_FROM_M = 70
# Over the surface, so that nothing shades itself.
_LIFT_M = np.float32(0.2)


class Hits(NamedTuple):
    """What the rays of an image hit, N of them.

    Args:
        points: World x, y and z in metres, shape (3, N).
        depth_m: Depth along the viewing direction, shape (N,).
        triangles: Triangle of each solid sample, shape (M,).
        solid: Indices of the rays that hit a triangle, in their order, shape (M,).
        cells: Pixel of the flattened ground raster below each, shape (N,).
    """

    points: FloatArray
    depth_m: FloatArray
    triangles: NDArray[np.intp]
    solid: NDArray[np.intp]
    cells: NDArray[np.int32]


def shade(scene: Scene, hits: Hits) -> FloatArray:
    """Return the colour of everything hit.

    Args:
        scene: The scene.
        hits: What is visible.

    Returns:
        RGB from 0 to about 255, shape (3, N).
    """
    points, solid, triangles = hits.points, hits.solid, hits.triangles
    sun = scene.shadows.sun
    # By channel: an operation on three numbers at a time costs as much as on a hundred.
    colors = scene.ground.rgb.reshape(-1, 3).take(hits.cells, axis=0).T.astype(np.float32, "C")
    grain = sample_tile(noise_bank().grain, points[0], points[1], 3.1)
    lifted = points.copy()
    lifted[2] += _LIFT_M
    if len(solid):
        normals = scene.mesh.normals[triangles]
        colors[:, solid] = _texture(scene, points[:, solid], triangles).T
        lifted[:, solid] = points[:, solid] + normals.T * _LIFT_M
    lit = scene.shadows.lit_fraction(lifted)
    solid_grain, solid_lit = grain[solid], lit[solid]
    grain *= _GROUND_GRAIN
    lit *= max(sun[2], 0)
    if len(solid):
        grain[solid] = _SOLID_GRAIN * solid_grain
        lit[solid] = solid_lit * np.maximum(normals @ sun, 0)
    grain += 1
    lit *= SUNLIGHT
    for color, sky, tint in zip(colors, AMBIENT * _SKY_TINT, _SUN_TINT, strict=True):
        color *= grain
        color *= sky + lit * tint
    _add_haze(colors, hits.depth_m)
    return colors


def _add_haze(colors: FloatArray, depth_m: FloatArray) -> None:
    far = np.nonzero(depth_m > _HAZE_FROM_M)[0]
    if not len(far):
        return
    # Not one by one: most of what lies between the first and the last is as far.
    part = slice(far[0], far[-1] + 1)
    haze = np.minimum(np.maximum((depth_m[part] - _HAZE_FROM_M) / 1000, 0), 0.22)
    colors[:, part] += (np.array(HAZE, np.float32)[:, None] - colors[:, part]) * haze


def _texture(scene: Scene, points: FloatArray, triangles: NDArray[np.intp]) -> FloatArray:
    mesh = scene.mesh
    colors = mesh.colors[triangles]
    materials = mesh.materials[triangles]
    owners = mesh.object_ids[triangles]
    yaws = np.array([0.0, *(item.yaw_rad for item in scene.objects)], np.float32)[owners]
    cosine, sine = np.cos(yaws), np.sin(yaws)
    along = points[0] * cosine + points[1] * sine
    across = points[1] * cosine - points[0] * sine
    normals = mesh.normals[triangles]
    _paint_windows(
        colors,
        materials,
        np.where(_faces_along(normals, cosine, sine), across, along),
        points[2],
    )
    for material, along_m, period_m, depth in (
        (Material.TILED_ROOF, points[2], 0.55, 0.1),
        (Material.METAL_ROOF, along, 1.6, 0.08),
        (Material.GLASS_ROOF, along, 3.2, 0.12),
    ):
        striped = np.nonzero(materials == material)[0]
        if len(striped):
            colors[striped] *= _stripes(along_m[striped], period_m, depth)[:, None]
    level = _HOLE_LEVELS.get(scene.condition)
    if level is not None:
        _break_roofs(colors, materials, points, level)
    return colors


def _faces_along(normals: FloatArray, cosine: FloatArray, sine: FloatArray) -> NDArray[np.bool_]:
    return np.abs(normals[:, 0] * cosine + normals[:, 1] * sine) > 0.7


def _paint_windows(
    colors: FloatArray, materials: NDArray[np.uint8], along: FloatArray, height: FloatArray
) -> None:
    wall = np.nonzero(materials == Material.WALL)[0]
    column = np.mod(along[wall], 3.2)
    row = np.mod(height[wall], 3.2)
    is_window = (column > 0.8) & (column < 2.4) & (row > 1.0) & (row < 2.6)
    colors[wall[is_window]] = np.array(WINDOW, np.float32)


def _stripes(values: FloatArray, period_m: float, depth: float) -> FloatArray:
    return np.where(np.mod(values, period_m) < period_m / 2, 1 - depth, 1 + depth * 0.4)


def _break_roofs(
    colors: FloatArray, materials: NDArray[np.uint8], points: FloatArray, level: float
) -> None:
    roofs = np.nonzero(np.isin(materials, ROOF_MATERIALS))[0]
    noise = sample_tile(noise_bank().fine, points[0, roofs], points[1, roofs], 2.2)
    rim = np.abs(noise - level) < 0.1
    colors[roofs[rim]] *= np.float32(0.62)
    holes = roofs[noise > level]
    colors[holes] = np.array(ROOF_HOLE, np.float32) + 7 * noise[noise > level][:, None]
