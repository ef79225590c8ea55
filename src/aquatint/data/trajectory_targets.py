"""Trajectories that a System 1 learns: evenly spaced points of the way ahead, as increments."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import make_interp_spline

from aquatint.geometry.poses import to_local_frame

Floats = NDArray[np.float64]
_CUBIC = 3
# A step shorter than this share of a point's spacing is no step: its direction would be noise.
_LEAST_STEP = 1e-6


@dataclass(frozen=True)
class TargetRule:
    """How a way becomes a trajectory.

    Attributes:
        num_points: Points of a trajectory.
        spacing_m: Way between two of them.
        min_step_m: Recorded steps no longer than this are left out before smoothing.
        scale: Factor on increments ahead and to the left; turns stay in radians.
        frame_interval: Frames between two targets of one goal.
        max_frames: Most targets of one goal.
        includes_goal: Whether the goal itself is one more, from which there is no way left.
    """

    num_points: int
    spacing_m: float
    min_step_m: float
    scale: float
    frame_interval: int
    max_frames: int
    includes_goal: bool = False

    def __post_init__(self) -> None:
        for name in ("num_points", "spacing_m", "scale", "frame_interval", "max_frames"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}.")


def target_frames(offset: int, rule: TargetRule) -> list[int]:
    """Return frames, counted from the one that set a goal, at which a trajectory is learned.

    Args:
        offset: Frames up to the goal.
        rule: Interval and most frames; the interval grows where there would be more.
    """
    step = max(rule.frame_interval, math.ceil(offset / rule.max_frames))
    frames = list(range(0, offset, step))
    # Without it nothing ever said what a goal looks like that is reached: plans flew past it.
    return [*frames, offset] if rule.includes_goal else frames


def encode_trajectory(places: Floats, rule: TargetRule) -> Floats:
    """Return the way ahead as scaled increments.

    Args:
        places: World x, y and heading of the agent from now up to its goal, shape (T, 3).
        rule: Spacing and scale.

    Returns:
        Increments ahead, to the left (as seen from now) and of the turn, shape (H, 3). Behind the
        end of the way they are 0. The turn is that of the way's direction; the first one is from
        the agent's heading.
    """
    way = _without_standing(to_local_frame(places, places[0])[:, :2], rule.min_step_m)
    increments = np.zeros((rule.num_points, 3))
    if len(way) < 2:
        return increments
    lengths = np.concatenate([[0.0], np.hypot(*np.diff(way, axis=0).T).cumsum()])
    # The curve of ``CubicSpline`` (a line or a parabola through fewer points), in half its time.
    curve = make_interp_spline(lengths, way, k=min(_CUBIC, len(way) - 1))
    at = np.minimum(rule.spacing_m * np.arange(rule.num_points + 1), lengths[-1])
    increments[:, :2] = np.diff(curve(at), axis=0) * rule.scale
    slope = curve(at[1:], 1)
    turns = np.diff(np.arctan2(slope[:, 1], slope[:, 0]), prepend=0.0)
    increments[:, 2] = (turns + np.pi) % (2 * np.pi) - np.pi
    is_over = np.diff(at) < _LEAST_STEP * rule.spacing_m
    increments[is_over] = 0.0
    return increments


def _without_standing(way: Floats, min_step_m: float) -> Floats:
    """Leave out points that lie no farther than a least step from the one kept before."""
    points = way.tolist()
    kept = [points[0]]
    for point in points[1:]:
        if math.dist(point, kept[-1]) > min_step_m:
            kept.append(point)
    return np.array(kept)


def decode_trajectory(increments: Floats, scale: float) -> Floats:
    """Return points of trajectories; inverse of ``encode_trajectory`` at its points.

    Args:
        increments: Scaled increments, shape (..., H, 3).
        scale: Factor that they were scaled by.

    Returns:
        Metres ahead, metres to the left, and heading in radians, shape (..., H, 3).
    """
    return increments.cumsum(-2) / np.array([scale, scale, 1.0])
