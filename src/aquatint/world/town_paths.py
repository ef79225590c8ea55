"""Smooth paths over a town: where to, along which way, and how an agent looks about on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from aquatint.world.arrays import FloatArray, Rng
from aquatint.world.town_map import TownMap

_MAX_TRIES = 200
_FINE_M = 0.5
_HALF_AREA_M = 52.0
_INSIDE_M = 3.0
_MAX_LOOK_RAD = np.radians(40.0)
_LOOK_DECAY, _LOOK_NOISE_RAD = 0.6, np.radians(5.0)


@dataclass(frozen=True)
class PathRule:
    """What paths are drawn.

    Attributes:
        spacing_m: Way between two frames.
        min_length_m: Least distance from start to goal.
        max_length_m: Largest distance from start to goal.
        detour_share: Share of paths of which the straight way is blocked, where a town has some.
        colliding_share: Share of paths that go straight, and so into what stands there.
        gust_share: Share of frames at which the agent is turned away from its way.
    """

    spacing_m: float = 2.0
    min_length_m: float = 18.0
    max_length_m: float = 48.0
    detour_share: float = 0.7
    colliding_share: float = 0.0
    gust_share: float = 0.0


@dataclass(frozen=True, eq=False)
class TownPath:
    """A path from a start to a goal.

    Attributes:
        states: World x, y and heading of the agent at each frame, shape (T, 3).
        goal: Where it is to lead, shape (2,).
        length_m: Length of the shortest way.
        is_detour: Whether the straight way is blocked.
        is_colliding: Whether the path runs into an obstacle.
    """

    states: FloatArray
    goal: FloatArray
    length_m: float
    is_detour: bool
    is_colliding: bool


class PathPlanner:
    """Shortest ways that keep more distance than an agent needs.

    Args:
        town: Where the agent may be.
        wide: The same with a larger radius, along which ways are planned.
    """

    def __init__(self, town: TownMap, wide: TownMap) -> None:
        self.town, self._wide = town, wide

    def plan(self, start: FloatArray, goal: FloatArray) -> FloatArray | None:
        """Return points half a metre apart from start to goal, (N, 2); None without a way."""
        begin, end = self._clear(start), self._clear(goal)
        cells = None if begin is None or end is None else self._wide.way(begin, end)
        if cells is None or begin is None or end is None:
            return None
        corners = self._shortcut(np.concatenate([begin[None], cells[1:-1], end[None]]))
        rough = resample(np.concatenate([start[None], corners, goal[None]]), _FINE_M)
        smooth = gaussian_filter1d(rough, 3.0, axis=0, mode="nearest")
        # Both ends stay where they are: the filter pulls them in.
        smooth[0], smooth[-1] = start, goal
        return smooth if self.town.is_free(smooth).all() else rough

    def _clear(self, place: FloatArray) -> FloatArray | None:
        """The nearest place with more distance, to which the way is free; None if there is none."""
        if self._wide.is_free(place[None])[0]:
            return place
        angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        for radius in (1.0, 2.0, 3.0):
            for angle in angles:
                near = place + radius * np.array([np.cos(angle), np.sin(angle)])
                if self._wide.is_free(near[None])[0] and self.town.is_way_free(place, near):
                    return near
        return None

    def _shortcut(self, points: FloatArray) -> FloatArray:
        """Leave out all corners that a straight way avoids."""
        kept, place = [0], 0
        while place < len(points) - 1:
            later = range(len(points) - 1, place, -1)
            place = next(
                (i for i in later if self._wide.is_way_free(points[place], points[i])), place + 1
            )
            kept.append(place)
        return points[kept]


def resample(points: FloatArray, spacing_m: float) -> FloatArray:
    """Return points of a polyline (N, 2) at even distances, its end included."""
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    along = np.concatenate([[0.0], steps.cumsum()])
    places = np.arange(0, along[-1], spacing_m)
    # An end that is nearly reached is not reached twice.
    if len(places) > 1 and along[-1] - places[-1] < 0.25 * spacing_m:
        places = places[:-1]
    places = np.append(places, along[-1])
    return np.stack([np.interp(places, along, points[:, axis]) for axis in (0, 1)], axis=1)


def length_of(points: FloatArray) -> float:
    """Length of a polyline (N, 2) in metres."""
    return float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum())


def sample_path(planner: PathPlanner, rng: Rng, rule: PathRule) -> TownPath | None:
    """Draw a path; None if the town has no room for one.

    Args:
        planner: Ways over the town.
        rng: Source of all choices.
        rule: What paths are drawn.
    """
    wants_collision = rng.random() < rule.colliding_share
    wants_detour = wants_collision or rng.random() < rule.detour_share
    for attempt in range(_MAX_TRIES):
        start = rng.uniform(-_HALF_AREA_M, _HALF_AREA_M, 2)
        distance_m = rng.uniform(rule.min_length_m, rule.max_length_m)
        angle = rng.uniform(-np.pi, np.pi)
        goal = start + distance_m * np.array([np.cos(angle), np.sin(angle)])
        ends = np.stack([start, goal])
        if np.abs(goal).max() > _HALF_AREA_M or not planner.town.is_free(ends).all():
            continue
        is_detour = not planner.town.is_way_free(start, goal)
        # In an open town there may be none: half the tries are for any path.
        if is_detour != wants_detour and attempt < _MAX_TRIES // 2:
            continue
        way = planner.plan(start, goal)
        if way is None or length_of(way) > 2 * rule.max_length_m:
            continue
        is_colliding = wants_collision and is_detour
        flown = _straight_into(planner.town, start, goal) if is_colliding else way
        states = _look_about(resample(flown, rule.spacing_m), rng, rule.gust_share)
        return TownPath(states, goal, length_of(way), is_detour, is_colliding)
    return None


def _straight_into(town: TownMap, start: FloatArray, goal: FloatArray) -> FloatArray:
    """The straight way to a goal, to a little behind where it is first blocked."""
    fine = resample(np.stack([start, goal]), _FINE_M)
    blocked = int(np.argmin(town.is_free(fine)))
    return fine[: blocked + round(_INSIDE_M / _FINE_M) + 1]


def _look_about(points: FloatArray, rng: Rng, gust_share: float) -> FloatArray:
    """Give every point a heading along the way, and turn the agent away from it now and then."""
    ahead = np.diff(points, axis=0)
    ahead = np.concatenate([ahead, ahead[-1:]])
    headings = np.arctan2(ahead[:, 1], ahead[:, 0])
    away = rng.uniform(-_MAX_LOOK_RAD, _MAX_LOOK_RAD)
    for frame in range(len(points)):
        headings[frame] += away
        gust = rng.random() < gust_share
        away = rng.uniform(-_MAX_LOOK_RAD, _MAX_LOOK_RAD) if gust else _LOOK_DECAY * away
        away += _LOOK_NOISE_RAD * rng.standard_normal()
    wrapped = (headings + np.pi) % (2 * np.pi) - np.pi
    return np.concatenate([points, wrapped[:, None]], axis=1)
