"""Where everything stands: draws objects until the scene is full."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from aquatint.world.arrays import FloatArray, Rng
from aquatint.world.kinds import (
    AREAS,
    DEFAULT_RAILWAY_CHANCE,
    KIND_RULES,
    RAILWAY_CHANCES,
    REPEATABLE,
    ROUND_KINDS,
    THEMES,
    TRAIN_RULE,
    VEHICLE_CHANCES,
    VEHICLE_RULES,
)
from aquatint.world.network import ROUNDABOUT_RADIUS_M, Network, sample_network
from aquatint.world.objects import FLAT_KINDS, SceneObject
from aquatint.world.occupancy import HALF_EXTENT_M, Occupancy
from aquatint.world.palette import GROUND_KINDS, GroundKind
from aquatint.world.trees import TreeArrays
from aquatint.world.vegetation import plant_trees

T = TypeVar("T")

CORE_HALF_M = 60.0
NUM_CORE_TRIES = 190
NUM_OUTER_TRIES = 80
MAX_AREAS = 3
MIN_CORE_OBJECTS = 12
MAX_CORE_OBJECTS = 22
NUM_VEHICLE_TRIES = 16
VEHICLE_GAP_M = 15.0
TRAIN_CHANCE = 0.75
GAP_M = 2.5
# Of all scattered trees, the last of a scene's objects.
_TREES = SceneObject("trees", "", 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True, eq=False)
class Layout:
    """Everything that a scene consists of, before it is given a shape.

    Args:
        ground: Kind of the open ground.
        network: Roads, water and railway.
        objects: All objects; object i has the id i + 1. The last one is the scattered trees.
        trees: All trees.
    """

    ground: GroundKind
    network: Network
    objects: tuple[SceneObject, ...]
    trees: TreeArrays


def sample_layout(rng: Rng) -> Layout:
    """Draw a scene."""
    ground, network, occupancy, placed = _begin(rng)
    objects = [*placed, *_place_vehicles(rng, network)]
    trees = plant_trees(rng, objects, ground, occupancy.is_free_at)
    return Layout(ground, network, (*objects, _TREES), trees)


def sample_sparse_layout(rng: Rng, num_solids: int) -> Layout:
    """Draw a scene that has the first few solids of ``sample_layout``, and nothing else on it."""
    ground, network, _, placed = _begin(rng)
    solids = (
        item
        for item in itertools.chain(placed, _place_vehicles(rng, network))
        if item.kind not in FLAT_KINDS and item.height_m > 0
    )
    # No more is drawn than is kept: what comes after the last solid changes nothing before it.
    objects = (*itertools.islice(solids, num_solids), _TREES)
    none: FloatArray = np.zeros(0, np.float32)
    trees = TreeArrays(np.zeros((0, 2), np.float32), none, none, none.astype(bool),
                       none.astype(np.int32))  # fmt: skip
    return Layout(ground, network, objects, trees)


def _begin(rng: Rng) -> tuple[GroundKind, Network, Occupancy, Iterator[SceneObject]]:
    """Draw what is common to a scene, and return what stands there as it is asked for."""
    theme = _pick(rng, tuple(THEMES))
    ground = _pick(rng, GROUND_KINDS)
    network = sample_network(rng, RAILWAY_CHANCES.get(theme, DEFAULT_RAILWAY_CHANCE))
    occupancy = Occupancy()
    _take_network(occupancy, network)
    placed = _place_objects(rng, THEMES[theme], ground, network, occupancy)
    return ground, network, occupancy, placed


def _pick(rng: Rng, choices: tuple[T, ...]) -> T:
    # Not rng.choice, which turns the choices into an array each time.
    return choices[int(rng.integers(len(choices)))]


def _take_network(occupancy: Occupancy, network: Network) -> None:
    for ribbon in (*network.roads, network.water, network.railway):
        if ribbon is not None:
            occupancy.take(ribbon.outline(margin_m=3.0))
    if network.junction == "roundabout":
        angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        circle = np.stack([np.cos(angles), np.sin(angles)], -1) * (ROUNDABOUT_RADIUS_M + 4)
        occupancy.take(network.center + circle)


def _place_objects(
    rng: Rng,
    weights: dict[str, int],
    ground: GroundKind,
    network: Network,
    occupancy: Occupancy,
) -> Iterator[SceneObject]:
    kinds = tuple(kind for kind, weight in weights.items() for _ in range(weight))
    core = [_pick(rng, kinds) for _ in range(NUM_CORE_TRIES)]
    areas = [kind for kind in core[:14] if kind in AREAS][:MAX_AREAS]
    outer = [_pick(rng, kinds) for _ in range(NUM_OUTER_TRIES)]
    num_core = len(areas) + len(core)
    max_core = int(rng.integers(MIN_CORE_OBJECTS, MAX_CORE_OBJECTS + 1))
    main_rad = network.roads[0].at(0.0)[2] if network.roads else 0.0
    names: set[str] = set()
    num_placed = 0
    for index, kind in enumerate([*areas, *core, *outer]):
        is_core = index < num_core
        if is_core and num_placed >= max_core:
            continue
        reach = CORE_HALF_M if is_core else HALF_EXTENT_M - 20
        candidate = _sample_object(rng, kind, ground, reach, main_rad)
        is_new = kind in REPEATABLE or candidate.name not in names
        if is_new and occupancy.is_free(candidate.footprint(GAP_M)):
            names.add(candidate.name)
            num_placed += 1
            occupancy.take(candidate.footprint(GAP_M - 0.5))
            yield candidate


def _sample_object(
    rng: Rng, kind: str, ground: GroundKind, reach_m: float, main_rad: float
) -> SceneObject:
    rule = KIND_RULES[kind]
    colors = tuple(color for color in rule.colors if color not in ground.hidden_colors)
    x, y, tilt = rng.uniform(-1, 1, 3).tolist()
    scale_x, scale_y, scale_z = rng.uniform(0.86, 1.16, 3).tolist()
    return SceneObject(
        kind=kind,
        color=_pick(rng, colors),
        x_m=x * reach_m,
        y_m=y * reach_m,
        width_m=rule.width_m * scale_x,
        depth_m=rule.depth_m * (scale_x if kind in ROUND_KINDS else scale_y),
        height_m=rule.height_m * scale_z,
        yaw_rad=main_rad + _pick(rng, (0.0, np.pi / 2)) + 0.05 * tilt,
    )


def _place_vehicles(rng: Rng, network: Network) -> Iterator[SceneObject]:
    vehicles: list[SceneObject] = []
    if network.railway is not None and rng.random() < TRAIN_CHANCE:
        x, y, yaw = network.railway.at(float(rng.uniform(-30, 30)))
        color = _pick(rng, TRAIN_RULE.colors)
        width, depth, height = TRAIN_RULE[:3]
        vehicles.append(SceneObject("train", color, x, y, width, depth, height, yaw))
        yield vehicles[-1]
    for _ in range(NUM_VEHICLE_TRIES if network.roads else 0):
        vehicle = _sample_vehicle(rng, network)
        if _keeps_clear(vehicle, vehicles, network):
            vehicles.append(vehicle)
            yield vehicle


def _sample_vehicle(rng: Rng, network: Network) -> SceneObject:
    kind = tuple(VEHICLE_RULES)[int(rng.choice(len(VEHICLE_RULES), p=VEHICLE_CHANCES))]
    rule = VEHICLE_RULES[kind]
    road = _pick(rng, network.roads)
    side = _pick(rng, (-1.0, 1.0))
    reach = min(0.9 * HALF_EXTENT_M, 0.45 * road.length_m)
    # Drives on the right: its direction follows from its side.
    x, y, yaw = road.at(float(rng.uniform(-reach, reach)), -side * road.width_m / 4)
    scale = float(rng.uniform(0.92, 1.08))
    return SceneObject(
        kind=kind,
        color=_pick(rng, rule.colors),
        x_m=x,
        y_m=y,
        width_m=rule.width_m * scale,
        depth_m=rule.depth_m * scale,
        height_m=rule.height_m * scale,
        yaw_rad=yaw if side > 0 else yaw + np.pi,
    )


def _keeps_clear(vehicle: SceneObject, others: list[SceneObject], network: Network) -> bool:
    here = np.array([vehicle.x_m, vehicle.y_m])
    if _gap(here, network.center) < ROUNDABOUT_RADIUS_M + 8:
        return False
    if network.railway is not None and _gap(here, network.railway.points) < 12:
        return False
    return all(_gap(here, np.array([o.x_m, o.y_m])) > VEHICLE_GAP_M for o in others)


def _gap(here: FloatArray, points: FloatArray) -> float:
    return float(np.linalg.norm(points - here, axis=-1).min())
