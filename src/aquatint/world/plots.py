"""Paints what lies flat: courts, pools, fields, car parks, and the ground around buildings."""

from collections.abc import Callable, Sequence

import numpy as np

from aquatint.world.arrays import FloatArray, Rng
from aquatint.world.network import Network
from aquatint.world.objects import FLAT_KINDS, UNBOXED_KINDS, VEHICLES, SceneObject
from aquatint.world.painter import Painter
from aquatint.world.palette import (
    ASPHALT,
    COLORS,
    CONCRETE,
    DRIVEWAY,
    POND_WATER,
    POOL_WATER,
    ROAD_PAINT,
    GroundKind,
    Rgb,
    Surface,
)

MAX_DRIVEWAY_M = 45.0
FIELD_COLORS: dict[str, tuple[Rgb, Rgb]] = {
    "yellow": ((214, 184, 66), (232, 206, 96)),
    "green": ((64, 122, 44), (100, 156, 66)),
    "brown": ((110, 78, 52), (134, 100, 70)),
    "purple": ((112, 82, 146), (122, 128, 96)),
}


def paint_driveways(painter: Painter, objects: Sequence[SceneObject], network: Network) -> None:
    """Paint a way from each building and car park to the next road, if one is near.

    Args:
        painter: The bare ground; roads and water come on top.
        objects: All objects.
        network: Its roads are where the driveways lead.
    """
    for scene_object in objects:
        if _is_building(scene_object) or scene_object.kind == "parking lot":
            _paint_driveway(painter, scene_object, network)


def paint_objects(painter: Painter, objects: Sequence[SceneObject], ground: GroundKind) -> None:
    """Paint the plot or the flat shape of every object.

    Args:
        painter: The ground so far.
        objects: All objects; object i has the id i + 1.
        ground: Kind of the open ground.
    """
    for index, scene_object in enumerate(objects):
        if _is_building(scene_object):
            _paint_apron(painter, scene_object, ground)
        elif scene_object.kind in FLAT_KINDS:
            rng = np.random.default_rng([index, int(abs(scene_object.x_m) * 100)])
            _FLAT_PAINTERS[scene_object.kind](painter, scene_object, index + 1, rng)


def _is_building(scene_object: SceneObject) -> bool:
    return scene_object.kind not in (*FLAT_KINDS, *UNBOXED_KINDS, *VEHICLES)


def _paint_driveway(painter: Painter, scene_object: SceneObject, network: Network) -> None:
    here = np.array([scene_object.x_m, scene_object.y_m])
    best: FloatArray | None = None
    shortest = MAX_DRIVEWAY_M
    for road in network.roads:
        gaps = np.linalg.norm(road.points - here, axis=1)
        if gaps.min() < shortest:
            shortest = float(gaps.min())
            best = road.points[int(gaps.argmin())]
    if best is not None:
        width = 2.4 if scene_object.kind == "house" else 4.5
        painter.line(np.array([here, best]), DRIVEWAY, width)


def _paint_apron(painter: Painter, scene_object: SceneObject, ground: GroundKind) -> None:
    if scene_object.kind == "house":
        painter.fill(scene_object.footprint(2.4), ground.ramp[2], Surface.PLOT)
        painter.fill(scene_object.footprint(0.9), (170, 162, 150), Surface.PAVING)
        return
    painter.fill(scene_object.footprint(1.9), CONCRETE, Surface.PAVING)


def _paint_pool(painter: Painter, pool: SceneObject, object_id: int, rng: Rng) -> None:
    painter.fill(pool.footprint(1.7), (214, 206, 192), Surface.PAVING)
    painter.fill(pool.footprint(), POOL_WATER, Surface.PAVING, object_id)
    painter.fill(pool.footprint(-1.6), (52, 156, 196))


def _paint_court(painter: Painter, court: SceneObject, object_id: int, rng: Rng) -> None:
    color = COLORS[court.color]
    painter.fill(court.footprint(), _scaled(color, 0.82), Surface.PAVING, object_id)
    half_width, half_depth = court.width_m * 0.36, court.depth_m * 0.34
    frame = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1], [-1, -1]])
    painter.fill(court.to_world(frame[:4] * (half_width, half_depth)), color)
    lines = [frame * (half_width, half_depth), frame * (half_width, half_depth * 0.75)]
    lines.append(np.array([[0, -half_depth], [0, half_depth]]))
    lines.append(np.array([[-half_width * 0.5, 0], [half_width * 0.5, 0]]))
    for line in lines:
        painter.line(court.to_world(line), (236, 236, 230), 0.45)


