"""Renders a scene from a camera: colour, depth, object ids, edges and boxes."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aquatint.world.arrays import FloatArray
from aquatint.world.meshes import Mesh
from aquatint.world.objects import UNBOXED_KINDS
from aquatint.world.occupancy import HALF_EXTENT_M
from aquatint.world.painter import GROUND_SIZE_PX, PX_PER_M
from aquatint.world.palette import Surface
from aquatint.world.raster import rasterize
from aquatint.world.scenes import Scene
from aquatint.world.shading import Hits, shade

BoxXyxy = tuple[float, float, float, float]

MIN_BOX_PIXELS = 6
MIN_BOX_SHARE = 0.0008
EDGE_DEPTH_RATIO = 0.04
MAX_PITCH_DEG = 45.0
SENSOR_NOISE = 2.2
_NEAR_M = 1.0
_ROUNDING_M = 0.05
_EDGE_SURFACES = (Surface.ROAD, Surface.RIVER, Surface.RAILWAY, Surface.SEA)


@dataclass(frozen=True)
class Camera:
    """A camera that looks down at a point on the ground.

    Args:
        altitude_m: Height over the ground.
        pitch_deg: Angle from straight down; 0 is a map, with the direction of yaw up.
        yaw_deg: Heading of the upper image border, clockwise from north.
        x_m: World x of the point on the ground in the middle of the image.
        y_m: World y of that point.
        fov_deg: Angle of view over the full image.
    """

    altitude_m: float
    pitch_deg: float
    yaw_deg: float
    x_m: float
    y_m: float
    fov_deg: float = 60.0

    def __post_init__(self) -> None:
        if not 0 <= self.pitch_deg <= MAX_PITCH_DEG:
            raise ValueError(
                f"pitch_deg must lie between 0 and {MAX_PITCH_DEG}, not {self.pitch_deg}: "
                "the ground ends beyond."
            )
        if self.altitude_m <= 0:
            raise ValueError(f"altitude_m must be positive, not {self.altitude_m}.")

    @cached_property
    def axes(self) -> FloatArray:
        """Unit vectors to the right, up in the image, and forward, shape (3, 3)."""
        pitch, yaw = np.radians(self.pitch_deg), np.radians(self.yaw_deg)
        sine, cosine = float(np.sin(yaw)), float(np.cos(yaw))
        tilt, plumb = float(np.sin(pitch)), float(np.cos(pitch))
        # Number by number: numpy takes ten times as long for vectors of three. The zeros that are
        # added turn a negative zero into a positive one.
        forward = sine * tilt + 0.0, cosine * tilt + 0.0, -plumb
        upward = sine * plumb, cosine * plumb, tilt
        right = (
            forward[1] * upward[2] - forward[2] * upward[1],
            forward[2] * upward[0] - forward[0] * upward[2],
            forward[0] * upward[1] - forward[1] * upward[0],
        )
        return np.array([right, upward, forward]).astype(np.float32)

    @cached_property
    def position(self) -> FloatArray:
        """World x, y, z of the camera in metres, shape (3,)."""
        distance = self.altitude_m / np.cos(np.radians(self.pitch_deg))
        target = np.array([self.x_m, self.y_m, 0.0], np.float32)
        return (target - self.axes[2] * distance).astype(np.float32)

    def project(self, points: FloatArray) -> FloatArray:
        """Return image x and y in [0, 1] and the depth in metres of world points.

        Args:
            points: World positions in metres, shape (..., 3).

        Returns:
            x to the right, y down and the depth along the viewing direction, shape (..., 3).
            Points outside the image lie outside [0, 1]; those behind have a negative depth.
        """
        offsets = np.empty_like(points)
        for axis, place in enumerate(self.position):
            offsets[..., axis] = points[..., axis] - place
        # As one matrix: for a stack of them numpy multiplies one triangle at a time.
        seen = (offsets.reshape(-1, 3) @ self.axes.T).reshape(points.shape)
        depth = seen[..., 2]
        safe = np.where(np.abs(depth) < 1e-6, 1e-6, depth)
        scale = 0.5 / np.tan(np.radians(self.fov_deg / 2)) / safe
        return np.stack([0.5 + seen[..., 0] * scale, 0.5 - seen[..., 1] * scale, depth], -1)


@dataclass(frozen=True, eq=False)
class View:
    """What a camera sees, as arrays of shape (S, S) unless stated otherwise.

    Args:
        scene: The scene.
        camera: The camera.
        rgb: Colour, uint8, shape (S, S, 3).
        depth_m: Depth along the viewing direction, float32.
        hits: What the rays hit.
        pick: Rows, and columns, of rays in the middle of a pixel.
    """

    scene: Scene
    camera: Camera
    rgb: NDArray[np.uint8]
    depth_m: FloatArray
    hits: Hits
    pick: slice

    # Searched for when they are asked for: an agent's camera has no use for them.
    @cached_property
    def instance_ids(self) -> NDArray[np.int32]:
        """Object counted from 1, or 0 for the ground, int32."""
        points = self._at_pixels(self.hits.points)
        ids = self._on_ground(self.scene.ground.instance_ids).astype(np.int32)
        # The ground is mirrored beyond its border; the objects on it are not.
        ids[(np.abs(points[:2]) >= HALF_EXTENT_M).any(0)] = 0
        triangles = self._triangles
        is_solid = triangles >= 0
        ids[is_solid] = self.scene.mesh.object_ids[triangles[is_solid]]
        return ids

    @cached_property
    def surfaces(self) -> NDArray[np.uint8]:
        """``Surface`` of each pixel, uint8."""
        surfaces = self._on_ground(self.scene.ground.surfaces)
        is_solid = self._triangles >= 0
        is_object = self.instance_ids[is_solid] > 0
        surfaces[is_solid] = np.where(is_object, Surface.MESH, Surface.RUBBLE)
        return surfaces

    def _on_ground(self, raster: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """What a raster of the ground holds below each pixel."""
        return raster.ravel()[self._at_pixels(self.hits.cells)]

    @cached_property
    def _triangles(self) -> NDArray[np.intp]:
        """Triangle of each pixel, or -1 on the ground."""
        triangles = np.full(len(self.hits.cells), -1)
        triangles[self.hits.solid] = self.hits.triangles
        return self._at_pixels(triangles)

    def _at_pixels(self, values: NDArray[Any]) -> NDArray[Any]:
        """Keep of values of all rays, shape (..., N), those of pixels, shape (..., S, S)."""
        return _as_square(values)[..., self.pick, self.pick]

    @cached_property
    def edges(self) -> NDArray[np.bool_]:
        """Where the object or the depth changes, bool."""
        return _find_edges(self.instance_ids, self.depth_m, self.surfaces)

    @cached_property
    def boxes_xyxy(self) -> dict[int, BoxXyxy]:
        """Box around the visible pixels of each object, in [0, 1]."""
        return _find_boxes(self.scene, self.instance_ids)


def render(scene: Scene, camera: Camera, size_px: int = 128, supersampling: int = 2) -> View:
    """Render one view.

    Args:
        scene: The scene.
        camera: Where to look from.
        size_px: Side of the image.
        supersampling: Samples per pixel and side for the colour.

    Raises:
        ValueError: A size is not positive.
    """
    if size_px < 1 or supersampling < 1:
        raise ValueError(
            f"size_px and supersampling must be positive, not {size_px} and {supersampling}."
        )
    num_samples = size_px * supersampling
    hits = _trace(scene, camera, num_samples)
    rgb = _average(_as_square(shade(scene, hits)), supersampling)
    # Seeded by the picture's own numbers: the same view is always the same, others differ.
    noise_seed = [scene.seed, int(camera.yaw_deg * 1000) % 2**31, int(camera.altitude_m * 1000)]
    grain = np.random.default_rng(noise_seed).standard_normal((size_px, size_px), np.float32)
    rgb += grain * SENSOR_NOISE
    np.maximum(rgb, 0, out=rgb)
    np.minimum(rgb, 255, out=rgb)
    pixels = np.empty((size_px, size_px, 3), np.uint8)
    for channel in range(3):
        pixels[..., channel] = rgb[channel]
    pick = slice(supersampling // 2, None, supersampling)
    depth = np.ascontiguousarray(_as_square(hits.depth_m)[pick, pick])
    return View(scene, camera, pixels, depth, hits, pick)


def _as_square(values: NDArray[Any]) -> NDArray[Any]:
    """Return values of all rays of an image, shape (..., N), by row and column."""
    side = math.isqrt(values.shape[-1])
    return values.reshape(*values.shape[:-1], side, side)


def _trace(scene: Scene, camera: Camera, num_samples: int) -> Hits:
    mesh = scene.mesh
    position = camera.position
    seen = _find_in_view(mesh, camera)
    vertices = mesh.vertices[seen]
    is_facing = ((position - vertices[:, 0]) * mesh.normals[seen]).sum(1) > 0
    corners = camera.project(vertices[is_facing])
    corners[..., :2] *= num_samples
    corners[..., 2] = np.where(corners[..., 2] > _NEAR_M, 1 / corners[..., 2], -1)
    buffers = rasterize(corners, num_samples)
    triangles = buffers.triangles.ravel()
    solid = np.nonzero(triangles >= 0)[0]
    rays = _make_rays(camera, num_samples)
    depth = (-position[2] / np.minimum(rays[2], -1e-3)).ravel()
    depth[solid] = 1 / np.maximum(buffers.nearness.ravel()[solid], 1e-6)
    points = np.empty((3, len(depth)), np.float32)
    for axis in range(3):
        np.multiply(rays[axis].ravel(), depth, out=points[axis])
        points[axis] += position[axis]
    return Hits(points, depth, seen[is_facing][triangles[solid]], solid, _ground_cells(points))


def _find_in_view(mesh: Mesh, camera: Camera) -> NDArray[np.intp]:
    """Triangles that may be seen: those whose spheres reach into the camera's pyramid."""
    right, upward, forward = camera.axes
    reach = np.radians(camera.fov_deg / 2)
    sides = [
        forward * np.sin(reach) + side * np.cos(reach) for side in (right, -right, upward, -upward)
    ]
    inward = np.stack(sides).astype(np.float32)
    middles, radii = mesh.bounds
    depths = inward @ middles.T - (inward @ camera.position)[:, None]
    return np.nonzero(depths.min(0) > -radii - _ROUNDING_M)[0]


