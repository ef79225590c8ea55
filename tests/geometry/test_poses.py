import numpy as np
import pytest

from aquatint.geometry.poses import (
    heading_of,
    intrinsic_matrix,
    is_pose,
    look_pose,
    project_points,
    to_opencv_axes,
    unproject_pixels,
)

K = intrinsic_matrix(640, 480, 90.0)


def test_the_focal_length_follows_from_the_angle_of_view():
    assert K[0, 0] == K[1, 1] == pytest.approx(320)
    assert K[:2, 2].tolist() == [320, 240]
    for angle in (0, 180, -5):
        with pytest.raises(ValueError, match=r"horizontal_fov_deg must lie in \(0, 180\)"):
            intrinsic_matrix(10, 10, angle)


def test_right_is_right_and_down_is_down():
    pose = look_pose(np.array([0.0, 0.0, 2.0]), heading_rad=0.0, pitch_down_rad=0.0)
    ahead, left, above, behind = [5.0, 0, 2], [5.0, 1, 2], [5.0, 0, 3], [-5.0, 0, 2]
    seen = project_points(np.array([ahead, left, above, behind]), pose, K)
    assert seen[0].tolist() == pytest.approx([320, 240, 5])
    assert seen[1, 0] < 320
    assert seen[2, 1] < 240
    assert seen[3, 2] < 0
    assert np.isnan(seen[3, 0])


def test_a_camera_that_looks_down_sees_the_ground_where_geometry_says():
    pose = look_pose(np.array([1.0, 2.0, 3.0]), heading_rad=np.pi / 2, pitch_down_rad=np.pi / 4)
    seen = project_points(np.array([[1.0, 5.0, 0.0]]), pose, K)
    assert seen[0].tolist() == pytest.approx([320, 240, 3 * 2**0.5])


@pytest.mark.parametrize("heading", [0.0, 1.0, -2.5, np.pi])
@pytest.mark.parametrize("pitch", [0.0, 0.6, np.pi / 2])
def test_projection_and_its_inverse_agree_and_the_heading_comes_back(heading, pitch):
    pose = look_pose(np.array([4.0, -1.0, 9.0]), heading, pitch)
    assert is_pose(pose)
    pixels = np.array([[3.0, 4.0], [500.0, 100.0], [320.0, 240.0]])
    depth = np.array([1.0, 7.5, 20.0])
    seen = project_points(unproject_pixels(pixels, depth, pose, K), pose, K)
    assert np.allclose(seen, np.column_stack([pixels, depth]))
    assert np.cos(heading_of(pose) - heading) == pytest.approx(1)


def test_poses_of_opengl_are_turned():
    pose = look_pose(np.array([0.0, 0.0, 1.0]), 0.3, 0.4)
    other = pose @ np.diag([1.0, -1.0, -1.0, 1.0])
    assert np.allclose(to_opencv_axes(other, "opengl"), pose)
    assert np.allclose(to_opencv_axes(pose, "opencv"), pose)


def test_what_is_no_pose_is_seen():
    good = look_pose(np.zeros(3), 0.0, 0.0)
    scaled, broken, mirrored, row = (good.copy() for _ in range(4))
    scaled[:3, :3] *= 2
    broken[0, 0] = np.nan
    mirrored[:3, 0] *= -1
    row[3, 3] = 0
    assert [is_pose(m) for m in (good, scaled, broken, mirrored, row, good[:3])] == [
        True, False, False, False, False, False,
    ]  # fmt: skip
