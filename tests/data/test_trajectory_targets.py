"""Ways become evenly spaced increments and come back as points."""

from dataclasses import replace

import numpy as np
import pytest

from aquatint.data.trajectory_targets import (
    TargetRule,
    decode_trajectory,
    encode_trajectory,
    target_frames,
)

RULE = TargetRule(32, 0.1, 0.0, 4.0, 2, 12)


def straight(length, heading=0.0, offset=(5.0, -2.0)):
    steps = np.linspace(0, length, 9)
    x, y = offset[0] + steps * np.cos(heading), offset[1] + steps * np.sin(heading)
    return np.stack([x, y, np.full(9, heading)], axis=1)


@pytest.mark.parametrize("heading", [0.0, 2.0, -3.1])
def test_a_straight_way_leads_straight_ahead_whatever_the_heading(heading):
    points = decode_trajectory(encode_trajectory(straight(3.2, heading), RULE), RULE.scale)
    assert points[:, 0] == pytest.approx(0.1 * np.arange(1, 33), abs=1e-9)
    assert np.abs(points[:, 1:]).max() < 1e-9


def test_the_end_of_a_short_way_is_repeated():
    increments = encode_trajectory(straight(1.0), RULE)
    assert (increments[10:] == 0).all()
    assert decode_trajectory(increments, RULE.scale)[-1, 0] == pytest.approx(1.0)


def test_points_lie_on_a_curve_at_equal_distances_and_turn_with_it():
    angles = np.linspace(0, np.pi / 2, 30)
    way = np.stack([2 * np.sin(angles), 2 - 2 * np.cos(angles), angles], axis=1)
    points = decode_trajectory(encode_trajectory(way, RULE), RULE.scale)
    radius = np.hypot(points[:, 0], points[:, 1] - 2)
    assert radius[:31] == pytest.approx(np.full(31, 2.0), abs=1e-3)
    gaps = np.linalg.norm(np.diff(points[:31, :2], axis=0), axis=1)
    assert gaps == pytest.approx(np.full(30, 0.1), abs=1e-3)
    assert points[30, 2] == pytest.approx(31 * 0.1 / 2, abs=1e-2)


def test_scaling_is_undone():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(3, 32, 3)).cumsum(1)
    increments = np.diff(points, axis=1, prepend=0) * (4.0, 4.0, 1.0)
    assert decode_trajectory(increments, 4.0) == pytest.approx(points)


def test_an_agent_that_stands_has_no_way():
    still = np.repeat([[1.0, 2.0, 0.3]], 5, axis=0)
    assert (encode_trajectory(still, RULE) == 0).all()
    turning = still + np.outer(np.arange(5), (0, 0, 0.2))
    assert (encode_trajectory(turning, RULE) == 0).all()


def test_the_first_turn_is_from_the_heading_to_the_way():
    way = straight(3.2)
    way[:, 2] = -np.pi / 2  # looks to the right of where it flies
    increments = encode_trajectory(way, RULE)
    assert increments[0, 2] == pytest.approx(np.pi / 2)
    assert np.abs(increments[1:, 2]).max() < 1e-9


def test_targets_lie_on_the_way_to_the_goal_and_are_never_too_many():
    assert target_frames(7, RULE) == [0, 2, 4, 6]
    assert target_frames(3, RULE) == [0, 2]
    for offset in range(1, 200):
        frames = target_frames(offset, RULE)
        assert frames[0] == 0
        assert len(frames) <= 12
        assert frames[-1] < offset
        assert target_frames(offset, replace(RULE, includes_goal=True)) == [*frames, offset]
