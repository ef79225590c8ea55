"""Paints inspected slopes, so that the condition of every structure is there to be seen."""

from collections.abc import Iterable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from aquatint.world.arrays import Bytes, FloatArray, Rng
from aquatint.world.inspection_scenes import InspectionScene, Structure
from aquatint.world.noise import noise_bank, shift_tile

SUPERSAMPLING = 2
_SENSOR_NOISE = 2.5
_SOIL = np.array((134.0, 106.0, 74.0))
_DARK_SOIL = np.array((74.0, 56.0, 40.0))
_MUD = np.array((98.0, 70.0, 42.0))
_LEAF = np.array((66.0, 96.0, 40.0))
_WATER = np.array((96.0, 118.0, 130.0))
_CRACK = (34, 31, 28)
_GRASSES = ((96.0, 122.0, 62.0), (128.0, 128.0, 76.0), (112.0, 104.0, 70.0), (78.0, 108.0, 58.0))

Color = tuple[int, int, int]


def paint_inspection(scene: InspectionScene, size_px: int) -> Bytes:
    """Paint one photograph of a slope.

    Args:
        scene: The slope.
        size_px: Edge of the picture.

    Returns:
        RGB as uint8, shape (size_px, size_px, 3); a function of the scene alone.
    """
    rng = np.random.default_rng([scene.seed, 52])
    canvas = _Canvas(_paint_slope(rng, size_px * SUPERSAMPLING))
    for structure in scene.structures:
        _PAINTERS[structure.label.object_type](canvas, structure)
    image = canvas.image.filter(ImageFilter.GaussianBlur(0.8)).reduce(SUPERSAMPLING)
    pixels: FloatArray = np.asarray(image, np.float32)
    pixels = (pixels - 128) * rng.uniform(0.85, 1.1) + 128 + rng.uniform(-14, 14)
    pixels = pixels * rng.uniform(0.96, 1.04, 3) + rng.normal(0, _SENSOR_NOISE, pixels.shape)
    return pixels.clip(0, 255).astype(np.uint8)


class _Canvas:
    """A square picture that is drawn on in units of its edge."""

    def __init__(self, image: Image.Image) -> None:
        self.image = image
        self.edge = image.width
        self._draw = ImageDraw.Draw(image)

    def fill(self, points: FloatArray, color: FloatArray | Color) -> None:
        self._draw.polygon(self._to_pixels(points), fill=_rgb(color))

    def line(self, points: FloatArray, color: FloatArray | Color, width: float) -> None:
        width_px = max(1, round(width * self.edge))
        self._draw.line(self._to_pixels(points), fill=_rgb(color), width=width_px)

    def blob(self, center: FloatArray, radius: float, color: FloatArray, rng: Rng) -> None:
        """A rough disc, as stones, leaves and clods are."""
        angles = np.arange(9) * (2 * np.pi / 9)
        rim = np.stack([np.cos(angles), np.sin(angles)], -1) * rng.uniform(0.7, 1.15, (9, 1))
        self.fill(np.asarray(center) + radius * rim, color)

    def _to_pixels(self, points: FloatArray) -> list[tuple[float, ...]]:
        return list(map(tuple, (np.asarray(points) * self.edge).tolist()))


def _rgb(color: FloatArray | Color) -> Color:
    red, green, blue = np.asarray(color).clip(0, 255).astype(int).tolist()
    return red, green, blue


