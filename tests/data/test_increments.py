import numpy as np
import pytest

from aquatint.data.increments import (
    IncrementRule,
    actions_of_chunk,
    chunk_ahead,
    displacements,
    motion_of,
    past_of,
)

RULE = IncrementRule(4, 2, step_m=2.5, turn_rad=np.radians(15), motion_scale_m=10.0)
TURN = np.radians(15)
# Heads north, turns left once, goes two steps.
HEADING = np.pi / 2 + TURN
STEP = 2.5 * np.array([np.cos(HEADING), np.sin(HEADING)])
POSES = np.array([[1, 2, np.pi / 2], [1, 2, HEADING], [*(np.array([1, 2]) + STEP), HEADING],
                  [*(np.array([1, 2]) + 2 * STEP), HEADING]])  # fmt: skip


def test_increments_by_hand_and_back():
    chunk = chunk_ahead(POSES, 0, RULE)
    ahead = [np.cos(TURN), np.sin(TURN), 0]
    assert np.allclose(chunk, [[0, 0, 1], ahead, ahead, [0, 0, 0]])
    assert np.allclose(displacements(chunk, RULE)[-1], 5 * np.array([np.cos(TURN), np.sin(TURN)]))
    assert np.allclose(past_of(POSES, 2, RULE), [[1, 0, 0], [0, 0, 1]])
    assert np.allclose(past_of(POSES, 0, RULE), 0)
    assert np.allclose(motion_of(POSES[2], POSES[0], RULE),
                       [0.25 * np.cos(TURN), 0.25 * np.sin(TURN), TURN / np.pi])  # fmt: skip


def test_the_whole_flight_moved_and_turned_has_the_same_increments():
    turn, (cosine, sine) = 2.5, (np.cos(2.5), np.sin(2.5))
    x, y, heading = POSES.T
    moved = np.column_stack([7 + cosine * x - sine * y, sine * x + cosine * y - 3, heading + turn])
    for step in range(4):
        assert np.allclose(chunk_ahead(moved, step, RULE), chunk_ahead(POSES, step, RULE))
        assert np.allclose(past_of(moved, step, RULE), past_of(POSES, step, RULE))


def test_turns_across_the_back_are_small_and_gusts_are_cut():
    poses = np.array([[0, 0, np.pi - 0.1], [0, 0, -np.pi + 0.1], [0, 0, -np.pi + 1.1]])
    assert np.allclose(chunk_ahead(poses, 0, RULE)[:2, 2], [0.2 / TURN, 1])


@pytest.mark.parametrize(
    ("chunk", "actions"),
    [
        ([[0, 0, 1], [0.7, 0.7, 0], [0, 0, -1], [1, 0, 0]], [2, 1, 3, 1]),
        ([[1, 0, 0.9], [0, 0, 0.1], [0, 0.1, 0], [0, 0, 0]], [1, 0]),
        ([[0, 0, 0.1], [0, 0, 0], [0, 0, 0], [0, 0, 0]], [0]),
        # Two quiet ones are no end: the one that turns least still turns.
        ([[0, 0, -0.1], [0, 0, 0.1], [1, 0, 0], [1, 0, 0]], [3, 2, 1, 1]),
    ],
)
def test_actions_are_read_off_increments(chunk, actions):
    assert actions_of_chunk(np.array(chunk, float), 4) == actions
    assert actions_of_chunk(np.array(chunk, float), 1) == actions[:1]
