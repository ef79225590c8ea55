"""The ground of a scene as rasters: colour, object ids and surfaces, with its damage."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from aquatint.world.aftermath import burn, flood, litter, paint_craters
from aquatint.world.arrays import Bytes, FloatArray, Rng
from aquatint.world.layout import Layout
from aquatint.world.noise import noise_bank, shift_tile
from aquatint.world.objects import FLAT_KINDS, UNBOXED_KINDS, SceneObject
from aquatint.world.painter import GROUND_SIZE_PX, Painter, colorize, to_raster
from aquatint.world.palette import Rgb
from aquatint.world.plots import paint_driveways, paint_objects
from aquatint.world.ribbons import paint_network

_NOISE_STEP = 40.0
# Further from a wall no skylight is lost.
_GLOOM_PX = 12


@dataclass(frozen=True, eq=False)
class Ground:
    """Rasters of the ground, north up, each ``GROUND_SIZE_PX`` square.

    Args:
        rgb: Colour, shape (G, G, 3).
        instance_ids: Object that lies there flat, counted from 1, or 0, shape (G, G).
        surfaces: ``Surface`` of each pixel, shape (G, G).
    """

    rgb: Bytes
    instance_ids: Bytes
    surfaces: Bytes


def paint_ground(layout: Layout, condition: str, seed: int) -> Ground:
    """Draw the ground of a scene.

    Args:
        layout: What lies and stands where.
        condition: One of the conditions; all but ``intact`` change colours and surfaces.
        seed: Seed of the textures. The layout alone decides everything else.
    """
    rng = np.random.default_rng([seed, 1])
    hills = _draw_noise(rng, noise_bank().coarse, 0.4)
    painter = Painter(colorize(hills, _color_ramp(layout.ground.ramp)))
    paint_driveways(painter, layout.objects, layout.network)
    paint_network(painter, layout.network, layout.ground)
    if condition == "damaged":
        paint_craters(painter, rng)
    paint_objects(painter, layout.objects, layout.ground)
    footprints = _draw_footprints(layout.objects)
    image = _darken_around(painter.image, footprints)
    ids, surfaces = np.array(painter.ids), np.array(painter.surfaces)
    match condition:
        case "flooded":
            image = flood(image, ids, surfaces, _draw_noise(rng, noise_bank().patches, 0.07))
        case "burnt":
            image = burn(image, ids, surfaces, _draw_noise(rng, noise_bank().patches, 0.4))
        case "damaged":
            image = litter(image, surfaces, footprints, _draw_noise(rng, noise_bank().fine, 0.2))
    return Ground(np.asarray(image), ids, surfaces)


def _draw_noise(rng: Rng, tile: FloatArray, fine_weight: float) -> Image.Image:
    mixed = shift_tile(tile, rng) * 0.9
    mixed += shift_tile(noise_bank().fine, rng) * fine_weight
    mixed *= _NOISE_STEP
    mixed += 128
    scaled = mixed.clip(0, 255, out=mixed).astype(np.uint8)
    size = (GROUND_SIZE_PX, GROUND_SIZE_PX)
    return Image.fromarray(scaled).resize(size, Image.Resampling.BILINEAR)


def _color_ramp(stops: tuple[Rgb, ...]) -> Bytes:
    at = np.linspace(58, 218, len(stops))
    columns = [np.interp(np.arange(256), at, column) for column in zip(*stops, strict=True)]
    return np.stack(columns, -1).astype(np.uint8)


def _draw_footprints(objects: tuple[SceneObject, ...]) -> Image.Image:
    mask = Image.new("L", (GROUND_SIZE_PX, GROUND_SIZE_PX))
    draw = ImageDraw.Draw(mask)
    for scene_object in objects:
        if scene_object.kind not in (*FLAT_KINDS, *UNBOXED_KINDS):
            draw.polygon(to_raster(scene_object.footprint()), fill=255)
    return mask


def _darken_around(image: Image.Image, footprints: Image.Image) -> Image.Image:
    # Little skylight reaches the foot of a wall. Elsewhere nothing changes, so only the part around
    # all walls is looked at; its border is even, as both rasters' pixels must cover each other.
    left, upper, right, lower = footprints.getbbox() or (0, 0, 0, 0)
    box = (
        max(0, left - _GLOOM_PX) // 2 * 2,
        max(0, upper - _GLOOM_PX) // 2 * 2,
        min(GROUND_SIZE_PX, (right + _GLOOM_PX + 1) // 2 * 2),
        min(GROUND_SIZE_PX, (lower + _GLOOM_PX + 1) // 2 * 2),
    )
    part = footprints.crop(box)
    soft = part.reduce(2).filter(ImageFilter.BoxBlur(2)).point(lambda value: value * 0.55)
    gloom = soft.resize(part.size, Image.Resampling.BILINEAR)
    image.paste((24, 24, 30), box, gloom)
    return image
