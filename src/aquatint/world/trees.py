"""Crowns of trees and heaps of rubble: rough solids of revolution, many at a time."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aquatint.world.arrays import FloatArray
from aquatint.world.meshes import join_rings

_NUM_SIDES = 7
_BROADLEAF = np.array([[0.62, 0.22], [1.0, 0.52], [0.68, 0.84], [0.0, 1.0]], np.float32)
_CONIFER = np.array([[1.0, 0.1], [0.62, 0.42], [0.3, 0.75], [0.0, 1.0]], np.float32)
_HEAP = np.array([[1.0, 0.0], [0.72, 0.45], [0.36, 0.85], [0.0, 1.0]], np.float32)


@dataclass(frozen=True, eq=False)
class TreeArrays:
    """All trees of a scene, one entry per tree.

    Args:
        positions: World x and y in metres, shape (N, 2).
        radii: Radius of the crown in metres, shape (N,).
        heights: Height in metres, shape (N,).
        is_conifer: Whether the crown is a cone, shape (N,).
        object_ids: Object that the tree belongs to, counted from 1, shape (N,).
    """

    positions: FloatArray
    radii: FloatArray
    heights: FloatArray
    is_conifer: NDArray[np.bool_]
    object_ids: NDArray[np.int32]


def crown_triangles(trees: TreeArrays, rng: np.random.Generator) -> FloatArray:
    """Return the crowns in the world, shape (N, 42, 3, 3)."""
    profiles = np.where(trees.is_conifer[:, None, None], _CONIFER, _BROADLEAF)
    return _rough_solids(trees.positions, profiles, trees.radii, trees.heights, rng)


def heap_triangles(
    positions: FloatArray, radii: FloatArray, heights: FloatArray, rng: np.random.Generator
) -> FloatArray:
    """Return heaps of rubble in the world, shape (N, 42, 3, 3)."""
    profiles = np.broadcast_to(_HEAP, (len(positions), *_HEAP.shape))
    return _rough_solids(positions, profiles, radii, heights, rng)


def crown_colors(
    trees: TreeArrays, leaves: FloatArray, num_triangles: int, rng: np.random.Generator
) -> FloatArray:
    """Return a colour per triangle, lighter towards the top, shape (N, num_triangles, 3).

    Args:
        trees: The trees.
        leaves: Mean RGB of the leaves, shape (3,).
        num_triangles: Triangles per crown, from the bottom up.
        rng: Source of the differences between trees.
    """
    num_trees = len(trees.radii)
    base = leaves * rng.uniform(0.75, 1.3, (num_trees, 1)) + rng.normal(0, 6, (num_trees, 3))
    base[trees.is_conifer] *= (0.72, 0.82, 0.86)
    height = np.linspace(0.78, 1.22, num_triangles)[None, :, None]
    speckle = rng.uniform(0.88, 1.12, (num_trees, num_triangles, 1))
    return np.clip(base[:, None] * height * speckle, 4, 255).astype(np.float32)


def _rough_solids(
    positions: FloatArray,
    profiles: FloatArray,
    radii: FloatArray,
    heights: FloatArray,
    rng: np.random.Generator,
) -> FloatArray:
    num_solids, num_rings = profiles.shape[:2]
    shape = (num_solids, num_rings, _NUM_SIDES)
    angles = (
        np.arange(_NUM_SIDES) * (2 * np.pi / _NUM_SIDES)
        + rng.uniform(0, 6.3, shape[:1])[:, None, None]
    )
    radius = profiles[:, :, None, 0] * radii[:, None, None] * rng.uniform(0.8, 1.15, shape)
    rings = np.empty((*shape, 3), np.float32)
    rings[..., 0] = positions[:, 0, None, None] + radius * np.cos(angles)
    rings[..., 1] = positions[:, 1, None, None] + radius * np.sin(angles)
    bumps = rng.normal(0, 0.035, shape)
    # The top ring is one point; bumps would tear its corners apart.
    bumps[:, -1] = 0
    rings[..., 2] = np.maximum(profiles[:, :, None, 1] + bumps, 0) * heights[:, None, None]
    return join_rings(rings)
