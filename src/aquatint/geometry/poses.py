"""Camera poses: matrices from camera to world, intrinsics, and projection both ways.

A camera's own axes are OpenCV's: x to the right, y down, z forward. The world's z points up.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
CameraAxes = Literal["opencv", "opengl"]

# Columns of a pose whose sign differs from OpenCV's: OpenGL looks along -z, with y up.
_TO_OPENCV = {"opencv": np.eye(4), "opengl": np.diag([1.0, -1.0, -1.0, 1.0])}


def intrinsic_matrix(width_px: int, height_px: int, horizontal_fov_deg: float) -> Floats:
    """Return the matrix of a camera with square pixels and its axis in the middle of the image.

    Args:
        width_px: Width of the image.
        height_px: Height of the image.
        horizontal_fov_deg: Angle of view over the full width, in (0, 180).

    Returns:
        Matrix with fx = fy = W / (2 tan(fov / 2)), shape (3, 3).

    Raises:
        ValueError: If the angle is out of range.
    """
    if not 0 < horizontal_fov_deg < 180:
        raise ValueError(f"horizontal_fov_deg must lie in (0, 180), got {horizontal_fov_deg}.")
    focal_px = width_px / (2 * np.tan(np.radians(horizontal_fov_deg) / 2))
    return np.array([[focal_px, 0, width_px / 2], [0, focal_px, height_px / 2], [0, 0, 1.0]])


def look_pose(position: Floats, heading_rad: float, pitch_down_rad: float) -> Floats:
    """Return the pose of a camera at a place.

    Args:
        position: World x, y, z in metres, shape (3,).
        heading_rad: Direction of view over the ground, counter-clockwise from world x.
        pitch_down_rad: Angle of the view below the horizon, in [0, pi / 2].

    Returns:
        Camera to world, shape (4, 4).
    """
    cosine, sine = float(np.cos(heading_rad)), float(np.sin(heading_rad))
    level, steep = float(np.cos(pitch_down_rad)), float(np.sin(pitch_down_rad))
    # Number by number: numpy takes ten times as long for vectors of three. The zeros that are added
    # or subtracted from turn a negative zero into a positive one.
    forward = cosine * level, sine * level, 0.0 - steep
    down = -(cosine * steep + 0.0), -(sine * steep + 0.0), -level
    right = (
        down[1] * forward[2] - down[2] * forward[1],
        down[2] * forward[0] - down[0] * forward[2],
        down[0] * forward[1] - down[1] * forward[0],
    )
    rows = zip(right, down, forward, position.tolist(), strict=True)
    return np.array([*rows, (0.0, 0.0, 0.0, 1.0)])


def to_opencv_axes(poses: Floats, axes: CameraAxes) -> Floats:
    """Return poses (..., 4, 4) of cameras with other axes as poses with OpenCV's."""
    return poses @ _TO_OPENCV[axes]


def is_pose(matrix: Floats, tolerance: float = 1e-3) -> bool:
    """Whether a matrix is finite, of shape (4, 4), and a rotation with a place."""
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        return False
    rotation = matrix[:3, :3]
    is_orthonormal = np.abs(rotation @ rotation.T - np.eye(3)).max() < tolerance
    is_affine = np.abs(matrix[3] - (0, 0, 0, 1)).max() < tolerance
    return bool(is_orthonormal and is_affine and np.linalg.det(rotation) > 0)


def heading_of(pose: Floats) -> float:
    """Return the direction of view over the ground, counter-clockwise from world x, in radians.

    Of a camera that looks straight down, where the upper border of its image points.
    """
    direction = pose[:2, 2] - pose[:2, 1]
    return float(np.arctan2(direction[1], direction[0]))


def project_points(points: Floats, pose: Floats, intrinsics: Floats) -> Floats:
    """Return where world points lie in an image.

    Args:
        points: World positions in metres, shape (N, 3).
        pose: Camera to world, shape (4, 4).
        intrinsics: Shape (3, 3).

    Returns:
        Column and row in pixels, and depth along the axis of view in metres, shape (N, 3). Points
        behind the camera have a depth of 0 or less, and no place.
    """
    seen = (points - pose[:3, 3]) @ pose[:3, :3]
    depth = seen[:, 2]
    safe = np.where(depth > 1e-6, depth, np.nan)
    seen[:, 0] = intrinsics[0, 0] * seen[:, 0] / safe + intrinsics[0, 2]
    seen[:, 1] = intrinsics[1, 1] * seen[:, 1] / safe + intrinsics[1, 2]
    return seen


def unproject_pixels(pixels: Floats, depth_m: Floats, pose: Floats, intrinsics: Floats) -> Floats:
    """Return the world points of pixels with known depth; inverse of ``project_points``.

    Args:
        pixels: Column and row, shape (N, 2).
        depth_m: Depth along the axis of view, shape (N,).
        pose: Camera to world, shape (4, 4).
        intrinsics: Shape (3, 3).

    Returns:
        World positions in metres, shape (N, 3).
    """
    x = (pixels[:, 0] - intrinsics[0, 2]) / intrinsics[0, 0] * depth_m
    y = (pixels[:, 1] - intrinsics[1, 2]) / intrinsics[1, 1] * depth_m
    return np.stack([x, y, depth_m], axis=1) @ pose[:3, :3].T + pose[:3, 3]


def planar_poses(poses: Floats) -> Floats:
    """Return where cameras are over the ground, and where they head.

    Args:
        poses: Camera to world, shape (T, 4, 4).

    Returns:
        World x and y in metres and the heading in radians, shape (T, 3).
    """
    return np.array([[*pose[:2, 3], heading_of(pose)] for pose in poses]).reshape(-1, 3)


def to_local_frame(places: Floats, origin: Floats) -> Floats:
    """Return planar poses as they are seen from another one.

    Args:
        places: World x, y and heading, shape (T, 3).
        origin: World x, y and heading of who sees them, shape (3,).

    Returns:
        Metres ahead, metres to the left, and the turn to the left in (-pi, pi], shape (T, 3).
    """
    cosine, sine = np.cos(origin[2]), np.sin(origin[2])
    offset = places[:, :2] - origin[:2]
    ahead = offset @ np.array([cosine, sine])
    left = offset @ np.array([-sine, cosine])
    turn = np.pi - (np.pi - (places[:, 2] - origin[2])) % (2 * np.pi)
    return np.stack([ahead, left, turn], axis=1)


def to_world_frame(places: Floats, origin: Floats) -> Floats:
    """Return planar poses of a local frame in the world; inverse of ``to_local_frame``.

    Args:
        places: Metres ahead, metres to the left, and the turn, shape (T, 3).
        origin: World x, y and heading of that frame, shape (3,).

    Returns:
        World x, y and heading in (-pi, pi], shape (T, 3).
    """
    cosine, sine = np.cos(origin[2]), np.sin(origin[2])
    x = origin[0] + places[:, 0] * cosine - places[:, 1] * sine
    y = origin[1] + places[:, 0] * sine + places[:, 1] * cosine
    heading = np.pi - (np.pi - (places[:, 2] + origin[2])) % (2 * np.pi)
    return np.stack([x, y, heading], axis=1)
