"""From a pixel to a place over the ground, and from there to actions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aquatint.data.navigation_prompts import FORWARD, LEFT, RIGHT
from aquatint.geometry.poses import heading_of, unproject_pixels

Floats = NDArray[np.float64]


def pixel_to_point(
    row: int, column: int, depth_m: Floats, pose: Floats, intrinsics: Floats
) -> Floats | None:
    """Return the place over the ground that a pixel shows: what a System 1 of points is told.

    Args:
        row: Row of the pixel, counted from 0.
        column: Column likewise.
        depth_m: Depth image, 0 where nothing was measured, shape (H, W).
        pose: Camera to world, OpenCV's axes, shape (4, 4).
        intrinsics: Shape (3, 3).

    Returns:
        World x and y in metres, shape (2,); None for a pixel outside of the image, or where
        nothing was measured.
    """
    height, width = depth_m.shape
    if not (0 <= row < height and 0 <= column < width) or not depth_m[row, column] > 0:
        return None
    # Pixels have their middle half a pixel in.
    pixel = np.array([[column + 0.5, row + 0.5]])
    return unproject_pixels(pixel, depth_m[row, column : column + 1], pose, intrinsics)[0, :2]


def to_agent_frame(point: Floats, pose: Floats) -> Floats:
    """Return a place (2,) as an agent sees it: metres ahead, metres to the left."""
    heading = heading_of(pose)
    offset = point - pose[:2, 3]
    ahead = np.array([np.cos(heading), np.sin(heading)])
    left = np.array([-np.sin(heading), np.cos(heading)])
    return np.array([offset @ ahead, offset @ left])


@dataclass(frozen=True)
class StraightLine:
    """Flies straight to a place: turns towards it, then goes.

    Attributes:
        step_m: Way of one step forward.
        turn_deg: Angle of one turn.
        arrival_m: Distance below which the place counts as reached.
    """

    step_m: float
    turn_deg: float
    arrival_m: float

    def act(self, point: Floats, pose: Floats) -> int | None:
        """Return the next action, None where the place is reached.

        Args:
            point: World x and y in metres, shape (2,).
            pose: Camera to world, shape (4, 4).
        """
        ahead, left = to_agent_frame(point, pose)
        if np.hypot(ahead, left) < self.arrival_m:
            return None
        angle = np.degrees(np.arctan2(left, ahead))
        if abs(angle) <= self.turn_deg / 2:
            return FORWARD
        return LEFT if angle > 0 else RIGHT
