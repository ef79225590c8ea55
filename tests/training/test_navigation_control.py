"""Pixels become places and come back; places and trajectories become actions."""

import numpy as np
import pytest

from aquatint.data.navigation_prompts import FORWARD, LEFT, RIGHT, STOP
from aquatint.geometry.poses import intrinsic_matrix, look_pose, project_points
from aquatint.training.point_goal_control import StraightLine, pixel_to_point, to_agent_frame
from aquatint.training.trajectory_control import PurePursuit

INTRINSICS = intrinsic_matrix(64, 48, 79.0)
POSE = look_pose(np.array([3.0, -2.0, 1.25]), 0.7, np.radians(30))
PURSUIT = PurePursuit(step_m=0.25, turn_deg=15.0, look_ahead=4, arrival_m=0.2)


def test_a_pixel_becomes_the_point_that_it_shows_and_comes_back():
    ground = np.array([[4.2, -1.0, 0.0], [5.0, -0.8, 0.0]])
    for point, (x, y, depth) in zip(ground, project_points(ground, POSE, INTRINSICS), strict=True):
        row, column = int(y), int(x)
        image = np.zeros((48, 64))
        image[row, column] = depth
        found = pixel_to_point(row, column, image, POSE, INTRINSICS)
        # Half a pixel's width at that distance.
        assert np.linalg.norm(found - point[:2]) < 1.5 * depth / INTRINSICS[0, 0]
        assert pixel_to_point(column, row, image, POSE, INTRINSICS) is None, "row before column"


@pytest.mark.parametrize(("row", "column"), [(48, 0), (0, 64), (-1, 3)])
def test_a_pixel_outside_or_without_depth_shows_no_place(row, column):
    assert pixel_to_point(row, column, np.ones((48, 64)), POSE, INTRINSICS) is None
    assert pixel_to_point(3, 3, np.zeros((48, 64)), POSE, INTRINSICS) is None


def test_ahead_and_left_are_the_agents_own():
    ahead = np.array([np.cos(0.7), np.sin(0.7)])
    left = np.array([-np.sin(0.7), np.cos(0.7)])
    found = to_agent_frame(POSE[:2, 3] + 2 * ahead + 0.5 * left, POSE)
    assert found == pytest.approx([2.0, 0.5])


def fly(control, point, steps=60):
    x, y, heading = 0.0, 0.0, 0.0
    actions = []
    for _ in range(steps):
        pose = look_pose(np.array([x, y, 1.25]), heading, np.radians(30))
        action = control.act(np.array(point), pose)
        if action is None:
            break
        actions.append(action)
        if action == FORWARD:
            x, y = x + 0.25 * np.cos(heading), y + 0.25 * np.sin(heading)
        else:
            heading += np.radians(15) * (1 if action == LEFT else -1)
    return actions, np.array([x, y])


@pytest.mark.parametrize("point", [(2.0, 0.0), (0.0, 2.0), (-1.5, -1.0), (1.0, -2.0)])
def test_the_straight_line_gets_there_from_every_heading(point):
    actions, end = fly(StraightLine(0.25, 15.0, 0.15), point)
    assert np.linalg.norm(end - point) < 0.2
    turns = [action for action in actions if action != FORWARD]
    assert len(set(turns[:5])) <= 1, "turns the shorter way"
    if point[1] > 0:
        assert turns[0] == LEFT
    if point[1] < 0:
        assert turns[0] == RIGHT


def test_a_straight_trajectory_is_flown_straight_and_ends():
    points = np.stack([0.1 * np.arange(1, 33), np.zeros(32)], 1)
    actions = PURSUIT.plan(points, 100)
    assert actions == [FORWARD] * 13 + [STOP] or actions == [FORWARD] * 12 + [STOP]
    assert PURSUIT.plan(points, 4) == [FORWARD] * 4


def test_a_trajectory_to_the_side_is_turned_to_first():
    for side, action in ((1, LEFT), (-1, RIGHT)):
        points = np.stack([np.zeros(32), side * 0.1 * np.arange(1, 33)], 1)
        found = PURSUIT.plan(points, 8)
        assert found[:5] == [action] * 5
        assert FORWARD in found


def test_a_trajectory_that_stays_is_no_way():
    assert PURSUIT.plan(np.zeros((32, 2)), 4) == [STOP]
    behind = np.array([[-0.05, 0.0]] * 32) - [0.2, 0.0]
    assert STOP not in PURSUIT.plan(behind, 3), "it turns round first"


def test_a_step_that_would_lead_away_is_not_taken():
    control = PurePursuit(step_m=2.5, turn_deg=15.0, look_ahead=4, arrival_m=0.2)
    assert control.plan(np.array([[1.0, 0.0]] * 4), 4) == [STOP]
