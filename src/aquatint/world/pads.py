"""Towns with landing pads: a few dull houses, and pads whose colors tell them apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw

from aquatint.world.arrays import FloatArray, Rng
from aquatint.world.flight_sites import PAD_COLORS, Pad
from aquatint.world.ground import Ground
from aquatint.world.layout import Layout, sample_layout
from aquatint.world.objects import FLAT_KINDS, SceneObject
from aquatint.world.painter import to_raster
from aquatint.world.scenes import Scene, build_scene
from aquatint.world.town_map import TownMap
from aquatint.world.trees import TreeArrays

NUM_PADS = 3
PAD_HALF_M = 26.0
_MIN_GAP_M = 15.0
_MAX_TRIES = 400
_MAX_HOUSES = 5
_RADII_M = (3.0, 4.5)
# Least distance of a pad's rim from whatever is too high to fly over.
_CLEAR_M = 2.0
_SATURATION = 0.12
_CORNERS = 24


def make_pad_town(
    seed: int, altitude_m: float, clearance_m: float, radius_m: float
) -> tuple[Scene, TownMap, tuple[Pad, ...]]:
    """Draw a town with pads of different colors that an agent can fly over.

    Few houses and no trees, all in dull colors as on an overcast day: what little color there is
    belongs to the pads, so that a model of a million weights can learn to see them.

    Args:
        seed: Any number from 0.
        altitude_m: Height of the agent over the ground.
        clearance_m: Least height above whatever it flies over.
        radius_m: Least distance from what is too high.

    Returns:
        The scene, where an agent may fly over it, and its pads; fewer than ``NUM_PADS`` where the
        town leaves no more room.
    """
    rng = np.random.default_rng([seed, 97])
    scene = _dull(build_scene(_sparse(sample_layout(np.random.default_rng([seed, 0]))),
                              "intact", seed))  # fmt: skip
    town = TownMap(scene, altitude_m, clearance_m, radius_m)
    pads = _place_pads(town, rng)
    return replace(scene, ground=_paint(scene.ground, pads)), town, pads


def _sparse(layout: Layout) -> Layout:
    """Houses alone, a few, and no trees."""
    solids = [
        item for item in layout.objects
        if item.kind not in (*FLAT_KINDS, "trees") and item.height_m > 0
    ]  # fmt: skip
    none: FloatArray = np.zeros(0, np.float32)
    trees = TreeArrays(np.zeros((0, 2), np.float32), none, none, none.astype(bool),
                       none.astype(np.int32))  # fmt: skip
    marker = SceneObject("trees", "", 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    return replace(layout, objects=(*solids[:_MAX_HOUSES], marker), trees=trees)


def _dull(scene: Scene) -> Scene:
    return replace(
        scene,
        mesh=replace(scene.mesh, colors=_desaturated(scene.mesh.colors)),
        ground=replace(scene.ground, rgb=_desaturated(scene.ground.rgb).astype(np.uint8)),
    )


def _desaturated(rgb: np.ndarray) -> FloatArray:
    values = rgb.astype(np.float32)
    grey = values @ np.array([0.299, 0.587, 0.114], np.float32)
    return (grey[..., None] + _SATURATION * (values - grey[..., None])).astype(np.float32)


def _place_pads(town: TownMap, rng: Rng) -> tuple[Pad, ...]:
    colors = rng.permutation(list(PAD_COLORS)).tolist()
    angles = np.linspace(0, 2 * np.pi, _CORNERS, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles)], -1)
    pads: list[Pad] = []
    for _ in range(_MAX_TRIES):
        if len(pads) == NUM_PADS:
            break
        place = rng.uniform(-PAD_HALF_M, PAD_HALF_M, 2)
        radius = float(rng.uniform(*_RADII_M))
        rim = np.concatenate([place + share * (radius + _CLEAR_M) * circle
                              for share in (0.0, 0.5, 1.0)])  # fmt: skip
        is_apart = all(np.hypot(*(place - (p.x_m, p.y_m))) > _MIN_GAP_M for p in pads)
        if is_apart and town.is_free(rim).all():
            pads.append(Pad(colors[len(pads)], float(place[0]), float(place[1]), radius))
    return tuple(pads)


def _paint(ground: Ground, pads: Sequence[Pad]) -> Ground:
    image = Image.fromarray(np.ascontiguousarray(ground.rgb))
    draw = ImageDraw.Draw(image)
    angles = np.linspace(0, 2 * np.pi, _CORNERS, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles)], -1)
    for pad in pads:
        rim = np.array([pad.x_m, pad.y_m]) + pad.radius_m * circle
        draw.polygon(to_raster(rim), fill=PAD_COLORS[pad.color])
    return replace(ground, rgb=np.asarray(image))
