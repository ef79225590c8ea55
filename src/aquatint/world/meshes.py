"""Triangles of simple solids: boxes, gables, cylinders, vaults and trees, wound outwards."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aquatint.world.arrays import FloatArray
from aquatint.world.palette import Material

_BOX_CORNERS = np.array(
    [
        [-0.5, -0.5, 0.0],
        [0.5, -0.5, 0.0],
        [0.5, 0.5, 0.0],
        [-0.5, 0.5, 0.0],
        [-0.5, -0.5, 1.0],
        [0.5, -0.5, 1.0],
        [0.5, 0.5, 1.0],
        [-0.5, 0.5, 1.0],
    ],
    np.float32,
)
_BOX_WALLS = np.array(
    [[0, 1, 5], [0, 5, 4], [1, 2, 6], [1, 6, 5], [2, 3, 7], [2, 7, 6], [3, 0, 4], [3, 4, 7]]
)
_BOX_TOP = np.array([[4, 5, 6], [4, 6, 7]])


class Part(NamedTuple):
    """Triangles of one colour and material in the frame of their object.

    Args:
        triangles: Corners in metres, counter-clockwise from outside, shape (T, 3, 3).
        color: RGB of all triangles, or one row per triangle.
        material: How they are textured.
    """

    triangles: FloatArray
    color: FloatArray
    material: Material


class Box(NamedTuple):
    """A box on its base: centre of the base and sizes, in metres, in the frame of its object."""

    width_m: float
    depth_m: float
    height_m: float
    x_m: float = 0.0
    y_m: float = 0.0
    z_m: float = 0.0


@dataclass(frozen=True, eq=False)
class Mesh:
    """All triangles of a scene.

    Args:
        vertices: Corners in metres, shape (T, 3, 3).
        colors: RGB from 0 to 255, shape (T, 3).
        materials: ``Material`` of each triangle, shape (T,).
        normals: Outward unit normals, shape (T, 3).
        object_ids: Object of each triangle counted from 1, 0 for debris, shape (T,).
    """

    vertices: FloatArray
    colors: FloatArray
    materials: NDArray[np.uint8]
    normals: FloatArray
    object_ids: NDArray[np.int32]

    @cached_property
    def bounds(self) -> tuple[FloatArray, FloatArray]:
        """Middle (T, 3) and radius (T,) in metres of a sphere around each triangle."""
        middles = self.vertices.mean(1)
        radii = np.linalg.norm(self.vertices - middles[:, None], axis=2).max(1)
        return middles, radii


@dataclass
class MeshBuilder:
    """Collects the parts of all objects, then joins them into one mesh."""

    _vertices: list[FloatArray] = field(default_factory=list)
    _colors: list[FloatArray] = field(default_factory=list)
    _materials: list[NDArray[np.uint8]] = field(default_factory=list)
    _object_ids: list[NDArray[np.int32]] = field(default_factory=list)

    def add(
        self, parts: list[Part], object_id: int, origin: tuple[float, float], yaw_rad: float
    ) -> None:
        """Place the parts of one object in the world.

        Args:
            parts: Parts in the frame of the object.
            object_id: Object counted from 1; 0 for debris.
            origin: World x and y of the object in metres.
            yaw_rad: Turn about the vertical, counter-clockwise.
        """
        cosine, sine = np.cos(yaw_rad), np.sin(yaw_rad)
        turn = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]], np.float32)
        shift = np.array([origin[0], origin[1], 0.0], np.float32)
        for part in parts:
            num_triangles = len(part.triangles)
            self._vertices.append(part.triangles @ turn.T + shift)
            self._colors.append(np.broadcast_to(part.color, (num_triangles, 3)))
            self._materials.append(np.full(num_triangles, part.material, np.uint8))
            self._object_ids.append(np.full(num_triangles, object_id, np.int32))

    def build(self) -> Mesh:
        """Return everything added so far as one mesh."""
        if not self._vertices:
            raise ValueError("a mesh needs at least one part.")
        vertices = np.concatenate(self._vertices).astype(np.float32)
        return Mesh(
            vertices=vertices,
            colors=np.concatenate(self._colors).astype(np.float32),
            materials=np.concatenate(self._materials),
            normals=unit_normals(vertices),
            object_ids=np.concatenate(self._object_ids),
        )


def unit_normals(triangles: FloatArray) -> FloatArray:
    """Return the outward unit normals of triangles of shape (T, 3, 3), shape (T, 3)."""
    normals = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)


def as_color(rgb: tuple[int, ...] | FloatArray, scale: float = 1.0) -> FloatArray:
    """Return the colour as an array, made lighter or darker by ``scale``."""
    return np.clip(np.asarray(rgb, np.float32) * scale, 0, 255)


def box_corners(box: Box) -> FloatArray:
    """Return the four lower, then the four upper corners, counter-clockwise, shape (8, 3)."""
    return _BOX_CORNERS * np.array(box[:3], np.float32) + np.array(box[3:], np.float32)


def box_walls(box: Box) -> FloatArray:
    """Return the four sides of a box, shape (8, 3, 3)."""
    return box_corners(box)[_BOX_WALLS]


def box_top(box: Box) -> FloatArray:
    """Return the upper side of a box, shape (2, 3, 3)."""
    return box_corners(box)[_BOX_TOP]


def box_shell(box: Box) -> FloatArray:
    """Return the sides and the upper side of a box, shape (10, 3, 3)."""
    return np.concatenate([box_walls(box), box_top(box)])


def gable_roof(box: Box, rise_m: float, hip_m: float) -> FloatArray:
    """Return a pitched roof over a box, with the ridge along x, shape (6, 3, 3).

    Args:
        box: The walls below, at whose top the roof starts.
        rise_m: Height of the ridge over the walls.
        hip_m: How far the ends of the ridge are drawn in; 0 makes upright gables.
    """
    lower = box_corners(box)[4:]
    half = box.width_m / 2 - hip_m
    top = box.z_m + box.height_m + rise_m
    ridge = np.array([[box.x_m - half, box.y_m, top], [box.x_m + half, box.y_m, top]], np.float32)
    corners = np.concatenate([lower, ridge])
    faces = [[0, 1, 5], [0, 5, 4], [2, 3, 4], [2, 4, 5], [1, 2, 5], [3, 0, 4]]
    return corners[np.array(faces)]


def revolve(profile: FloatArray, num_sides: int, phase_rad: float = 0.0) -> FloatArray:
    """Return the solid swept by a profile about the vertical.

    Args:
        profile: Radius and height of the rings from the bottom up, shape (R, 2).
        num_sides: Sides of each ring.
        phase_rad: Direction of the first corner.

    Returns:
        Triangles of shape (2 * num_sides * (R - 1), 3, 3); those of a ring of radius 0 are flat.
    """
    angles = phase_rad + np.arange(num_sides) * (2 * np.pi / num_sides)
    circle = np.stack([np.cos(angles), np.sin(angles)], -1)
    rings = np.empty((len(profile), num_sides, 3), np.float32)
    rings[:, :, :2] = profile[:, None, :1] * circle
    rings[:, :, 2] = profile[:, 1:]
    return join_rings(rings[None])[0]


def join_rings(rings: FloatArray) -> FloatArray:
    """Return the skin between the rings of several solids.

    Args:
        rings: Corners from the bottom up, counter-clockwise, shape (N, R, S, 3).

    Returns:
        Triangles of shape (N, 2 * S * (R - 1), 3, 3).
    """
    after = np.roll(rings, -1, axis=2)
    lower, lower_next = rings[:, :-1], after[:, :-1]
    upper, upper_next = rings[:, 1:], after[:, 1:]
    first = np.stack([lower, lower_next, upper_next], axis=-2)
    second = np.stack([lower, upper_next, upper], axis=-2)
    joined = np.stack([first, second], axis=3)
    return joined.reshape(len(rings), -1, 3, 3)


def vault(box: Box, num_sides: int = 8) -> FloatArray:
    """Return a half cylinder along x with closed ends, shape (4 * num_sides, 3, 3)."""
    angles = np.linspace(0, np.pi, num_sides + 1)
    arc = np.stack(
        [-np.cos(angles) * box.depth_m / 2 + box.y_m, np.sin(angles) * box.height_m + box.z_m], -1
    )
    left = np.insert(arc, 0, box.x_m - box.width_m / 2, axis=1).astype(np.float32)
    right = np.insert(arc, 0, box.x_m + box.width_m / 2, axis=1).astype(np.float32)
    first = np.stack([left[:-1], right[:-1], right[1:]], 1)
    second = np.stack([left[:-1], right[1:], left[1:]], 1)
    ends = []
    for side, order in ((left, (0, 1, 2)), (right, (0, 2, 1))):
        middle = np.broadcast_to((side[0] + side[-1]) / 2, (num_sides, 3))
        fan = np.stack([middle, side[:-1], side[1:]], 1)
        ends.append(fan[:, order, :])
    return np.concatenate([first, second, *ends])
