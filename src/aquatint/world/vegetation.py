"""Plants trees: dense in forests, in rows in orchards, scattered elsewhere."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from aquatint.world.arrays import FloatArray, Rng
from aquatint.world.objects import SceneObject
from aquatint.world.palette import GroundKind
from aquatint.world.trees import TreeArrays

SCATTER_HALF_M = 156.0
FOREST_SPACING_M = 5.2
ORCHARD_SPACING_M = 5.6


def plant_trees(
    rng: Rng,
    objects: Sequence[SceneObject],
    ground: GroundKind,
    is_free_at: Callable[[FloatArray], NDArray[np.bool_]],
) -> TreeArrays:
    """Place all trees of a scene.

    Args:
        rng: Source of all choices.
        objects: The objects so far; forests and orchards among them are filled with trees.
        ground: Kind of the ground, which sets the share of conifers.
        is_free_at: Tells for world points of shape (N, 2) whether nothing stands there.

    Returns:
        The trees; scattered ones belong to the object after the given ones.
    """
    positions, radii, slimness, owners = [], [], [], []
    for index, patch in enumerate(objects):
        if patch.kind not in ("forest", "orchard"):
            continue
        is_forest = patch.kind == "forest"
        spots = _grid_in(patch, rng, FOREST_SPACING_M if is_forest else ORCHARD_SPACING_M)
        positions.append(spots)
        low, high = (2.4, 3.9) if is_forest else (1.9, 2.3)
        radii.append(rng.uniform(low, high, len(spots)))
        slimness.append(
            rng.uniform(1.7, 2.8, len(spots)) if is_forest else np.full(len(spots), 1.5)
        )
        owners.append(np.full(len(spots), index + 1))
    scattered = _scatter(rng, int(rng.choice((60, 140, 280))), is_free_at)
    positions.append(scattered)
    radii.append(rng.uniform(1.6, 3.6, len(scattered)))
    slimness.append(rng.uniform(1.6, 2.6, len(scattered)))
    owners.append(np.full(len(scattered), len(objects) + 1))
    radius = np.concatenate(radii)
    return TreeArrays(
        positions=np.concatenate(positions),
        radii=radius,
        heights=radius * np.concatenate(slimness),
        is_conifer=rng.random(len(radius)) < ground.conifer_share,
        object_ids=np.concatenate(owners).astype(np.int32),
    )


def _grid_in(patch: SceneObject, rng: Rng, spacing_m: float) -> FloatArray:
    along = np.arange(-patch.width_m / 2 + 2.5, patch.width_m / 2 - 2, spacing_m)
    across = np.arange(-patch.depth_m / 2 + 2.5, patch.depth_m / 2 - 2, spacing_m)
    spots = np.stack(np.meshgrid(along, across), -1).reshape(-1, 2)
    if patch.kind == "forest":
        spots = spots + rng.normal(0, 0.3 * spacing_m, spots.shape)
        reach = np.hypot(spots[:, 0] / patch.width_m, spots[:, 1] / patch.depth_m)
        spots = spots[reach < 0.56]
    else:
        spots = spots + rng.normal(0, 0.15, spots.shape)
    return patch.to_world(spots)


def _scatter(
    rng: Rng, num_trees: int, is_free_at: Callable[[FloatArray], NDArray[np.bool_]]
) -> FloatArray:
    # Half of them in clumps: lone trees at equal distances look sown.
    num_clumped = num_trees // 2
    lone = rng.uniform(-SCATTER_HALF_M, SCATTER_HALF_M, (num_trees - num_clumped, 2))
    centers = rng.uniform(-SCATTER_HALF_M, SCATTER_HALF_M, (max(1, num_trees // 10), 2))
    clumped = centers[rng.integers(len(centers), size=num_clumped)]
    clumped = clumped + rng.normal(0, 6, clumped.shape)
    spots = np.concatenate([lone, clumped])
    return spots[is_free_at(spots)]
