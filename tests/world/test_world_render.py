"""Views agree with their camera, and their parts with one another."""

import numpy as np
import pytest
from world_cameras import sample_camera

from aquatint.world import render as render_module
from aquatint.world.occupancy import HALF_EXTENT_M
from aquatint.world.palette import Surface
from aquatint.world.render import Camera, render

SIZE_PX = 64


def test_same_camera_gives_the_same_view(scene):
    first, second = (render(scene, sample_camera(5), SIZE_PX) for _ in range(2))

    np.testing.assert_array_equal(first.rgb, second.rgb)
    np.testing.assert_array_equal(first.depth_m, second.depth_m)
    np.testing.assert_array_equal(first.edges, second.edges)
    assert first.boxes_xyxy == second.boxes_xyxy


def test_triangles_that_are_left_out_of_a_view_show_nothing(scene, monkeypatch):
    rng = np.random.default_rng(0)
    cameras = [Camera(8, 45, yaw, *rng.uniform(-50, 50, 2), 79) for yaw in range(0, 360, 30)]
    views = [render(scene, camera, SIZE_PX, 1) for camera in (*cameras, sample_camera(5))]
    kept = [len(render_module._find_in_view(scene.mesh, view.camera)) for view in views]
    assert 0 < np.mean(kept) < 0.7 * len(scene.mesh.vertices)
    everything = np.arange(len(scene.mesh.vertices))
    monkeypatch.setattr(render_module, "_find_in_view", lambda mesh, camera: everything)
    for view in views:
        whole = render(scene, view.camera, SIZE_PX, 1)
        np.testing.assert_array_equal(view.rgb, whole.rgb)
        np.testing.assert_array_equal(view.depth_m, whole.depth_m)
        np.testing.assert_array_equal(view.instance_ids, whole.instance_ids)


def test_a_view_without_any_triangle_shows_the_ground(scene):
    far = Camera(8, 0, 0, 5000, 5000, 40)
    assert not len(render_module._find_in_view(scene.mesh, far))
    view = render(scene, far, SIZE_PX, 1)
    np.testing.assert_allclose(view.depth_m, 8, rtol=1e-4)


def test_shapes_and_types(scene):
    view = render(scene, sample_camera(5), SIZE_PX)

    assert (view.rgb.dtype, view.rgb.shape) == (np.uint8, (SIZE_PX, SIZE_PX, 3))
    assert (view.depth_m.dtype, view.depth_m.shape) == (np.float32, (SIZE_PX, SIZE_PX))
    assert (view.instance_ids.dtype, view.instance_ids.shape) == (np.int32, (SIZE_PX, SIZE_PX))
    assert (view.edges.dtype, view.edges.shape) == (bool, (SIZE_PX, SIZE_PX))
    assert view.instance_ids.min() >= 0
    assert view.instance_ids.max() <= len(scene.objects)


@pytest.mark.parametrize("altitude_m", [60.0, 95.0])
def test_ground_seen_from_straight_above_lies_at_the_altitude(scene, altitude_m):
    view = render(scene, Camera(altitude_m, 0, 30, 4, -7), SIZE_PX)

    is_flat = view.surfaces != Surface.MESH
    assert is_flat.mean() > 0.3
    np.testing.assert_allclose(view.depth_m[is_flat], altitude_m, rtol=1e-4)
    assert (view.depth_m[~is_flat] < altitude_m).all()


def test_ground_of_a_tilted_view_lies_on_its_plane(scene):
    camera = Camera(90, 25, 70, 0, 0)
    view = render(scene, camera, SIZE_PX, supersampling=1)

    steps = ((np.arange(SIZE_PX) + 0.5) * 2 / SIZE_PX - 1) * np.tan(np.radians(30))
    right, upward, forward = camera.axes
    rays = forward + steps[None, :, None] * right - steps[:, None, None] * upward
    height = camera.position[2] + (rays * view.depth_m[..., None])[..., 2]
    is_flat = view.surfaces != Surface.MESH
    np.testing.assert_allclose(height[is_flat], 0, atol=0.02)
    assert height[~is_flat].min() > -0.1
    assert view.depth_m[0].mean() > view.depth_m[-1].mean()


