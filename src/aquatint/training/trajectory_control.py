"""From a trajectory to actions: pure pursuit with steps and turns of fixed size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aquatint.data.navigation_prompts import FORWARD, LEFT, RIGHT, STOP

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PurePursuit:
    """Follows the points of a trajectory.

    Attributes:
        step_m: Way of one step forward.
        turn_deg: Angle of one turn.
        look_ahead: Points between the nearest one and the one that is aimed at.
        arrival_m: Distance from the last point below which it stops.
    """

    step_m: float
    turn_deg: float
    look_ahead: int
    arrival_m: float

    def act(self, points: Floats, position: Floats, heading_rad: float) -> int:
        """Return the next action: STOP at the end, or where a step would lead away from it.

        Args:
            points: Of the trajectory, in any frame, shape (H, 2).
            position: Where the agent is, shape (2,).
            heading_rad: Where it heads, counter-clockwise from the frame's first axis.
        """
        end = points[-1]
        gap = float(np.linalg.norm(end - position))
        if gap < self.arrival_m:
            return STOP
        nearest = int(np.linalg.norm(points - position, axis=1).argmin())
        aim = points[min(nearest + self.look_ahead, len(points) - 1)]
        offset = aim - position
        angle = np.degrees(np.arctan2(offset[1], offset[0]) - heading_rad)
        angle = (angle + 180) % 360 - 180
        if abs(angle) > self.turn_deg / 2:
            return LEFT if angle > 0 else RIGHT
        ahead = np.array([np.cos(heading_rad), np.sin(heading_rad)]) * self.step_m
        is_leading_away = np.linalg.norm(end - (position + ahead)) > gap
        return STOP if is_leading_away else FORWARD

    def plan(self, points: Floats, num_actions: int) -> list[int]:
        """Return the first actions along a trajectory as seen from the agent, shape (H, 2).

        Args:
            points: Metres ahead and to the left.
            num_actions: Most actions; STOP, if it comes, is the last one.
        """
        position, heading = np.zeros(2), 0.0
        actions: list[int] = []
        while len(actions) < num_actions:
            action = self.act(points, position, heading)
            actions.append(action)
            if action == STOP:
                break
            if action == FORWARD:
                position = position + self.step_m * np.array([np.cos(heading), np.sin(heading)])
            else:
                heading += np.radians(self.turn_deg) * (1 if action == LEFT else -1)
        return actions
