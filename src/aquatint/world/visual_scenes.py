"""Sparse scenes to ask about: two to five tall objects, perhaps a road, perhaps a river."""

import numpy as np

from aquatint.world.arrays import Rng
from aquatint.world.kinds import KIND_RULES, ROUND_KINDS
from aquatint.world.layout import Layout
from aquatint.world.network import Network, sample_network
from aquatint.world.objects import SceneObject
from aquatint.world.occupancy import Occupancy
from aquatint.world.palette import GROUND_KINDS, GroundKind
from aquatint.world.render import Camera
from aquatint.world.scenes import Scene, build_scene
from aquatint.world.trees import TreeArrays

KINDS = ("tower", "dome", "warehouse", "storage tank", "hangar")
MAX_OBJECTS = 5
_REACH_M = 34.0
_GAP_M = 4.0
_NUM_TRIES = 60
_ROAD_CHANCE = _RIVER_CHANCE = 0.5


def make_visual_scene(seed: int) -> Scene:
    """Draw a sparse scene; names of its objects are unique, and no kind is always the tallest.

    Args:
        seed: Any number from 0.
    """
    rng = np.random.default_rng([seed, 71])
    ground = GROUND_KINDS[int(rng.integers(len(GROUND_KINDS)))]
    network = _sample_network(rng)
    objects = _place_objects(rng, ground, network)
    # The world's last object is always the scattered trees; here there are none of them.
    objects.append(SceneObject("trees", "", 0.0, 0.0, 0.0, 0.0, 0.0, 0.0))
    none = np.zeros(0, np.float32)
    trees = TreeArrays(
        np.zeros((0, 2), np.float32), none, none, np.zeros(0, bool), np.zeros(0, np.int32)
    )
    return build_scene(Layout(ground, network, tuple(objects), trees), "intact", seed)


def sample_visual_camera(rng: Rng) -> Camera:
    """Draw an oblique camera, so that what is lower in the picture is nearer."""
    x, y = rng.uniform(-6, 6, 2).tolist()
    return Camera(
        altitude_m=float(rng.uniform(70, 100)),
        pitch_deg=float(rng.uniform(15, 45)),
        yaw_deg=float(rng.uniform(0, 360)),
        x_m=x,
        y_m=y,
    )


def _sample_network(rng: Rng) -> Network:
    has_road, has_river = rng.random() < _ROAD_CHANCE, rng.random() < _RIVER_CHANCE
    while True:
        found = sample_network(rng, 0.0)
        is_wanted = (found.junction == "single road") == has_road
        is_wanted &= found.junction in ("none", "single road")
        if is_wanted and (found.water is not None) == has_river and not found.is_sea:
            return found


def _place_objects(rng: Rng, ground: GroundKind, network: Network) -> list[SceneObject]:
    occupancy = Occupancy()
    for ribbon in (*network.roads, network.water):
        if ribbon is not None:
            occupancy.take(ribbon.outline(margin_m=2.0))
    count = int(rng.integers(2, MAX_OBJECTS + 1))
    objects: list[SceneObject] = []
    num_tries = 0
    # A scene without any object has nothing to ask about.
    while len(objects) < count and (num_tries < _NUM_TRIES or not objects):
        num_tries += 1
        candidate = _sample_object(rng, ground)
        is_new = candidate.name not in {item.name for item in objects}
        if is_new and occupancy.is_free(candidate.footprint(_GAP_M)):
            objects.append(candidate)
            occupancy.take(candidate.footprint(_GAP_M))
    return objects


def _sample_object(rng: Rng, ground: GroundKind) -> SceneObject:
    kind = KINDS[int(rng.integers(len(KINDS)))]
    rule = KIND_RULES[kind]
    colors = [color for color in rule.colors if color not in ground.hidden_colors]
    x, y = rng.uniform(-_REACH_M, _REACH_M, 2).tolist()
    scale = float(rng.uniform(0.8, 1.1))
    return SceneObject(
        kind=kind,
        color=colors[int(rng.integers(len(colors)))],
        x_m=x,
        y_m=y,
        width_m=rule.width_m * scale,
        depth_m=rule.depth_m * (scale if kind in ROUND_KINDS else float(rng.uniform(0.8, 1.1))),
        # The same range for all kinds: which of two is taller cannot be told from their names.
        height_m=float(rng.uniform(8, 30)),
        yaw_rad=float(rng.uniform(0, np.pi)),
    )
