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


class Samples(NamedTuple):
    """Visible points of an image, one per sample, N of them.

    Args:
        points: World positions in metres, shape (N, 3).
        triangles: Triangle of each, or -1 on the ground, shape (N,).
        solid: Indices of the samples that show a triangle, shape (M,).
        cells: Pixel of the flattened ground raster below each, shape (N,).
    """

    points: FloatArray
    triangles: NDArray[np.intp]
    solid: NDArray[np.intp]
    cells: NDArray[np.int32]


def shade(scene: Scene, samples: Samples, depth_m: FloatArray) -> FloatArray:
    """Return the colour of every sample.

    Args:
        scene: The scene.
        samples: What is visible.
        depth_m: Depth of every sample, shape (N,).

    Returns:
        RGB from 0 to about 255, shape (N, 3).
    """
    bank = noise_bank()
    points, solid = samples.points, samples.solid
    # By channel: an operation on three numbers at a time costs as much as on a hundred.
    colors = scene.ground.rgb.reshape(-1, 3)[samples.cells].T.astype(np.float32, order="C")
    grain = sample_tile(bank.grain, points[:, 0], points[:, 1], 3.1)
    strength = np.full(len(points), _GROUND_GRAIN, np.float32)
    normals = np.zeros((len(points), 3), np.float32)
    normals[:, 2] = 1
    if len(solid):
        triangles = samples.triangles[solid]
        normals[solid] = scene.mesh.normals[triangles]
        colors[:, solid] = _texture(scene, points[solid], triangles).T
        strength[solid] = _SOLID_GRAIN
    colors *= 1 + strength * grain
    sun = scene.shadows.sun
    facing = np.maximum(normals @ sun, 0)
    lit = scene.shadows.lit_fraction(points + normals * np.float32(0.2)) * facing
    colors *= (AMBIENT * _SKY_TINT)[:, None] + (SUNLIGHT * lit) * _SUN_TINT[:, None]
    haze = np.clip((depth_m - 70) / 1000, 0, 0.22)
    colors += (np.array(HAZE, np.float32)[:, None] - colors) * haze
    return np.ascontiguousarray(colors.T)


def _texture(scene: Scene, points: FloatArray, triangles: NDArray[np.intp]) -> FloatArray:
    mesh = scene.mesh
    colors = mesh.colors[triangles]
    materials = mesh.materials[triangles]
    owners = mesh.object_ids[triangles]
    yaws = np.array([0.0, *(item.yaw_rad for item in scene.objects)], np.float32)[owners]
    cosine, sine = np.cos(yaws), np.sin(yaws)
    along = points[:, 0] * cosine + points[:, 1] * sine
    across = points[:, 1] * cosine - points[:, 0] * sine
    normals = mesh.normals[triangles]
    _paint_windows(
        colors,
        materials,
        np.where(_faces_along(normals, cosine, sine), across, along),
        points[:, 2],
    )
    for material, along_m, period_m, depth in (
        (Material.TILED_ROOF, points[:, 2], 0.55, 0.1),
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
    noise = sample_tile(noise_bank().fine, points[roofs, 0], points[roofs, 1], 2.2)
    rim = np.abs(noise - level) < 0.1
    colors[roofs[rim]] *= np.float32(0.62)
    holes = roofs[noise > level]
    colors[holes] = np.array(ROOF_HOLE, np.float32) + 7 * noise[noise > level][:, None]
