"""How a goal is told: as a place, or as a mark in the current picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MARK_RADIUS_PX = 2


@dataclass(frozen=True)
class MountedCamera:
    """A camera over flat ground that looks ahead and down.

    Attributes:
        focal_x_px: Focal length over columns.
        focal_y_px: Focal length over rows.
        center_x_px: Column of the axis.
        center_y_px: Row of the axis.
        width_px: Width of the image.
        height_px: Height of the image.
        height_m: Height over the ground.
        pitch_down_rad: Angle of the view below the horizon.
    """

    focal_x_px: float
    focal_y_px: float
    center_x_px: float
    center_y_px: float
    width_px: int
    height_px: int
    height_m: float
    pitch_down_rad: float

    def locate(self, ahead_m: float, left_m: float) -> tuple[float, float]:
        """Return column and row of a place on the ground as shares of the image, in [0, 1].

        A place outside the image is put on its border, on the side where it lies: an agent must
        know where to turn.

        Args:
            ahead_m: Metres ahead of the camera's foot.
            left_m: Metres to the left of it.
        """
        sine, cosine = np.sin(self.pitch_down_rad), np.cos(self.pitch_down_rad)
        depth_m = ahead_m * cosine + self.height_m * sine
        down_m = -ahead_m * sine + self.height_m * cosine
        if depth_m < 0.1:
            # Behind the camera there is no place; the lower corner of its side comes nearest.
            return (0.0 if left_m > 0 else 1.0), 1.0
        column = self.center_x_px - self.focal_x_px * left_m / depth_m
        row = self.center_y_px + self.focal_y_px * down_m / depth_m
        shares = np.clip([column / self.width_px, row / self.height_px], 0, 1)
        return float(shares[0]), float(shares[1])


def mark_goal(camera: MountedCamera, place: NDArray[Any], size_px: int) -> NDArray[np.float32]:
    """Return an image that is 1 in a small square around a goal, shape (size_px, size_px).

    Args:
        camera: The camera.
        place: Metres ahead and metres to the left, shape (2,) or more.
        size_px: Edge of the image.
    """
    column, row = (
        min(int(share * size_px), size_px - 1)
        for share in camera.locate(float(place[0]), float(place[1]))
    )
    mark = np.zeros((size_px, size_px), np.float32)
    reach = _MARK_RADIUS_PX
    mark[max(0, row - reach) : row + reach + 1, max(0, column - reach) : column + reach + 1] = 1
    return mark


def point_goal(place: NDArray[Any], reach_m: float) -> NDArray[np.float32]:
    """Return a place as a point goal: shares of the reach, and no wish for a heading.

    Args:
        place: Metres ahead and metres to the left, shape (2,) or more.
        reach_m: Longest trajectory; farther goals are moved to three times that distance.

    Returns:
        Shape (3,).
    """
    goal = np.zeros(3, np.float32)
    goal[:2] = np.asarray(place[:2]) / reach_m
    # Only the direction of a far goal matters, and numbers beyond those of training would not.
    goal[:2] /= max(1.0, float(np.linalg.norm(goal[:2])) / 3)
    return goal