def _make_rays(camera: Camera, num_samples: int) -> list[FloatArray]:
    """World x, y and z of the direction of every pixel's ray, shape (S, S) each."""
    reach = np.tan(np.radians(camera.fov_deg / 2))
    steps = ((np.arange(num_samples) + 0.5) * 2 / num_samples - 1) * reach
    steps = steps.astype(np.float32)
    return [
        (forward + steps * right)[None] - (steps * upward)[:, None]
        for right, upward, forward in camera.axes.T
    ]


def _ground_cells(points: FloatArray) -> NDArray[np.int32]:
    columns = ((points[0] + HALF_EXTENT_M) * PX_PER_M).astype(np.int32)
    rows = ((HALF_EXTENT_M - points[1]) * PX_PER_M).astype(np.int32)
    # Mirrored beyond its border: far corners of tilted views then show ground, not streaks.
    last = GROUND_SIZE_PX - 1
    for cells in (columns, rows):
        np.abs(cells, out=cells)
        np.subtract(last, cells, out=cells)
        np.abs(cells, out=cells)
        np.subtract(last, cells, out=cells)
        np.maximum(cells, 0, out=cells)
    return rows * GROUND_SIZE_PX + columns


def _average(colors: FloatArray, factor: int) -> FloatArray:
    if factor == 1:
        return colors
    total = colors[:, ::factor, ::factor].copy()
    for row in range(factor):
        for column in range(factor):
            if row or column:
                total += colors[:, row::factor, column::factor]
    return total / np.float32(factor * factor)


