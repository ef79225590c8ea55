"""Roads, water and railways: long ribbons that cross the whole scene."""

from bisect import bisect_left
from dataclasses import dataclass
from functools import cached_property
from math import atan2, cos, sin

import numpy as np

from aquatint.world.arrays import FloatArray

REACH_M = 260.0
# Crossings keep this distance from the middle of the scene, so that most views show them.
MAX_OFFSET_M = 30.0

JUNCTIONS = ("none", "single road", "crossroads", "T-junction", "roundabout")
_JUNCTION_CHANCES = (0.08, 0.34, 0.28, 0.12, 0.18)
_COAST_JUNCTION_CHANCES = (0.4, 0.6, 0.0, 0.0, 0.0)
WATER_KINDS = ("none", "river", "sea")
_WATER_CHANCES = (0.6, 0.28, 0.12)
SEA_WIDTH_M = 240.0
ROUNDABOUT_RADIUS_M = 16.0


@dataclass(frozen=True, eq=False)
class Ribbon:
    """A line of constant width, such as a road.

    Args:
        points: World x and y along its middle in metres, shape (N, 2).
        width_m: Full width.
    """

    points: FloatArray
    width_m: float

    @cached_property
    def distances_m(self) -> list[float]:
        """Distance of each point from the first one along the ribbon."""
        steps = np.linalg.norm(np.diff(self.points, axis=0), axis=1)
        return [0.0, *np.cumsum(steps).tolist()]

    @cached_property
    def _corners(self) -> list[list[float]]:
        return self.points.tolist()

    @property
    def length_m(self) -> float:
        """Length along the ribbon."""
        return self.distances_m[-1]

    def outline(self, margin_m: float = 0.0) -> FloatArray:
        """Return the polygon around it, widened on each side, shape (2 * N, 2)."""
        along = np.gradient(self.points, axis=0)
        along /= np.linalg.norm(along, axis=1, keepdims=True)
        across = np.stack([-along[:, 1], along[:, 0]], -1) * (self.width_m / 2 + margin_m)
        return np.concatenate([self.points + across, (self.points - across)[::-1]])

    def at(self, offset_m: float, side_m: float = 0.0) -> tuple[float, float, float]:
        """Return x, y and direction (radians) at a distance from its middle along it.

        Args:
            offset_m: Distance along the ribbon from its middle point.
            side_m: Distance to the left of its middle line.
        """
        distances, points = self.distances_m, self._corners
        target = self.length_m / 2 + offset_m
        index = min(max(bisect_left(distances, target) - 1, 0), len(points) - 2)
        (start_x, start_y), (end_x, end_y) = points[index], points[index + 1]
        share = (target - distances[index]) / (distances[index + 1] - distances[index])
        yaw = atan2(end_y - start_y, end_x - start_x)
        x = start_x + (end_x - start_x) * share - side_m * sin(yaw)
        return x, start_y + (end_y - start_y) * share + side_m * cos(yaw), yaw


@dataclass(frozen=True, eq=False)
class Network:
    """Every ribbon of a scene.

    Args:
        junction: How the roads meet, one of ``JUNCTIONS``.
        roads: The roads, the main one first.
        is_dirt: Whether the roads are unpaved.
        center: World x and y of the junction in metres, shape (2,).
        water: The river or the sea, if there is one.
        is_sea: Whether the water is the sea.
        railway: The railway, if there is one.
    """

    junction: str
    roads: tuple[Ribbon, ...]
    is_dirt: bool
    center: FloatArray
    water: Ribbon | None
    is_sea: bool
    railway: Ribbon | None


def sample_network(rng: np.random.Generator, railway_chance: float) -> Network:
    """Draw the ribbons of a scene.

    Args:
        rng: Source of all choices.
        railway_chance: Probability of a railway, 0 to 1.
    """
    water_kind = WATER_KINDS[int(rng.choice(len(WATER_KINDS), p=_WATER_CHANCES))]
    is_sea = water_kind == "sea"
    # Only a road along the coast: others would run into the sea.
    chances = _COAST_JUNCTION_CHANCES if is_sea else _JUNCTION_CHANCES
    junction = JUNCTIONS[int(rng.choice(len(JUNCTIONS), p=chances))]
    center = rng.uniform(-MAX_OFFSET_M, MAX_OFFSET_M, 2)
    main_rad = float(rng.uniform(0, np.pi))
    roads = _sample_roads(rng, junction, center, main_rad)
    is_dirt = junction == "single road" and rng.random() < 0.35
    water = None
    if water_kind != "none":
        water = (_sample_sea if is_sea else _sample_river)(rng, main_rad)
    railway = None
    if water is None and rng.random() < railway_chance:
        railway = _straight(main_rad, _beside(center, main_rad, rng), 6.0)
    return Network(junction, roads, is_dirt, center, water, is_sea, railway)


def _sample_roads(
    rng: np.random.Generator, junction: str, center: FloatArray, main_rad: float
) -> tuple[Ribbon, ...]:
    if junction == "none":
        return ()
    width = float(rng.choice((9.0, 11.0, 13.0)))
    if junction == "single road":
        bend = float(rng.choice((0.0, rng.uniform(4, 14))))
        return (_wavy(main_rad, center, width, bend, float(rng.uniform(0, 6))),)
    cross_rad = main_rad + np.pi / 2 + float(rng.uniform(-0.3, 0.3))
    cross = _straight(cross_rad, center, float(rng.choice((8.0, 10.0))))
    if junction == "T-junction":
        cross = Ribbon(cross.points[len(cross.points) // 2 :], cross.width_m)
    return _straight(main_rad, center, width), cross


def _sample_river(rng: np.random.Generator, main_rad: float) -> Ribbon:
    river_rad = main_rad + float(rng.uniform(0.5, 2.6))
    offset = rng.uniform(-45, 45) * np.array([-np.sin(river_rad), np.cos(river_rad)])
    bend = float(rng.uniform(5, 12))
    return _wavy(river_rad, offset, float(rng.uniform(14, 24)), bend, float(rng.uniform(0, 6)))


def _sample_sea(rng: np.random.Generator, main_rad: float) -> Ribbon:
    side = float(rng.choice((-1, 1))) * (SEA_WIDTH_M / 2 + float(rng.uniform(20, 50)))
    offset = side * np.array([-np.sin(main_rad), np.cos(main_rad)])
    return _wavy(main_rad, offset, SEA_WIDTH_M, float(rng.uniform(2, 7)), float(rng.uniform(0, 6)))


def _beside(center: FloatArray, direction_rad: float, rng: np.random.Generator) -> FloatArray:
    side = float(rng.choice((-1, 1))) * float(rng.uniform(26, 44))
    return center + side * np.array([-np.sin(direction_rad), np.cos(direction_rad)])


def _straight(direction_rad: float, through: FloatArray, width_m: float) -> Ribbon:
    return _wavy(direction_rad, through, width_m, 0.0, 0.0)


def _wavy(
    direction_rad: float, through: FloatArray, width_m: float, bend_m: float, phase_rad: float
) -> Ribbon:
    along = np.linspace(-REACH_M, REACH_M, 105)
    across = bend_m * np.sin(along / 34.0 + phase_rad)
    cosine, sine = np.cos(direction_rad), np.sin(direction_rad)
    points = np.stack([along * cosine - across * sine, along * sine + across * cosine], -1)
    return Ribbon(points + through, width_m)
