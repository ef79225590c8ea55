"""What a flood, a fire or an explosion leaves on the ground."""

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from aquatint.world.arrays import Bytes, FloatArray, Rng
from aquatint.world.occupancy import HALF_EXTENT_M
from aquatint.world.painter import Painter, colorize
from aquatint.world.palette import CHAR, FLOOD_WATER, RUBBLE, Rgb, Surface

FLOODED_SHARE = 0.52
BURNT_SHARE = 0.62
LITTERED_SHARE = 0.2
NUM_CRATERS = 70
# What does not burn keeps a little soot.
_FUEL = {Surface.GROUND: 0.94, Surface.PLOT: 0.92}
_SOOT = 0.22
_WATERS = (Surface.RIVER, Surface.SEA)
# From this opacity on, out of 255, what lies below can no longer be recognised.
_HIDING_OPACITY = 120


def flood(image: Image.Image, ids: Bytes, surfaces: Bytes, hills: Image.Image) -> Image.Image:
    """Cover the lower half of the ground with muddy water.

    Args:
        image: Colours of the ground.
        ids: Object ids of the ground; 0 under water afterwards.
        surfaces: Surfaces of the ground; ``FLOOD`` under water afterwards.
        hills: How low the ground lies, in grey.

    Returns:
        The new colours.
    """
    mask = np.array(hills.point(_opacities(hills, FLOODED_SHARE, 14.0)))
    # A flood starts from the river, which is as muddy as the rest.
    mask[surfaces == Surface.RIVER] = 255
    _hide(ids, surfaces, mask, Surface.FLOOD)
    cover = colorize(hills, _tint(FLOOD_WATER, 0.1))
    shallow = Image.fromarray(mask).point(lambda value: value * 0.95)
    return Image.composite(cover, image, shallow)


def burn(image: Image.Image, ids: Bytes, surfaces: Bytes, dryness: Image.Image) -> Image.Image:
    """Char the dry parts of what can burn, and put soot on the rest.

    Args:
        image: Colours of the ground.
        ids: Object ids of the ground; 0 where it is charred afterwards.
        surfaces: Surfaces of the ground; ``CHAR`` where it is charred afterwards.
        dryness: How easily the ground catches fire, in grey.

    Returns:
        The new colours.
    """
    fuel = np.full(len(Surface), _SOOT, np.float32)
    fuel[list(_WATERS)] = 0
    for surface, share in _FUEL.items():
        fuel[surface] = share
    heat = np.asarray(dryness.point(_opacities(dryness, BURNT_SHARE, 26.0)))
    mask = (fuel[surfaces] * heat).astype(np.uint8)
    _hide(ids, surfaces, mask, Surface.CHAR)
    cover = colorize(dryness, _tint(CHAR, 0.3))
    return Image.composite(cover, image, Image.fromarray(mask))


def litter(
    image: Image.Image, surfaces: Bytes, footprints: Image.Image, heaps: Image.Image
) -> Image.Image:
    """Strew rubble over the land, most of it around buildings.

    Args:
        image: Colours of the ground.
        surfaces: Surfaces of the ground; ``RUBBLE`` where it lies afterwards.
        footprints: Where buildings stand, as a mask of the ground.
        heaps: Where debris gathers, in grey.

    Returns:
        The new colours.
    """
    near = footprints.reduce(4).filter(ImageFilter.BoxBlur(6)).resize(footprints.size)
    score = ImageChops.add(heaps, near)
    mask = np.array(score.point(_opacities(score, LITTERED_SHARE, 16.0)))
    mask[np.isin(surfaces, _WATERS)] = 0
    surfaces[mask > _HIDING_OPACITY] = Surface.RUBBLE
    # Another part of the same noise: shades must not follow the outline of the heaps.
    cover = colorize(ImageChops.offset(heaps, 211, 0), _tint(RUBBLE, 0.55))
    return Image.composite(cover, image, Image.fromarray(mask))


def paint_craters(painter: Painter, rng: Rng) -> None:
    """Punch craters with a rim of loose earth into the land; water closes over them."""
    angles = np.linspace(0, 2 * np.pi, 18, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles)], -1)
    centers = rng.uniform(-HALF_EXTENT_M, HALF_EXTENT_M, (NUM_CRATERS, 2))
    centers = centers[~np.isin(painter.surfaces_at(centers), _WATERS)]
    for center, radius in zip(centers, rng.uniform(1.6, 5.0, len(centers)), strict=True):
        outline = circle * radius * rng.uniform(0.75, 1.25, (18, 1))
        painter.fill(center + outline, (142, 126, 102), Surface.RUBBLE)
        painter.fill(center + outline * 0.72, (92, 78, 62))
        painter.fill(center + outline * 0.4 + radius * 0.08, (52, 44, 38))


def _opacities(values: Image.Image, share: float, softness: float) -> list[int]:
    """Return an opacity for each grey value, such that a share of the image is covered."""
    level = float(np.quantile(np.asarray(values)[::8, ::8], 1 - share))
    opacities = np.clip((np.arange(256) - level) / softness + 0.5, 0, 1) * 255
    return opacities.astype(int).tolist()


def _tint(color: Rgb, strength: float) -> Bytes:
    """Return a table of lighter and darker tones of a colour, shape (256, 3)."""
    tones: FloatArray = np.array(color) + (np.arange(256)[:, None] - 128) * strength
    return np.clip(tones, 0, 255).astype(np.uint8)


def _hide(ids: Bytes, surfaces: Bytes, mask: Bytes, surface: Surface) -> None:
    is_hidden = mask > _HIDING_OPACITY
    ids[is_hidden] = 0
    surfaces[is_hidden] = surface
