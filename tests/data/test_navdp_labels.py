"""Waypoints, values and turned trajectories against their definitions."""

import numpy as np
import pytest

from aquatint.data.navdp_goals import MountedCamera, mark_goal, point_goal
from aquatint.data.navdp_labels import (
    CriticRule,
    ObstacleField,
    actions_of,
    critic_values,
    rotate_smoothly,
    waypoints_ahead,
    waypoints_of,
)
from aquatint.geometry.poses import (
    intrinsic_matrix,
    look_pose,
    planar_poses,
    project_points,
    to_local_frame,
    to_world_frame,
)

RULE = CriticRule(collision_distance_m=0.1, collision_weight=5.0, clearance_weight=0.5,
                  open_value=2.0)  # fmt: skip


def test_a_value_by_hand():
    distances = np.array([0.05, 0.3, 0.05, 0.8])
    # Half of the waypoints collide, and the distance grows by 0.75.
    assert critic_values(distances, RULE) == pytest.approx(-5 * 0.5 + 0.5 * 0.75)
    assert critic_values(np.full(4, np.inf), RULE) == 2.0


def test_values_are_the_formula_in_loops():
    distances = np.random.default_rng(0).uniform(0, 0.5, (6, 5))
    for row, value in zip(distances, critic_values(distances, RULE), strict=True):
        share = sum(d < 0.1 for d in row) / 5
        gain = sum(row[i + 1] - row[i] for i in range(4))
        assert value == pytest.approx(-5 * share + 0.5 * gain)


def test_a_way_around_a_wall_is_worth_more_than_one_into_it():
    wall = np.column_stack([np.full(13, 5.0), np.linspace(-3, 3, 13)])
    rule = CriticRule(1.0, 5.0, 0.05, 2.0)
    field = ObstacleField(wall)
    along = np.arange(1.0, 11.0)
    into = np.column_stack([along, np.zeros(10)])
    around = np.column_stack([along, np.minimum(1.5 * along, 6.0)])
    values = critic_values(field.distances_m(np.stack([into, around])), rule)
    # Into it: only the waypoint on the wall is nearer than 1 m, and 4 m become 5 m.
    assert values[0] == pytest.approx(-5 * 0.1 + 0.05 * (5 - 4))
    assert values[1] > 0 > values[0]


def test_distances_are_l1_to_the_nearest_obstacle():
    rng = np.random.default_rng(1)
    places, points = rng.uniform(-5, 5, (40, 2)), rng.uniform(-5, 5, (3, 7, 2))
    found = ObstacleField(places).distances_m(points)
    brute = np.abs(points[..., None, :] - places).sum(-1).min(-1)
    assert np.allclose(found, brute)
    empty = ObstacleField(np.zeros((0, 2)))
    assert np.isinf(empty.distances_m(points)).all()


def test_local_frames_and_increments_are_inverses():
    rng = np.random.default_rng(2)
    places = np.column_stack([rng.uniform(-9, 9, (8, 2)), rng.uniform(-3, 3, 8)])
    local = to_local_frame(places, places[3])
    assert np.allclose(local[3], 0)
    assert np.allclose(to_world_frame(local, places[3]), places)
    again = waypoints_of(actions_of(local, 4.0), 4.0)
    assert np.allclose(again[:, :2], local[:, :2])
    assert np.allclose(np.exp(1j * again[:, 2]), np.exp(1j * local[:, 2]))
    assert np.allclose(to_local_frame(np.array([[0.0, 1.0, 0.5]]), np.zeros(3)), [[0, 1, 0.5]])


def test_waypoints_end_at_the_goal():
    poses = np.array([[float(i), 0.0, np.pi / 2] for i in range(10)])
    ahead = waypoints_ahead(poses, start=2, end=6, horizon=4, stride=2)
    assert ahead[:, 1].tolist() == pytest.approx([-2, -4, -4, -4]), "east is to the right of north"
    assert np.allclose(ahead[:, 0], 0)


def test_a_turned_trajectory_goes_where_it_is_turned_to():
    straight = np.column_stack([np.arange(1.0, 13.0), np.zeros(12), np.zeros(12)])
    turned = rotate_smoothly(straight, np.pi / 3)
    ends = np.array([np.cos(np.pi / 3), np.sin(np.pi / 3)])
    assert np.allclose(turned[:, :2], np.arange(1.0, 13.0)[:, None] * ends, atol=1e-9)
    assert np.allclose(turned[:, 2], np.pi / 3)
    assert np.allclose(rotate_smoothly(straight, 0.0), straight)
    curved = straight.copy()
    curved[:, 1] = 0.1 * curved[:, 0] ** 2
    assert np.allclose(rotate_smoothly(curved, 0.0), curved, atol=1e-9), "a spline keeps a parabola"


def test_a_mark_lies_where_a_camera_sees_the_goal():
    height, pitch = 6.0, np.radians(45)
    matrix = intrinsic_matrix(96, 64, 79.0)
    camera = MountedCamera(matrix[0, 0], matrix[1, 1], 48, 32, 96, 64, height, pitch)
    pose = look_pose(np.array([1.0, 2.0, height]), 0.3, pitch)
    local = np.array([[9.0, 2.0, 0.0]])
    world = to_world_frame(local, planar_poses(pose[None])[0])
    seen = project_points(np.array([[*world[0, :2], 0.0]]), pose, matrix)[0]
    column, row = camera.locate(9.0, 2.0)
    assert (column * 96, row * 64) == pytest.approx((seen[0], seen[1]))
    assert mark_goal(camera, local[0], 48)[int(row * 48), int(column * 48)] == 1


def test_goals_outside_the_picture_are_marked_on_their_side():
    camera = MountedCamera(50, 50, 48, 48, 96, 96, 6.0, np.radians(45))
    assert camera.locate(-20.0, 5.0) == (0.0, 1.0)
    assert camera.locate(-20.0, -5.0) == (1.0, 1.0)
    assert camera.locate(5.0, 60.0)[0] == 0.0
    for place in ((-20.0, 5.0), (5.0, 60.0), (3.0, -80.0)):
        assert mark_goal(camera, np.array(place), 24).sum() >= 9


def test_point_goals_are_direction_and_distance():
    assert point_goal(np.array([0.0, 6.0]), 24.0) == pytest.approx([0, 1, 0.25])
    assert point_goal(np.array([-96.0, 0.0]), 24.0) == pytest.approx([-1, 0, 2])
    assert np.abs(point_goal(np.zeros(2), 24.0)).max() == 0
