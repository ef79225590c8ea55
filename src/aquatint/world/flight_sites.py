"""Sites to fly over: ground seen from straight above, landing pads of several colors on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageEnhance

from aquatint.world.arrays import FloatArray, Rng
from aquatint.world.render import Camera, render
from aquatint.world.scenes import make_scene

PAD_COLORS = {
    "red": (214, 38, 38),
    "blue": (38, 78, 222),
    "yellow": (250, 220, 36),
    "green": (30, 190, 70),
}
GROUND_PX = 640
PX_PER_M = 10.0
HALF_M = GROUND_PX / PX_PER_M / 2
MAX_PADS = 2
# Edge of the square that the camera sees, as a multiple of the clearance: 70 degrees of view.
COVERAGE = 2 * float(np.tan(np.radians(35)))
_SUPERSAMPLING = 4
_MIN_GAP_M = 4.5
_REACH_M = 5.0
_SATURATION, _CONTRAST = 0.1, 0.55


@dataclass(frozen=True)
class Pad:
    """A landing pad.

    Attributes:
        color: One of ``PAD_COLORS``.
        x_m: Metres east of the site's middle.
        y_m: Metres north of it.
        radius_m: Radius; it varies, so that a pad's apparent size does not tell how far it is.
    """

    color: str
    x_m: float
    y_m: float
    radius_m: float


@dataclass(frozen=True, eq=False)
class Site:
    """Ground with pads on it.

    Attributes:
        ground: Pixels from above with the pads painted, north up, shape (640, 640, 3), 10 px a
            metre.
        pads: Pads; no two have one color.
        elevation_m: Height of the ground over the zero of the drone's own altitude.
    """

    ground: NDArray[np.uint8]
    pads: tuple[Pad, ...]
    elevation_m: float

    def pad(self, color: str) -> Pad:
        """Return the pad of a color."""
        return next(pad for pad in self.pads if pad.color == color)


def photograph_ground(seed: int) -> NDArray[np.uint8]:
    """Render the ground of a scene of the aerial world from straight above, without pads."""
    altitude = 100.0
    fov = float(2 * np.degrees(np.arctan(HALF_M / altitude)))
    view = render(make_scene(seed), Camera(altitude, 0, 0, 0, 0, fov_deg=fov), GROUND_PX, 1)
    return view.rgb


def sample_site(ground: NDArray[np.uint8], rng: Rng, num_pads: int = MAX_PADS) -> Site:
    """Turn a ground by quarters, change its light, and put pads of different colors on it."""
    turned = np.rot90(ground, int(rng.integers(4)))
    colors = rng.permutation(list(PAD_COLORS))[:num_pads].tolist()
    middle = rng.uniform(-6, 6, 2)
    pads: list[Pad] = []
    while len(pads) < num_pads:
        x, y = (middle + rng.uniform(-_REACH_M, _REACH_M, 2)).tolist()
        if all(np.hypot(x - pad.x_m, y - pad.y_m) > _MIN_GAP_M for pad in pads):
            pads.append(Pad(colors[len(pads)], x, y, float(rng.uniform(1.1, 2.0))))
    image = ImageEnhance.Brightness(Image.fromarray(np.ascontiguousarray(turned)))
    # An overcast winter's day: what little color there is belongs to the pads.
    dull = ImageEnhance.Color(image.enhance(float(rng.uniform(0.75, 1.2)))).enhance(_SATURATION)
    painted = _paint_pads(ImageEnhance.Contrast(dull).enhance(_CONTRAST), pads)
    return Site(np.asarray(painted), tuple(pads), float(rng.uniform(-6, 6)))


def _paint_pads(image: Image.Image, pads: list[Pad]) -> Image.Image:
    for pad in pads:
        reach = int(np.ceil(pad.radius_m * PX_PER_M)) + 2
        column, row = (round(value) for value in to_pixels(pad.x_m, pad.y_m))
        edge = 2 * reach * _SUPERSAMPLING
        mask = Image.new("L", (edge, edge))
        radius, half = pad.radius_m * PX_PER_M * _SUPERSAMPLING, edge / 2
        circle = (half - radius, half - radius, half + radius, half + radius)
        ImageDraw.Draw(mask).ellipse(circle, fill=255)
        small = mask.resize((2 * reach, 2 * reach), Image.Resampling.BOX)
        image.paste(PAD_COLORS[pad.color], (column - reach, row - reach), small)
    return image


def to_pixels(x_m: float, y_m: float) -> tuple[float, float]:
    """Return column and row of a place in a ground's pixels."""
    return (x_m + HALF_M) * PX_PER_M, (HALF_M - y_m) * PX_PER_M


def look_down(site: Site, position_m: FloatArray, size_px: int, rng: Rng) -> NDArray[np.uint8]:
    """What the drone's camera sees: straight down, north up whatever the drone's heading.

    Args:
        site: The site.
        position_m: East, north and height over the ground in metres, shape (3,).
        size_px: Edge of the frame.
        rng: Noise of the camera's sensor.

    Returns:
        Frame as uint8, shape (size_px, size_px, 3).
    """
    x, y, clearance = (float(value) for value in position_m)
    half = COVERAGE * max(clearance, 1.0) / 2 * PX_PER_M
    column, row = to_pixels(x, y)
    box = (column - half, row - half, column + half, row + half)
    # Moved, not cut: a drone at the border still gets a whole picture.
    dx = max(0.0, -box[0]) - max(0.0, box[2] - GROUND_PX)
    dy = max(0.0, -box[1]) - max(0.0, box[3] - GROUND_PX)
    inside = (box[0] + dx, box[1] + dy, box[2] + dx, box[3] + dy)
    left, top, right, bottom = (min(max(value, 0.0), float(GROUND_PX)) for value in inside)
    image = Image.fromarray(site.ground).resize(
        (size_px, size_px), Image.Resampling.BILINEAR, (left, top, right, bottom)
    )
    grain = rng.normal(0, 2.0, (size_px, size_px, 1))
    return (np.asarray(image) + grain).clip(0, 255).astype(np.uint8)
