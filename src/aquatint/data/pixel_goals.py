"""Pixel goals: where in an image the way ahead can last be seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aquatint.geometry.poses import project_points

Floats = NDArray[np.float64]
NO_GOAL = -1


@dataclass(frozen=True)
class GoalRule:
    """What counts as a visible goal.

    Attributes:
        depth_tolerance_m: Largest difference between a point's depth and the depth that the camera
            measured there; above it something stands in front.
        min_offset: Fewest frames between an image and the frame it points at.
        max_depth_m: Measured depths from here on say nothing.
        camera_height_m: Height of the camera over the ground.
        min_distance_m: Positions nearer than this are no goal: an agent that turns in place sees
            where it stands.
    """

    depth_tolerance_m: float
    min_offset: int
    max_depth_m: float
    camera_height_m: float
    min_distance_m: float = 0.0

    def __post_init__(self) -> None:
        for name in ("depth_tolerance_m", "max_depth_m", "camera_height_m"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}.")
        if self.min_offset < 1:
            raise ValueError(f"min_offset must be at least 1, got {self.min_offset}.")


class PixelGoals(NamedTuple):
    """Goals of an episode's frames.

    Attributes:
        rows: Row of the goal in pixels, counted from 0; -1 without one, shape (T,).
        columns: Column likewise, shape (T,).
        offsets: Frames from an image to the frame it points at; -1 without one, shape (T,).
        hidden: Candidates inside the image that something stood in front of, shape (T,).
        unmeasured: Candidates inside the image where no depth was measured, shape (T,).
    """

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    offsets: NDArray[np.int64]
    hidden: NDArray[np.int64]
    unmeasured: NDArray[np.int64]


def label_pixel_goals(
    poses: Floats, depth_of: Callable[[int], Floats], intrinsics: Floats, rule: GoalRule
) -> PixelGoals:
    """Find for every frame the farthest later position of the agent that its image shows.

    Candidates are the points on the ground below later cameras. One counts as visible if it lies
    inside the image and the camera measured its depth there. Of the visible ones the latest is
    the goal: the way may leave the image and come back, and a goal is where to go, not how.

    Args:
        poses: Camera to world of each frame, OpenCV's axes, shape (T, 4, 4).
        depth_of: Measured depth of a frame in metres, 0 where nothing was measured, shape (H, W);
            called only for frames whose geometry leaves a candidate.
        intrinsics: Of these images, shape (3, 3).
        rule: What counts as visible.

    References:
        The rule that DualVLN (InternNav) describes for its data, whose program was never published:
        future positions projected into the look-down image, hidden ones dropped by depth, the
        farthest visible one taken. Tolerance and least offset are parameters here.
    """
    floor = poses[:, :3, 3] - (0.0, 0.0, rule.camera_height_m)
    size = len(poses)
    rows, columns, offsets = (np.full(size, NO_GOAL, np.int64) for _ in range(3))
    hidden, unmeasured = np.zeros(size, np.int64), np.zeros(size, np.int64)
    height, width = _image_size(intrinsics)
    for frame in range(size - rule.min_offset):
        seen = project_points(floor[frame + rule.min_offset :], poses[frame], intrinsics)
        is_inside = (
            (seen[:, 2] > 0)
            & (seen[:, 0] >= 0)
            & (seen[:, 0] < width)
            & (seen[:, 1] >= 0)
            & (seen[:, 1] < height)
            & (_distances(floor, frame, rule.min_offset) >= rule.min_distance_m)
        )
        inside = np.nonzero(is_inside)[0]
        if not len(inside):
            continue
        depth = depth_of(frame)
        if depth.shape != (height, width):
            raise ValueError(
                f"depth of frame {frame} has {depth.shape[1]} x {depth.shape[0]} pixels, the "
                f"intrinsics are those of {width} x {height}. Correct image size or field of view."
            )
        at = seen[inside, :2].astype(np.int64)
        measured = depth[at[:, 1], at[:, 0]]
        is_measured = (measured > 0) & (measured < rule.max_depth_m)
        is_visible = is_measured & (np.abs(measured - seen[inside, 2]) < rule.depth_tolerance_m)
        # Nearer than the point itself: something stands before it.
        is_hidden = is_measured & (measured <= seen[inside, 2] - rule.depth_tolerance_m)
        hidden[frame], unmeasured[frame] = int(is_hidden.sum()), int((~is_measured).sum())
        if is_visible.any():
            last = int(np.nonzero(is_visible)[0][-1])
            columns[frame], rows[frame] = at[last]
            offsets[frame] = inside[last] + rule.min_offset
    return PixelGoals(rows, columns, offsets, hidden, unmeasured)


def _distances(floor: Floats, frame: int, first: int) -> Floats:
    """How far later positions lie from a frame's own, shape (T - frame - first,)."""
    return np.linalg.norm(floor[frame + first :] - floor[frame], axis=1)


def _image_size(intrinsics: Floats) -> tuple[int, int]:
    # The axis goes through the middle, by construction of ``intrinsic_matrix``.
    return round(2 * intrinsics[1, 2]), round(2 * intrinsics[0, 2])