def test_ground_beyond_the_border_holds_no_objects(scene):
    camera = Camera(100, 30, 0, 0, 100)
    view = render(scene, camera, SIZE_PX)

    # Straight north: the border is a horizontal line in the image.
    border = camera.project(np.array([0.0, HALF_EXTENT_M, 0.0]))[1] * SIZE_PX
    is_beyond = np.arange(1, SIZE_PX + 1)[:, None] < np.full(SIZE_PX, border)
    is_flat = view.surfaces != Surface.MESH
    assert (is_beyond & is_flat).any()
    assert not view.instance_ids[is_beyond & is_flat].any()


def test_looked_at_point_is_in_the_middle():
    camera = Camera(90, 25, 70, 12, -5)

    np.testing.assert_allclose(camera.project(np.array([12.0, -5.0, 0.0]))[:2], 0.5, atol=1e-5)
    assert camera.position[2] == pytest.approx(90, rel=1e-5)


@pytest.mark.parametrize(("yaw_deg", "step"), [(0, (0, 10)), (90, (10, 0)), (180, (0, -10))])
def test_heading_points_up_in_the_image(yaw_deg, step):
    x, y, _ = Camera(90, 0, yaw_deg, 0, 0).project(np.array([*step, 0.0]))

    assert x == pytest.approx(0.5, abs=1e-5)
    assert y < 0.45


def test_objects_appear_where_they_are_projected(described_views):
    num_checked = 0
    for scene, view, _ in described_views:
        for object_id, (left, top, right, bottom) in view.boxes_xyxy.items():
            item = scene.objects[object_id - 1]
            x, y, _ = view.camera.project(np.array([item.x_m, item.y_m, item.height_m / 2]))
            if 0 < x < 1 and 0 < y < 1 and (view.instance_ids == object_id).mean() > 0.01:
                assert left - 0.03 <= x <= right + 0.03
                assert top - 0.03 <= y <= bottom + 0.03
                num_checked += 1
    assert num_checked > 2 * len(described_views)


def test_boxes_enclose_exactly_the_pixels_of_their_object(described_views):
    for scene, view, _ in described_views:
        size_px = len(view.instance_ids)
        assert view.boxes_xyxy
        for object_id, box in view.boxes_xyxy.items():
            rows, columns = np.nonzero(view.instance_ids == object_id)
            expected = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            np.testing.assert_allclose(box, np.array(expected) / size_px)
            assert scene.objects[object_id - 1].kind != "trees"


def test_edges_surround_objects(scene):
    view = render(scene, Camera(95, 0, 0, 0, 0), SIZE_PX)

    changes = view.instance_ids[:, 1:] != view.instance_ids[:, :-1]
    assert changes.any()
    assert view.edges[:, 1:][changes].all()
    assert view.edges.mean() < 0.5


def test_sun_leaves_shadows_beside_high_objects(scene):
    tall = max(scene.objects, key=lambda item: item.height_m)
    ring = np.array([[tall.x_m, tall.y_m, 0.1]], np.float32)
    away = -scene.shadows.sun[:2] / np.linalg.norm(scene.shadows.sun[:2])
    reach = tall.height_m / np.tan(np.arcsin(scene.shadows.sun[2])) * 0.4
    shaded = ring + np.array([*(away * (reach + tall.depth_m * 0.3)), 0], np.float32)
    high = ring + np.array([0, 0, 80], np.float32)

    assert scene.shadows.lit_fraction(shaded.T)[0] < 0.5
    assert scene.shadows.lit_fraction(high.T)[0] == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [((90, 60, 0, 0, 0), "pitch_deg must lie between"), ((0, 0, 0, 0, 0), "altitude_m must be")],
)
def test_impossible_cameras_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Camera(*values)


def test_empty_images_are_refused(scene):
    with pytest.raises(ValueError, match="must be positive, not 0"):
        render(scene, Camera(90, 0, 0, 0, 0), size_px=0)
