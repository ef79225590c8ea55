"""The solid shape of each kind of object, in its own frame."""

from collections.abc import Callable

import numpy as np

from aquatint.world.arrays import FloatArray, Rng
from aquatint.world.meshes import (
    Box,
    Part,
    as_color,
    box_shell,
    box_top,
    box_walls,
    gable_roof,
    revolve,
    vault,
)
from aquatint.world.objects import SceneObject
from aquatint.world.palette import (
    CAR_WINDOW,
    COLORS,
    CONCRETE,
    GLASS,
    SOLAR_PANEL,
    WALL_COLORS,
    Material,
)


def build_parts(scene_object: SceneObject, rng: Rng) -> list[Part]:
    """Return the solid parts of an object; empty for what lies flat on the ground."""
    builder = _BUILDERS.get(scene_object.kind)
    return builder(scene_object, rng) if builder else []


def _color(scene_object: SceneObject) -> FloatArray:
    return as_color(COLORS.get(scene_object.color, CONCRETE))


def _base(scene_object: SceneObject, height_m: float) -> Box:
    return Box(scene_object.width_m, scene_object.depth_m, height_m)


def _random_wall(rng: Rng) -> FloatArray:
    return as_color(WALL_COLORS[rng.integers(len(WALL_COLORS))])


def _house(house: SceneObject, rng: Rng) -> list[Part]:
    roof_color = _color(house)
    wall_height = house.height_m * 0.62
    walls = Box(house.width_m - 0.8, house.depth_m - 0.8, wall_height)
    eaves = _base(house, wall_height)
    hip = float(rng.choice((0.0, house.depth_m * 0.4)))
    chimney = Box(1.1, 1.1, house.height_m, house.width_m * 0.22, house.depth_m * 0.12)
    return [
        Part(box_walls(walls), _random_wall(rng), Material.WALL),
        Part(gable_roof(eaves, house.height_m * 0.38, hip), roof_color, Material.TILED_ROOF),
        Part(box_shell(chimney), as_color((128, 92, 78)), Material.PLAIN),
    ]


def _block(block: SceneObject, rng: Rng) -> list[Part]:
    color = _color(block)
    body = _base(block, block.height_m)
    parts = [
        Part(box_walls(body), as_color(color, 0.92), Material.WALL),
        Part(box_top(body), color, Material.FLAT_ROOF),
    ]
    parts.extend(_parapet(body, as_color(color, 0.8)))
    for _ in range(int(rng.integers(2, 5))):
        x = float(rng.uniform(-0.35, 0.35)) * block.width_m
        y = float(rng.uniform(-0.35, 0.35)) * block.depth_m
        unit = Box(2.2, 1.8, 1.5, x, y, block.height_m)
        parts.append(Part(box_shell(unit), as_color((182, 184, 186)), Material.PLAIN))
    return parts


def _parapet(body: Box, color: FloatArray) -> list[Part]:
    top = body.z_m + body.height_m
    half_width, half_depth = body.width_m / 2 - 0.3, body.depth_m / 2 - 0.3
    rims = (
        Box(body.width_m, 0.6, 0.9, 0, half_depth, top),
        Box(body.width_m, 0.6, 0.9, 0, -half_depth, top),
        Box(0.6, body.depth_m, 0.9, half_width, 0, top),
        Box(0.6, body.depth_m, 0.9, -half_width, 0, top),
    )
    return [Part(np.concatenate([box_shell(rim) for rim in rims]), color, Material.PLAIN)]


def _tower(tower: SceneObject, rng: Rng) -> list[Part]:
    color = _color(tower)
    step = float(rng.uniform(0.72, 0.9)) * tower.height_m
    lower = _base(tower, step)
    upper = Box(tower.width_m * 0.62, tower.depth_m * 0.62, tower.height_m - step, z_m=step)
    mast = Box(0.7, 0.7, 5.0, z_m=tower.height_m)
    walls = np.concatenate([box_walls(lower), box_walls(upper)])
    roofs = np.concatenate([box_top(lower), box_top(upper)])
    return [
        Part(walls, as_color(color, 0.85), Material.WALL),
        Part(roofs, color, Material.FLAT_ROOF),
        *_parapet(lower, as_color(color, 0.75)),
        Part(box_shell(mast), as_color((190, 60, 50)), Material.PLAIN),
    ]