def _paint_slope(rng: Rng, edge: int) -> Image.Image:
    """Grass that fades into soil, lighter towards the crest, with berms across."""
    bank = noise_bank()
    tiles = [shift_tile(tile, rng) for tile in (bank.patches, bank.fine, bank.grain)]
    repeats = -(-edge // tiles[0].shape[0])
    patches, fine, grain = (np.tile(tile, (repeats, repeats))[:edge, :edge] for tile in tiles)
    grass = np.array(_GRASSES[int(rng.integers(len(_GRASSES)))])
    share = np.clip(0.45 + 0.35 * patches + 0.15 * fine, 0, 1)[..., None]
    ground = grass * share + _SOIL * (1 - share)
    height = np.linspace(0, 1, edge)[:, None, None]
    ground = ground * (1.1 - 0.2 * height) + 7 * fine[..., None] + 6 * grain[..., None]
    image = Image.fromarray(ground.clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for level in np.linspace(0.16, 0.9, int(rng.integers(2, 5))) + rng.uniform(-0.03, 0.03):
        tilt = rng.normal(0, 0.015)
        ends = [(0, (level - tilt) * edge), (edge, (level + tilt) * edge)]
        draw.line(ends, fill=_rgb(_SOIL * 0.82), width=edge // 120)
    return image


def _paint_drain(canvas: _Canvas, drain: Structure) -> None:
    """A concrete channel: two light walls and a floor, clean, filled or broken."""
    rng = np.random.default_rng([drain.seed, 1])
    concrete = np.array((150.0, 148.0, 141.0)) * (0.85 + 0.35 * drain.shade)
    rim = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], float)
    canvas.fill(drain.to_image(rim * (1.01, 1.14)), _DARK_SOIL * 1.15)
    canvas.fill(drain.to_image(rim), concrete)
    floor = rim * (1.0, 0.6)
    canvas.fill(drain.to_image(floor), concrete * 0.62)
    for along in np.arange(-0.9, 0.95, 0.3):
        joint = np.array([[along, -0.6], [along, 0.6]])
        canvas.line(drain.to_image(joint), concrete * 0.5, 0.003)
    water = np.array([[-1, -0.12], [1, -0.12], [1, 0.14], [-1, 0.14]])
    canvas.fill(drain.to_image(water + (0, rng.uniform(-0.25, 0.25))), _WATER)
    if drain.label.condition == "blocked":
        _clog(canvas, drain, rng)
    elif drain.label.condition == "damaged":
        _break(canvas, drain, concrete, rng)
    elif rng.random() < 0.35:
        # A few leaves lie in clean channels too: a trace of brown must not give it away.
        _strew(canvas, drain, rng.uniform(-0.9, 0.9, (4, 2)) * (1, 0.5), 0.012, rng)


def _clog(canvas: _Canvas, drain: Structure, rng: Rng) -> None:
    """Mud and leaves over a good part of the floor, here and there over the walls."""
    length = 0.35 + 0.5 * drain.severity
    center = rng.uniform(-1 + length, 1 - length)
    count = int(30 + 45 * drain.severity)
    along = center + rng.uniform(-length, length, count)
    across = rng.normal(0, 0.42, count).clip(-1.05, 1.05)
    _strew(canvas, drain, np.stack([along, across], -1), 0.36 * drain.half_width, rng)


def _strew(canvas: _Canvas, drain: Structure, spots: FloatArray, radius: float, rng: Rng) -> None:
    for spot in drain.to_image(spots):
        base = _LEAF if rng.random() < 0.3 else _MUD
        canvas.blob(spot, radius * rng.uniform(0.7, 1.25), base * rng.uniform(0.75, 1.25), rng)


def _break(canvas: _Canvas, drain: Structure, concrete: FloatArray, rng: Rng) -> None:
    """A hole through which soil shows, shifted pieces, and cracks across."""
    for _ in range(1 + int(drain.severity > 0.55)):
        middle, half = rng.uniform(-0.7, 0.7), rng.uniform(0.1, 0.17) + 0.1 * drain.severity
        side = rng.choice((-1.0, 1.0))
        jag = rng.uniform(-0.06, 0.06, 6)
        hole = [
            [middle - half + jag[0], side * 1.15],
            [middle - half * 0.5 + jag[1], -side * 0.3],
            [middle + jag[2], -side * 0.75],
            [middle + half * 0.6 + jag[3], -side * 0.2],
            [middle + half + jag[4], side * 1.15],
        ]
        canvas.fill(drain.to_image(np.array(hole)), _DARK_SOIL)
        inner = np.array(hole) * (1, 0.8) + (0.02, 0.1 * side)
        canvas.fill(drain.to_image(inner), _SOIL * 0.8)
        for _ in range(3):
            spot = drain.to_image(np.array([[middle + rng.uniform(-0.3, 0.3), side * 1.25]]))[0]
            canvas.blob(spot, 0.25 * drain.half_width, concrete * rng.uniform(0.8, 1.1), rng)
    for _ in range(int(3 + 5 * drain.severity)):
        start = rng.uniform(-0.95, 0.95)
        steps = np.cumsum(rng.normal(0, 0.06, 5))
        crack = np.stack([start + steps, np.linspace(-1, 1, 5)], -1)
        canvas.line(drain.to_image(crack), _CRACK, 0.005)


def _paint_rock_toe(canvas: _Canvas, toe: Structure) -> None:
    """A band of stones, closed or with gaps where they slid away."""
    rng = np.random.default_rng([toe.seed, 2])
    canvas.fill(toe.outline, _DARK_SOIL if toe.label.condition == "normal" else _SOIL * 0.78)
    columns, rows = 15, 5
    grid = np.stack(np.meshgrid(np.linspace(-0.94, 0.94, columns), np.linspace(-0.8, 0.8, rows)))
    spots: FloatArray = grid.reshape(2, -1).T + rng.normal(0, (0.02, 0.05), (columns * rows, 2))
    radius = 1.05 * toe.half_length / columns
    stone = np.array((146.0, 144.0, 138.0)) * (0.75 + 0.4 * toe.shade)
    if toe.label.condition == "damaged":
        spots = _slide(spots, toe.severity, rng)
    for spot in toe.to_image(spots):
        tone = stone * rng.uniform(0.75, 1.2)
        canvas.blob(spot + 0.15 * radius, radius * 1.05, tone * 0.45, rng)
        canvas.blob(spot, radius * rng.uniform(0.8, 1.05), tone, rng)


def _slide(spots: FloatArray, severity: float, rng: Rng) -> FloatArray:
    """Drop stones in one or two gaps; some of them lie below."""
    is_gone = np.zeros(len(spots), bool)
    for _ in range(2 + int(severity > 0.6)):
        center = rng.uniform(-0.8, 0.8)
        is_gone |= np.abs(spots[:, 0] - center) < 0.13 + 0.13 * severity
    is_gone |= rng.random(len(spots)) < 0.15
    is_gone &= rng.random(len(spots)) < 0.9
    fallen = spots[is_gone][::4] * (1, 0.3) + (0, 1.05)
    return np.concatenate([spots[~is_gone], fallen + rng.normal(0, 0.08, fallen.shape)])


def _paint_vegetation(canvas: _Canvas, plant: Structure) -> None:
    """Bushes: leaves from dark below to light above."""
    rng = np.random.default_rng([plant.seed, 3])
    canvas.fill(plant.outline, _LEAF * 0.55)
    angles, reach = rng.uniform(0, 2 * np.pi, 90), np.sqrt(rng.random(90)) * 0.92
    spots = np.stack([np.cos(angles) * reach, np.sin(angles) * reach], -1)
    tone = _LEAF * (0.85 + 0.4 * plant.shade)
    for rank, spot in enumerate(_ordered(plant.to_image(spots))):
        canvas.blob(spot, 0.2 * plant.half_width, tone * (0.6 + 0.7 * rank / 90), rng)


def _ordered(spots: FloatArray) -> Iterable[FloatArray]:
    """From the lowest to the highest in the picture."""
    return spots[np.argsort(-spots[:, 1])]


_PAINTERS = {
    "toe_drain": _paint_drain,
    "slope_drain": _paint_drain,
    "rock_toe": _paint_rock_toe,
    "vegetation": _paint_vegetation,
}
