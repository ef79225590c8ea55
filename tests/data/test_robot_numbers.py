"""Chunks, windows, angles and scales, against their definitions."""

import numpy as np
import pandas as pd
import pytest

from aquatint.data.action_chunks import chunk_actions, previous_actions
from aquatint.data.normaliser import (
    denormalise,
    encode_angles,
    fit_scale,
    fit_sensor_scale,
    normalise,
    normalise_sensor,
)
from aquatint.data.robot_rows import ACTION_NAMES, delta_poses, wrap_deg
from aquatint.data.sensor_windows import cut_window, window_rows


def steps_of(lengths, gap=None):
    rows = []
    for number, length in enumerate(lengths):
        for step in range(length):
            if (number, step) == gap:
                continue
            value = 100 * number + step
            rows.append({"episode_id": f"e{number}", "step": step,
                         "has_action": step < length - 1 and (number, step + 1) != gap,
                         **dict.fromkeys(ACTION_NAMES, float(value))})  # fmt: skip
    return pd.DataFrame(rows)


def chunks_by_definition(steps, horizon):
    by_place = {(r.episode_id, r.step): r for r in steps.itertuples()}
    chunks, pads = [], []
    for row in steps.itertuples():
        chunk, pad, ended = [], [], False
        for offset in range(horizon):
            other = by_place.get((row.episode_id, row.step + offset))
            ended = ended or other is None or not other.has_action
            chunk.append(0.0 if ended else other.delta_x)
            pad.append(ended)
        chunks.append(chunk)
        pads.append(pad)
    return np.array(chunks), np.array(pads)


@pytest.mark.parametrize("gap", [None, (0, 2)], ids=["whole", "dropped step"])
def test_chunks_follow_their_definition_and_stop_at_gaps(gap):
    steps = steps_of([6, 3], gap)
    chunks, is_pad = chunk_actions(steps, 4)
    expected, pads = chunks_by_definition(steps, 4)
    assert np.array_equal(is_pad, pads)
    assert np.array_equal(chunks[..., 0], expected)


def test_the_previous_action_is_of_the_same_episode_and_the_step_before():
    actions, has_one = previous_actions(steps_of([3, 2]))
    assert has_one.tolist() == [False, True, True, False, True]
    assert actions[:, 0].tolist() == [0, 0, 1, 0, 100]


def test_angles_wrap_before_anything_sees_them():
    poses = np.zeros((2, 6))
    poses[:, 5] = [179, -179]
    assert delta_poses(poses)[0, 5] == 2
    assert delta_poses(poses[::-1])[0, 5] == -2
    assert wrap_deg(np.array([180.0, -180.0, 540.0])).tolist() == [180, 180, 180]


@pytest.mark.parametrize("mode", ["min_max", "z_score"])
def test_scales_invert_and_a_constant_dimension_comes_back_exactly(mode):
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(50, 9, (40, 3)), np.full((40, 1), 1.0)], 1)
    scale = fit_scale(values, mode, "abcd")
    scaled = normalise(values, scale)
    assert scale["is_constant"] == [False, False, False, True]
    assert np.array_equal(scaled[:, 3], np.zeros(40)), "nothing is divided by zero"
    assert np.abs(denormalise(scaled, scale) - values).max() < 1e-5
    assert (denormalise(rng.normal(size=(5, 4)), scale)[:, 3] == 1.0).all()
    if mode == "min_max":
        assert scaled[:, :3].min() == pytest.approx(-1)
        assert scaled[:, :3].max() == pytest.approx(1)
    else:
        assert np.abs(scaled[:, :3].mean(0)).max() < 1e-6


def test_a_scale_refuses_what_is_not_finite():
    with pytest.raises(ValueError, match="finite"):
        fit_scale(np.array([[np.nan]]), "z_score", "a")


def test_angles_are_told_by_sine_and_cosine():
    low, high = np.zeros(12), np.zeros(12)
    low[-1], high[-1] = -179.9, 179.9
    assert encode_angles(low).shape == (15,)
    assert np.abs(encode_angles(low) - encode_angles(high)).max() < 0.01, "no jump at 180"


def test_windows_take_the_last_rows_of_their_interval():
    times = np.arange(10.0)
    spans = window_rows(times, np.array([-np.inf, 3.0]), np.array([5.0, 5.0]), 4, 0.5)
    assert spans.tolist() == [[2, 6], [4, 6]]
    assert np.diff(window_rows(times, np.array([-np.inf]), np.array([20.0]), 4, 0.5)) == 0
    assert np.diff(window_rows(times[:0], np.array([-np.inf]), np.array([1.0]), 4, 0.5)) == 0


def test_a_short_window_has_zeros_before_it():
    rows = np.full((3, 4), np.e - 1, np.float32)
    cut = cut_window(rows, 0, 3, 5)
    assert cut[:2].sum() == 0
    assert cut[2:, 0].tolist() == pytest.approx([np.e - 1] * 3), "the force is not a logarithm"
    assert cut[2:, 1:] == pytest.approx(1)


def test_force_and_echo_have_scales_of_their_own():
    rng = np.random.default_rng(0)
    windows = np.concatenate([rng.normal(12, 2, (50, 6, 1)), rng.normal(3, 1, (50, 6, 9))], 2)
    scale = fit_sensor_scale(windows)
    scaled = normalise_sensor(windows, scale)
    assert scaled[..., 0].mean() == pytest.approx(0, abs=1e-4)
    assert scaled[..., 1:].std() == pytest.approx(1, abs=1e-4)
    assert scale["force"] != scale["a_scan"]
