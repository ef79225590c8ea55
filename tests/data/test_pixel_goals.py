"""Scenes whose occlusions are known by construction: a flat ground and one wall."""

import numpy as np
import pytest

from aquatint.data.pixel_goals import NO_GOAL, GoalRule, label_pixel_goals
from aquatint.geometry.poses import intrinsic_matrix, look_pose

HEIGHT_M, SIZE = 1.25, (480, 640)
K = intrinsic_matrix(640, 480, 79.0)
RULE = GoalRule(depth_tolerance_m=0.2, min_offset=3, max_depth_m=30.0, camera_height_m=HEIGHT_M)


def ray_depth(pose, walls=(), intrinsics=K, size=SIZE):
    """Depth of a flat ground with walls (x, y_low, y_high, height) across the x axis."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    rays = (
        np.stack(
            [
                (columns + 0.5 - intrinsics[0, 2]) / intrinsics[0, 0],
                (rows + 0.5 - intrinsics[1, 2]) / intrinsics[1, 1],
                np.ones(size),
            ],
            axis=-1,
        )
        @ pose[:3, :3].T
    )
    eye = pose[:3, 3]
    with np.errstate(divide="ignore", invalid="ignore"):
        depth = np.where(rays[..., 2] < 0, -eye[2] / rays[..., 2], 0.0)
        for x, low, high, height in walls:
            reach = (x - eye[0]) / rays[..., 0]
            y, z = eye[1] + reach * rays[..., 1], eye[2] + reach * rays[..., 2]
            is_hit = (reach > 0) & (low <= y) & (y <= high) & (z >= 0) & (z <= height)
            depth = np.where(is_hit & ((depth == 0) | (reach < depth)), reach, depth)
    return depth


def straight(num_frames, pitch_deg=30.0, heading=0.0):
    step = 0.25 * np.array([np.cos(heading), np.sin(heading), 0.0])
    return np.stack([
        look_pose(step * i + (0, 0, HEIGHT_M), heading, np.radians(pitch_deg))
        for i in range(num_frames)
    ])  # fmt: skip


def label(poses, walls=(), rule=RULE):
    return label_pixel_goals(poses, lambda t: ray_depth(poses[t], walls), K, rule)


def test_on_open_ground_the_end_of_the_way_is_the_goal():
    poses = straight(40)
    found = label(poses)
    assert found.offsets[0] == 39
    assert found.offsets.tolist() == [*range(39, 2, -1), NO_GOAL, NO_GOAL, NO_GOAL]
    assert (found.columns[:37] == 320).all()
    # 9.75 m ahead: 7.3 degrees below the horizon, and so 22.7 above the axis of view.
    expected = 240 - K[1, 1] * np.tan(np.radians(30) - np.arctan(HEIGHT_M / 9.75))
    assert found.rows[0] == int(expected)
    assert (found.hidden[:37] == 0).all()


def test_a_wall_hides_what_lies_behind_it():
    poses = straight(40)
    strict = GoalRule(0.1, 3, 30.0, HEIGHT_M)
    found = label(poses, walls=[(5.1, -3.0, 3.0, 3.0)], rule=strict)
    # Positions up to x = 5.0 stand before the wall; frame 20 is the last of them.
    assert found.offsets[0] == 20
    assert found.offsets[10] == 10
    assert found.hidden[0] == 19
    low = label(poses, walls=[(5.1, -3.0, 3.0, 0.02)])
    assert low.offsets[0] == 39, "a kerb hides next to nothing"


def test_a_way_that_comes_back_into_sight_is_pointed_at_where_it_ends():
    poses = straight(40)
    found = label(poses, walls=[(3.1, -0.4, 0.4, 0.6)])
    assert found.offsets[0] == 39
    assert found.hidden[0] > 0


def test_a_goal_nearer_than_the_least_offset_is_none():
    poses = straight(6)
    assert label(poses).offsets.tolist() == [5, 4, 3, NO_GOAL, NO_GOAL, NO_GOAL]
    far = GoalRule(0.2, 5, 30.0, HEIGHT_M)
    assert label(poses, rule=far).offsets.tolist() == [5] + [NO_GOAL] * 5


def test_a_way_that_turns_out_of_the_image_has_no_goal_before_the_turn():
    turn = [look_pose(np.array([0, 0, HEIGHT_M]), np.pi, np.radians(30))]
    found = label(np.concatenate([turn, straight(10)]))
    assert found.offsets[0] == NO_GOAL
    assert found.offsets[1] == 9


def test_depth_that_is_missing_or_beyond_its_range_shows_nothing():
    poses = straight(20)
    blind = label_pixel_goals(poses, lambda t: np.zeros(SIZE), K, RULE)
    assert (blind.offsets == NO_GOAL).all()
    near = GoalRule(0.2, 3, 3.0, HEIGHT_M)
    found = label(poses, rule=near)
    assert 0 < found.offsets[0] < 19


def test_depth_is_read_only_where_it_can_matter():
    poses, read = straight(12), []

    def depth_of(frame):
        read.append(frame)
        return ray_depth(poses[frame])

    label_pixel_goals(poses, depth_of, K, RULE)
    assert read == list(range(9))


def test_depth_of_another_size_is_refused():
    poses = straight(12)
    with pytest.raises(ValueError, match="depth of frame 0 has 64 x 48 pixels, .* 640 x 480"):
        label_pixel_goals(poses, lambda t: np.ones((48, 64)), K, RULE)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"depth_tolerance_m": 0.0}, "depth_tolerance_m must be above 0"),
        ({"min_offset": 0}, "min_offset must be at least 1"),
        ({"camera_height_m": -1.0}, "camera_height_m must be above 0"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(change, words):
    with pytest.raises(ValueError, match=words):
        GoalRule(**{**vars(RULE), **change})


def test_an_agent_that_turns_in_place_is_not_sent_to_its_own_feet():
    """With a camera that sees the ground below itself."""
    wide = intrinsic_matrix(640, 480, 110.0)
    turning = np.stack([
        look_pose(np.array([0.0, 0.0, HEIGHT_M]), np.radians(15.0 * i), np.radians(60))
        for i in range(8)
    ])  # fmt: skip

    def depth_of(frame):
        return ray_depth(turning[frame], intrinsics=wide)

    near = label_pixel_goals(turning, depth_of, wide, RULE)
    assert (near.offsets[:5] > 0).all()
    far = GoalRule(**{**vars(RULE), "min_distance_m": 0.25})
    assert (label_pixel_goals(turning, depth_of, wide, far).offsets == NO_GOAL).all()


def test_what_depth_does_not_reach_is_not_hidden():
    poses = straight(40)
    near = GoalRule(0.2, 3, 5.0, HEIGHT_M)
    found = label(poses, rule=near)
    assert found.hidden.sum() == 0
    assert found.unmeasured[0] > 10