def _warehouse(warehouse: SceneObject, rng: Rng) -> list[Part]:
    color = _color(warehouse)
    body = _base(warehouse, warehouse.height_m * 0.8)
    parts = [
        Part(box_walls(body), as_color(color * 0.5 + 90), Material.PLAIN),
        Part(gable_roof(body, warehouse.height_m * 0.2, 0.0), color, Material.METAL_ROOF),
    ]
    top = warehouse.height_m * 0.88
    for x in np.linspace(-0.3, 0.3, int(rng.integers(2, 5))):
        skylight = Box(1.6, warehouse.depth_m * 0.5, 0.9, float(x) * warehouse.width_m, 0, top)
        parts.append(Part(box_shell(skylight), as_color((206, 216, 220)), Material.PLAIN))
    return parts


def _hangar(hangar: SceneObject, rng: Rng) -> list[Part]:
    color = _color(hangar)
    door = Box(0.3, hangar.depth_m * 0.5, hangar.height_m * 0.55, hangar.width_m / 2)
    return [
        Part(vault(_base(hangar, hangar.height_m), 10), color, Material.METAL_ROOF),
        Part(box_shell(door), as_color((70, 74, 80)), Material.PLAIN),
    ]


def _tank(tank: SceneObject, rng: Rng) -> list[Part]:
    color = _color(tank)
    radius, height = tank.width_m / 2, tank.height_m
    side = np.array([[radius, 0], [radius, height]], np.float32)
    lid = np.array([[radius, height], [radius * 0.3, height + 0.9], [0, height + 1.0]], np.float32)
    ladder = Box(0.8, 1.2, height, radius + 0.3)
    return [
        Part(revolve(side, 22), as_color(color, 0.92), Material.PLAIN),
        Part(revolve(lid, 22), color, Material.FLAT_ROOF),
        Part(box_shell(ladder), as_color((96, 98, 102)), Material.PLAIN),
    ]


def _dome(dome: SceneObject, rng: Rng) -> list[Part]:
    angles = np.linspace(0, np.pi / 2, 6)
    radius = dome.width_m / 2
    drum = dome.height_m * 0.3
    cap = np.stack([np.cos(angles) * radius, drum + np.sin(angles) * dome.height_m * 0.7], -1)
    side = np.array([[radius, 0], [radius, drum]], np.float32)
    return [
        Part(revolve(side, 20), _random_wall(rng), Material.PLAIN),
        Part(revolve(cap.astype(np.float32), 20), _color(dome), Material.FLAT_ROOF),
    ]


def _church(church: SceneObject, rng: Rng) -> list[Part]:
    roof = as_color((116, 60, 50))
    wall = as_color((226, 218, 200))
    nave = Box(church.width_m * 0.78, church.depth_m * 0.62, church.height_m * 0.45)
    nave = nave._replace(x_m=church.width_m * 0.11)
    transept = Box(church.depth_m * 0.5, church.depth_m, church.height_m * 0.4)
    transept = transept._replace(x_m=church.width_m * 0.2)
    side = church.depth_m * 0.44
    tower = Box(side, side, church.height_m * 0.75, -church.width_m / 2 + side / 2)
    tip = np.array([[side * 0.72, tower.height_m], [0, church.height_m * 1.2]], np.float32)
    spire = revolve(tip, 4, np.pi / 4) + np.array([tower.x_m, 0, 0], np.float32)
    # The roof of the transept runs across: built along x, then turned by a quarter.
    across = gable_roof(Box(transept.depth_m, transept.width_m, transept.height_m), 3.0, 0.0)
    turn = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]], np.float32)
    across = across @ turn.T + np.array([transept.x_m, 0, 0], np.float32)
    walls = np.concatenate([box_walls(nave), box_walls(transept), box_shell(tower)])
    return [
        Part(walls, wall, Material.WALL),
        Part(gable_roof(nave, 4.0, 0.0), roof, Material.TILED_ROOF),
        Part(across, roof, Material.TILED_ROOF),
        Part(spire, as_color((72, 86, 92)), Material.PLAIN),
    ]


