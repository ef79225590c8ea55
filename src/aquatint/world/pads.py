"""Towns with landing pads: a few dull houses, and pads whose colors tell them apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw

from aquatint.world.arrays import Bytes, Rng
from aquatint.world.flight_sites import PAD_COLORS, Pad
from aquatint.world.layout import sample_sparse_layout
from aquatint.world.painter import to_raster
from aquatint.world.scenes import Scene, build_scene
from aquatint.world.town_map import TownMap

NUM_PADS = 3
PAD_HALF_M = 26.0
_MIN_GAP_M = 15.0
_MAX_TRIES = 400
_MAX_HOUSES = 5
_RADII_M = (3.0, 4.5)
# Least distance of a pad's rim from whatever is too high to fly over.
_CLEAR_M = 2.0
_SATURATION = 0.12
_BLOCK = 16_384
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
    layout = sample_sparse_layout(np.random.default_rng([seed, 0]), _MAX_HOUSES)
    scene = _dull(build_scene(layout, "intact", seed))
    town = TownMap(scene, altitude_m, clearance_m, radius_m)
    pads = _place_pads(town, rng)
    _paint(scene.ground.rgb, pads)
    return scene, town, pads


def _dull(scene: Scene) -> Scene:
    return replace(
        scene,
        mesh=replace(scene.mesh, colors=_desaturated(scene.mesh.colors, np.float32)),
        ground=replace(scene.ground, rgb=_desaturated(scene.ground.rgb, np.uint8)),
    )


def _desaturated(rgb: np.ndarray, dtype: type[np.generic]) -> np.ndarray:
    weights = np.array([0.299, 0.587, 0.114], np.float32)
    dull = np.empty(rgb.shape, dtype)
    before, after = rgb.reshape(-1, 3), dull.reshape(-1, 3)
    # In blocks that stay in a core's cache, and by channel: an operation on three numbers at a time
    # costs as much as on a hundred.
    for start in range(0, len(before), _BLOCK):
        block = slice(start, start + _BLOCK)
        values = before[block].astype(np.float32)
        grey = values @ weights
        for channel in range(3):
            part = values[:, channel] - grey
            part *= _SATURATION
            part += grey
            after[block, channel] = part
    return dull


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


def _paint(rgb: Bytes, pads: Sequence[Pad]) -> None:
    """Draw the pads into the colors of a ground, shape (G, G, 3)."""
    # Apart from the colors, of which three times as many bytes would have to be copied twice.
    image = Image.new("L", rgb.shape[:2])
    draw = ImageDraw.Draw(image)
    angles = np.linspace(0, 2 * np.pi, _CORNERS, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles)], -1)
    for number, pad in enumerate(pads):
        rim = np.array([pad.x_m, pad.y_m]) + pad.radius_m * circle
        draw.polygon(to_raster(rim), fill=number + 1)
    left, upper, right, lower = image.getbbox() or (0, 0, 0, 0)
    shown = np.asarray(image.crop((left, upper, right, lower)))
    part = rgb[upper:lower, left:right]
    for number, pad in enumerate(pads):
        part[shown == number + 1] = PAD_COLORS[pad.color]
