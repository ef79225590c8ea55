"""What NavDP learns from a path: waypoints ahead, their distance from obstacles, their value."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.spatial import KDTree

from aquatint.geometry.poses import to_local_frame

Floats = NDArray[np.float64]
_KNOT_EVERY = 3


@dataclass(frozen=True)
class CriticRule:
    """What a trajectory is worth.

    Attributes:
        collision_distance_m: Nearer waypoints count as collisions.
        collision_weight: What the share of such waypoints costs.
        clearance_weight: What each metre is worth by which the distance from obstacles grows from
            the first waypoint to the last.
        open_value: Value where there is no obstacle at all.
    """

    collision_distance_m: float
    collision_weight: float
    clearance_weight: float
    open_value: float


class ObstacleField:
    """Distances from the nearest obstacle of a scene.

    Args:
        places: Obstacles over the ground, world x and y in metres, shape (N, 2).
    """

    def __init__(self, places: Floats) -> None:
        self._tree = KDTree(places) if len(places) else None

    @property
    def is_open(self) -> bool:
        """Whether there is no obstacle."""
        return self._tree is None

    def distances_m(self, points: Floats) -> Floats:
        """Return L1 distances of points from the nearest obstacle, inf without any.

        Args:
            points: World x and y in metres, shape (..., 2).

        Returns:
            Metres, shape (...).
        """
        if self._tree is None:
            return np.full(points.shape[:-1], np.inf)
        return np.asarray(self._tree.query(points, p=1)[0], float)


def critic_values(distances_m: Floats, rule: CriticRule) -> Floats:
    """Return what trajectories are worth.

    The share of waypoints that collide, weighted, is taken off the distance from obstacles that is
    gained on the way.

    Args:
        distances_m: Distance of each waypoint from the nearest obstacle, inf where there is none
            at all, shape (..., H).
        rule: Weights.

    Returns:
        Values, the higher the better, shape (...).
    """
    is_open = np.isinf(distances_m).any(-1)
    finite = np.where(np.isinf(distances_m), 0.0, distances_m)
    share = (finite < rule.collision_distance_m).mean(-1)
    # The sum of all differences is the last distance minus the first.
    gain = finite[..., -1] - finite[..., 0]
    values = -rule.collision_weight * share + rule.clearance_weight * gain
    return np.where(is_open, rule.open_value, values)


def waypoints_ahead(poses: Floats, start: int, end: int, horizon: int, stride: int) -> Floats:
    """Return the coming poses as they are seen from one of them.

    Args:
        poses: World x, y and heading of a path, shape (T, 3).
        start: Frame that they are seen from.
        end: Frame at which to stop; waypoints beyond repeat it.
        horizon: Number of waypoints.
        stride: Frames between two of them.

    Returns:
        Metres ahead, metres to the left, turn in radians, shape (H, 3).
    """
    frames = np.minimum(start + stride * np.arange(1, horizon + 1), end)
    return to_local_frame(poses[frames], poses[start])


def actions_of(waypoints: Floats, scale: float) -> Floats:
    """Return increments from waypoint to waypoint, the first from the origin, times ``scale``.

    Args:
        waypoints: Shape (..., H, 3).
        scale: Factor that brings increments into [-1, 1].

    Returns:
        Increments, turns wrapped, shape (..., H, 3).
    """
    before = np.concatenate([np.zeros_like(waypoints[..., :1, :]), waypoints[..., :-1, :]], -2)
    steps = waypoints - before
    steps[..., 2] = np.pi - (np.pi - steps[..., 2]) % (2 * np.pi)
    return steps * scale


def waypoints_of(actions: Floats, scale: float) -> Floats:
    """Return the waypoints that increments lead to; inverse of ``actions_of`` up to whole turns."""
    return np.cumsum(actions, axis=-2) / scale


def rotate_smoothly(waypoints: Floats, angle_rad: float) -> Floats:
    """Turn a trajectory about its beginning, as a smooth curve.

    A spline runs through the origin and every third of the turned waypoints.

    Args:
        waypoints: Metres ahead and to the left, turn in radians, shape (H, 3).
        angle_rad: Angle to the left.

    Returns:
        Shape (H, 3).
    """
    cosine, sine = np.cos(angle_rad), np.sin(angle_rad)
    turned = waypoints[:, :2] @ np.array([[cosine, sine], [-sine, cosine]])
    through = np.concatenate([np.zeros((1, 2)), turned])
    knots = np.unique([*range(0, len(through), _KNOT_EVERY), len(through) - 1])
    if len(knots) > 2:
        through = CubicSpline(knots, through[knots])(np.arange(len(through)))
    return np.concatenate([through[1:], waypoints[:, 2:] + angle_rad], axis=1)
