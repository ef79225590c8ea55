"""Increments between planar poses: what a flight did, what it did before, and what they mean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aquatint.geometry.poses import to_local_frame

Floats = NDArray[np.float64]
STOP, FORWARD, LEFT, RIGHT = range(4)
# As published: 0.1 m and 0.1 rad of steps of 0.25 m and turns of 0.26 rad.
_QUIET, _NUM_QUIET = 0.4, 3


@dataclass(frozen=True)
class IncrementRule:
    """How poses become increments.

    Attributes:
        horizon: Increments of a chunk.
        num_past: Increments that are remembered.
        step_m: Way of one step forward, which is 1.
        turn_rad: Angle of one turn, which is 1; larger ones are cut.
        motion_scale_m: Distance from the start that is told as 1.
    """

    horizon: int
    num_past: int
    step_m: float
    turn_rad: float
    motion_scale_m: float

    @property
    def scale(self) -> Floats:
        """Metres, metres and radians of an increment of 1, shape (3,)."""
        return np.array([self.step_m, self.step_m, self.turn_rad])


def chunk_ahead(poses: Floats, step: int, rule: IncrementRule) -> Floats:
    """Return the increments of the next poses as seen from one of them, scaled and cut.

    Args:
        poses: World x, y and heading of a flight, shape (T, 3).
        step: Which pose.
        rule: Horizon and scale.

    Returns:
        Ahead, to the left, turn, in [-1, 1]; zeros behind the flight's end, shape (H, 3).
    """
    ahead = poses[np.minimum(np.arange(step, step + rule.horizon + 1), len(poses) - 1)]
    places = to_local_frame(ahead, poses[step])
    moved = np.diff(places, axis=0)
    # Wrapped again: two turns on either side of the back differ by less than a circle.
    moved[:, 2] = (moved[:, 2] + np.pi) % (2 * np.pi) - np.pi
    return (moved / rule.scale).clip(-1, 1)


def past_of(poses: Floats, step: int, rule: IncrementRule) -> Floats:
    """Return the last increments, each as seen from where it began, the latest first.

    Returns:
        Scaled and cut as ``chunk_ahead``; zeros before the flight's first step, shape (P, 3).
    """
    found = np.zeros((rule.num_past, 3))
    for back in range(min(rule.num_past, step)):
        before = poses[step - back - 1]
        found[back] = to_local_frame(poses[[step - back]], before)[0] / rule.scale
    return found.clip(-1, 1)


def motion_of(pose: Floats, first: Floats, rule: IncrementRule) -> Floats:
    """Return where a flight is as seen from its first pose, shape (3,).

    Scaled way ahead and to the left, and the turn as a share of a half circle.
    """
    return to_local_frame(pose[None], first)[0] / [rule.motion_scale_m, rule.motion_scale_m, np.pi]


def displacements(chunk: Floats, rule: IncrementRule) -> Floats:
    """Return positions in metres after each increment of chunks (..., H, 3), shape (..., H, 2)."""
    return (chunk * rule.scale)[..., :2].cumsum(-2)


def actions_of_chunk(chunk: Floats, count: int) -> list[int]:
    """Read actions off the first increments of a chunk.

    An increment that goes somewhere is a step forward, another one turns to the side of its angle.
    Three quiet ones in a row mean that nothing is left to do: the last action is a stop then.

    Args:
        chunk: Scaled increments, shape (H, 3).
        count: Most actions, at most H.
    """
    is_quiet = np.abs(chunk).max(axis=1) < _QUIET
    actions: list[int] = []
    for place in range(min(count, len(chunk))):
        following = is_quiet[place : place + _NUM_QUIET]
        if len(following) == _NUM_QUIET and following.all():
            return [*actions, STOP]
        is_moving = (np.abs(chunk[place, :2]) >= _QUIET).any()
        turn = LEFT if chunk[place, 2] > 0 else RIGHT
        actions.append(FORWARD if is_moving else turn)
    return actions
