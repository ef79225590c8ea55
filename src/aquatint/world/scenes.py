"""Scenes: layout, mesh, ground and shadows, put together once and seen from anywhere."""

from dataclasses import dataclass

import numpy as np

from aquatint.world.buildings import build_parts
from aquatint.world.ground import Ground, paint_ground
from aquatint.world.layout import Layout, sample_layout
from aquatint.world.meshes import Mesh, MeshBuilder, Part
from aquatint.world.network import Network
from aquatint.world.objects import (
    FLAT_KINDS,
    UNBOXED_KINDS,
    VEHICLES,
    SceneObject,
)
from aquatint.world.palette import CHAR, RUBBLE, GroundKind, Material
from aquatint.world.shadows import ShadowMap, cast_shadows
from aquatint.world.trees import crown_colors, crown_triangles, heap_triangles

__all__ = ["CONDITIONS", "Scene", "SceneObject", "make_scene"]


CONDITIONS = ("intact", "damaged", "flooded", "burnt")
MIN_SUN_RAD = 0.62
MAX_SUN_RAD = 1.15
NUM_HEAPS_PER_BUILDING = 4


@dataclass(frozen=True, eq=False)
class Scene:
    """A place with everything that rendering needs, computed once.

    Args:
        seed: Seed it was drawn from.
        condition: One of ``CONDITIONS``.
        objects: All objects; object i has the id i + 1.
        ground_kind: Kind of the open ground.
        network: Roads, river and railway.
        mesh: All solids.
        ground: Rasters of the ground.
        shadows: Direction of the sun and what it reaches.
    """

    seed: int
    condition: str
    objects: tuple[SceneObject, ...]
    ground_kind: GroundKind
    network: Network
    mesh: Mesh
    ground: Ground
    shadows: ShadowMap


def make_scene(seed: int, condition: str = "intact") -> Scene:
    """Draw a scene; the same seed gives the same layout under every condition.

    Args:
        seed: Any number from 0.
        condition: One of ``CONDITIONS``.

    Raises:
        ValueError: The condition is unknown or the seed is negative.
    """
    if condition not in CONDITIONS:
        raise ValueError(f"condition must be one of {', '.join(CONDITIONS)}, not {condition!r}.")
    if seed < 0:
        raise ValueError(f"seed must be at least 0, not {seed}.")
    return build_scene(sample_layout(np.random.default_rng([seed, 0])), condition, seed)


def build_scene(layout: Layout, condition: str, seed: int) -> Scene:
    """Give a layout its ground, its solids and its shadows.

    Args:
        layout: What lies and stands where.
        condition: One of ``CONDITIONS``.
        seed: Seed of textures, shapes and sun.
    """
    ground = paint_ground(layout, condition, seed)
    mesh = _build_mesh(layout, condition, seed)
    rng = np.random.default_rng([seed, 3])
    elevation = rng.uniform(MIN_SUN_RAD, MAX_SUN_RAD)
    azimuth = rng.uniform(0, 2 * np.pi)
    flat = np.cos(elevation)
    sun = np.array([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)])
    return Scene(
        seed=seed,
        condition=condition,
        objects=layout.objects,
        ground_kind=layout.ground,
        network=layout.network,
        mesh=mesh,
        ground=ground,
        shadows=cast_shadows(mesh, sun.astype(np.float32)),
    )


def _build_mesh(layout: Layout, condition: str, seed: int) -> Mesh:
    rng = np.random.default_rng([seed, 2])
    builder = MeshBuilder()
    for index, scene_object in enumerate(layout.objects):
        parts = build_parts(scene_object, rng)
        origin = (scene_object.x_m, scene_object.y_m)
        builder.add(parts, index + 1, origin, scene_object.yaw_rad)
    _add_trees(builder, layout, condition, rng)
    if condition == "damaged":
        _add_heaps(builder, layout, np.random.default_rng([seed, 4]))
    return builder.build()


def _add_trees(
    builder: MeshBuilder, layout: Layout, condition: str, rng: np.random.Generator
) -> None:
    trees = layout.trees
    if len(trees.radii) == 0:
        return
    triangles = crown_triangles(trees, rng)
    leaves = np.array(layout.ground.leaves, np.float32)
    colors = crown_colors(trees, leaves, triangles.shape[1], rng)
    if condition == "burnt":
        colors = colors * 0.2 + np.array(CHAR, np.float32) * 0.6
    for owner in np.unique(trees.object_ids):
        mine = trees.object_ids == owner
        skin = triangles[mine].reshape(-1, 3, 3)
        part = Part(skin, colors[mine].reshape(-1, 3), Material.LEAVES)
        builder.add([part], int(owner), (0.0, 0.0), 0.0)


def _add_heaps(builder: MeshBuilder, layout: Layout, rng: np.random.Generator) -> None:
    spots = []
    for scene_object in layout.objects:
        if scene_object.kind in (*FLAT_KINDS, *UNBOXED_KINDS, *VEHICLES):
            continue
        angles = rng.uniform(0, 2 * np.pi, NUM_HEAPS_PER_BUILDING)
        rim = np.stack([np.cos(angles) * 0.58, np.sin(angles) * 0.58], -1)
        rim *= (scene_object.width_m, scene_object.depth_m)
        spots.append(scene_object.to_world(rim))
    if not spots:
        return
    positions = np.concatenate(spots)
    radii = rng.uniform(1.4, 3.4, len(positions))
    skin = heap_triangles(positions, radii, radii * rng.uniform(0.35, 0.7, len(radii)), rng)
    shades = rng.uniform(0.6, 1.15, (*skin.shape[:2], 1)) * np.array(RUBBLE)
    part = Part(skin.reshape(-1, 3, 3), shades.reshape(-1, 3), Material.RUBBLE)
    builder.add([part], 0, (0.0, 0.0), 0.0)