def _greenhouse(greenhouse: SceneObject, rng: Rng) -> list[Part]:
    bay = greenhouse.depth_m / 2
    parts = []
    for side in (-0.5, 0.5):
        body = Box(greenhouse.width_m, bay, greenhouse.height_m * 0.6, 0, side * bay)
        roof = gable_roof(body, greenhouse.height_m * 0.4, 0.0)
        parts.append(Part(box_walls(body), as_color(GLASS, 0.8), Material.GLASS_ROOF))
        parts.append(Part(roof, as_color(GLASS), Material.GLASS_ROOF))
    return parts


def _solar_park(park: SceneObject, rng: Rng) -> list[Part]:
    rows = []
    for y in np.arange(-park.depth_m / 2 + 1.8, park.depth_m / 2 - 1.0, 4.2):
        low, high = 0.6, 2.0
        edges = ((-0.5, -1.4, low), (0.5, -1.4, low), (0.5, 1.4, high), (-0.5, 1.4, high))
        corners = np.array([(x * park.width_m * 0.94, y + dy, z) for x, dy, z in edges], np.float32)
        rows.append(corners[np.array([[0, 1, 2], [0, 2, 3]])])
    return [Part(np.concatenate(rows), as_color(SOLAR_PANEL), Material.GLASS_ROOF)]


def _car(car: SceneObject, rng: Rng) -> list[Part]:
    color = _color(car)
    body = Box(car.width_m, car.depth_m, car.height_m * 0.55, z_m=0.3)
    cabin = Box(
        car.width_m * 0.5,
        car.depth_m * 0.84,
        car.height_m * 0.4,
        -0.2,
        0,
        car.height_m * 0.55 + 0.3,
    )
    return [
        Part(box_shell(body), color, Material.VEHICLE),
        Part(box_walls(cabin), as_color(CAR_WINDOW), Material.VEHICLE),
        Part(box_top(cabin), color, Material.VEHICLE),
    ]


def _truck(truck: SceneObject, rng: Rng) -> list[Part]:
    length = truck.width_m
    load = Box(length * 0.76, truck.depth_m, truck.height_m, -length * 0.12, 0, 0.5)
    cab = Box(length * 0.18, truck.depth_m * 0.94, truck.height_m * 0.8, length * 0.4, 0, 0.4)
    return [
        Part(box_shell(load), _color(truck), Material.VEHICLE),
        Part(box_shell(cab), as_color((226, 228, 228)), Material.VEHICLE),
    ]


def _bus(bus: SceneObject, rng: Rng) -> list[Part]:
    body = Box(bus.width_m, bus.depth_m, bus.height_m, z_m=0.4)
    windows = Box(bus.width_m * 0.96, bus.depth_m + 0.06, bus.height_m * 0.35, z_m=1.6)
    hatch = Box(2.0, 1.4, 0.25, bus.width_m * 0.2, 0, bus.height_m + 0.4)
    return [
        Part(box_shell(body), _color(bus), Material.VEHICLE),
        Part(box_walls(windows), as_color(CAR_WINDOW), Material.VEHICLE),
        Part(box_shell(hatch), as_color((206, 208, 208)), Material.VEHICLE),
    ]


def _train(train: SceneObject, rng: Rng) -> list[Part]:
    num_cars = 4
    pitch = train.width_m / num_cars
    parts = []
    for index in range(num_cars):
        x = (index - (num_cars - 1) / 2) * pitch
        body = Box(pitch - 1.0, train.depth_m, train.height_m, x, 0, 0.8)
        rail = Box(pitch - 3.0, train.depth_m * 0.4, 0.4, x, 0, train.height_m + 0.8)
        parts.append(Part(box_shell(body), _color(train), Material.VEHICLE))
        parts.append(Part(box_shell(rail), as_color(_color(train), 0.8), Material.VEHICLE))
    return parts


_BUILDERS: dict[str, Callable[[SceneObject, Rng], list[Part]]] = {
    "house": _house,
    "apartment block": _block,
    "tower": _tower,
    "warehouse": _warehouse,
    "hangar": _hangar,
    "storage tank": _tank,
    "dome": _dome,
    "church": _church,
    "greenhouse": _greenhouse,
    "solar park": _solar_park,
    "car": _car,
    "truck": _truck,
    "bus": _bus,
    "train": _train,
}