def _find_edges(
    ids: NDArray[np.int32], depth_m: FloatArray, surfaces: NDArray[np.uint8]
) -> NDArray[np.bool_]:
    lines = np.where(np.isin(surfaces, _EDGE_SURFACES), surfaces, 0)
    edges = np.zeros(ids.shape, bool)
    for axis in (0, 1):
        later = (slice(1, None), slice(None))[:: 1 - 2 * axis]
        jump = np.abs(np.diff(depth_m, axis=axis)) > EDGE_DEPTH_RATIO * depth_m[later]
        changes = (np.diff(ids, axis=axis) != 0) | (np.diff(lines.astype(np.int16), axis=axis) != 0)
        edges[later] |= jump | changes
    return edges


def _find_boxes(scene: Scene, ids: NDArray[np.int32]) -> dict[int, BoxXyxy]:
    size_px = ids.shape[0]
    least = max(MIN_BOX_PIXELS, MIN_BOX_SHARE * ids.size)
    counts = np.bincount(ids.ravel())
    boxes: dict[int, BoxXyxy] = {}
    for object_id in np.nonzero(counts >= least)[0].tolist():
        if object_id == 0 or scene.objects[object_id - 1].kind in UNBOXED_KINDS:
            continue
        is_object = ids == object_id
        rows = np.nonzero(is_object.any(1))[0]
        columns = np.nonzero(is_object.any(0))[0]
        boxes[object_id] = (
            float(columns[0]) / size_px,
            float(rows[0]) / size_px,
            float(columns[-1] + 1) / size_px,
            float(rows[-1] + 1) / size_px,
        )
    return boxes