def _paint_football(painter: Painter, pitch: SceneObject, object_id: int, rng: Rng) -> None:
    painter.fill(pitch.footprint(), (66, 130, 58), Surface.PLOT, object_id)
    stripes = np.linspace(-pitch.width_m / 2, pitch.width_m / 2, 11)
    half_depth = pitch.depth_m / 2
    for left, right in zip(stripes[:-1:2], stripes[1::2], strict=True):
        corners = np.array([[left, -1], [right, -1], [right, 1], [left, 1]]) * (1, half_depth)
        painter.fill(pitch.to_world(corners), (84, 150, 70))
    half_width, half_depth = pitch.width_m * 0.45, pitch.depth_m * 0.43
    frame = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1], [-1, -1]])
    angles = np.linspace(0, 2 * np.pi, 20)
    lines = [frame * (half_width, half_depth), np.array([[0, -half_depth], [0, half_depth]])]
    lines.append(np.stack([np.cos(angles), np.sin(angles)], -1) * 5.5)
    for side in (-1, 1):
        area = frame * (half_width * 0.16, half_depth * 0.5)
        lines.append(area + (side * half_width * 0.84, 0))
    for line in lines:
        painter.line(pitch.to_world(line), (240, 242, 236), 0.6)


def _paint_parking(painter: Painter, lot: SceneObject, object_id: int, rng: Rng) -> None:
    painter.fill(lot.footprint(), _scaled(ASPHALT, 1.12), Surface.PAVING, object_id)
    names = ("red", "blue", "white", "black", "yellow", "grey")
    for y in np.arange(-lot.depth_m / 2 + 3.4, lot.depth_m / 2 - 3, 8.4):
        for x in np.arange(-lot.width_m / 2 + 1.5, lot.width_m / 2 - 3.2, 3.4):
            line = np.array([[x, y - 2.7], [x, y + 2.7]])
            painter.line(lot.to_world(line), ROAD_PAINT, 0.35)
            if rng.random() < 0.62:
                _paint_parked_car(painter, lot, (x + 1.7, y), names[rng.integers(6)])


def _paint_parked_car(
    painter: Painter, lot: SceneObject, spot: tuple[float, float], color: str
) -> None:
    unit = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    shifted = np.array(spot) + (0.35, -0.35)
    painter.fill(lot.to_world(unit * (1.1, 2.3) + shifted), (48, 49, 52))
    painter.fill(lot.to_world(unit * (1.05, 2.2) + spot), COLORS[color])
    painter.fill(lot.to_world(unit * (0.85, 1.1) + spot), (40, 48, 56))
    painter.fill(lot.to_world(unit * (0.85, 0.7) + spot), COLORS[color])


def _paint_field(painter: Painter, crop: SceneObject, object_id: int, rng: Rng) -> None:
    dark, light = FIELD_COLORS[crop.color]
    painter.fill(crop.footprint(), dark, Surface.PLOT, object_id)
    half_width = crop.width_m / 2
    for y in np.arange(-crop.depth_m / 2 + 0.8, crop.depth_m / 2, 2.4):
        row = np.array([[-half_width, y], [half_width, y]])
        painter.line(crop.to_world(row), light, 1.1)


def _paint_pond(painter: Painter, pond: SceneObject, object_id: int, rng: Rng) -> None:
    angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    waves = 1 + 0.12 * np.sin(2 * angles + rng.uniform(0, 6))
    waves += 0.07 * np.sin(3 * angles + rng.uniform(0, 6))
    shore = np.stack([np.cos(angles), np.sin(angles)], -1) * waves[:, None]
    shore *= (pond.width_m / 2.2, pond.depth_m / 2.2)
    painter.fill(pond.to_world(shore * 1.08), (134, 122, 92), Surface.PLOT)
    painter.fill(pond.to_world(shore), POND_WATER, Surface.PAVING, object_id)
    painter.fill(pond.to_world(shore * 0.8), _scaled(POND_WATER, 0.86))


def _paint_solar_park(painter: Painter, park: SceneObject, object_id: int, rng: Rng) -> None:
    painter.fill(park.footprint(1.0), (150, 146, 128), Surface.PAVING)
    painter.fill(park.footprint(), (140, 140, 118), Surface.PAVING, object_id)


def _paint_forest(painter: Painter, forest: SceneObject, object_id: int, rng: Rng) -> None:
    angles = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    radius = 0.54 + rng.normal(0, 0.02, (28, 1))
    edge = np.stack([np.cos(angles), np.sin(angles)], -1) * radius
    edge *= (forest.width_m, forest.depth_m)
    painter.fill(forest.to_world(edge), (58, 62, 38), Surface.PLOT, object_id)


def _paint_orchard(painter: Painter, orchard: SceneObject, object_id: int, rng: Rng) -> None:
    painter.fill(orchard.footprint(), (146, 126, 92), Surface.PLOT, object_id)


def _scaled(color: Rgb, scale: float) -> Rgb:
    red, green, blue = (min(255, int(value * scale)) for value in color)
    return red, green, blue


_FLAT_PAINTERS: dict[str, Callable[[Painter, SceneObject, int, Rng], None]] = {
    "swimming pool": _paint_pool,
    "tennis court": _paint_court,
    "football field": _paint_football,
    "parking lot": _paint_parking,
    "crop field": _paint_field,
    "pond": _paint_pond,
    "solar park": _paint_solar_park,
    "forest": _paint_forest,
    "orchard": _paint_orchard,
}
