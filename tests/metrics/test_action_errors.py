import numpy as np
import pytest

from aquatint.metrics.action_errors import (
    chunk_errors,
    correlation,
    dimension_errors,
    end_point_errors,
    spread_errors,
)

NAMES = ("delta_x", "delta_y", "delta_z", "delta_a", "delta_b", "delta_r", "gripper")
N, H, A = 5, 3, 7


def chunks():
    rng = np.random.default_rng(0)
    is_pad = np.zeros((N, H), bool)
    is_pad[1, 2:], is_pad[4] = True, True
    return rng.normal(size=(N, H, A)), rng.normal(size=(N, H, A)), is_pad


SCALE = np.array([2.0, 1.0, 4.0, 0.0, 0.0, 10.0, 0.0])


def test_errors_match_their_definition():
    predicted, target, is_pad = chunks()
    squared, absolute, first = [], [], []
    for n in range(N):
        for h in range(H):
            for a in range(A):
                if is_pad[n, h] or SCALE[a] == 0:
                    continue
                error = (predicted[n, h, a] - target[n, h, a]) / SCALE[a]
                squared.append(error**2)
                absolute.append(abs(error))
                first += [abs(error)] if h == 0 else []
    found = chunk_errors(predicted, target, is_pad, SCALE)
    assert found["scaled_mse_error"] == pytest.approx(np.mean(squared))
    assert found["scaled_mae_error"] == pytest.approx(np.mean(absolute))
    assert found["first_mae_error"] == pytest.approx(np.mean(first))
    assert (found["n"], found["num_actions"]) == (4, 11)
    assert len(found["by_step"]) == H


def test_a_perfect_policy_has_no_error_and_nothing_gives_null():
    _, target, is_pad = chunks()
    assert chunk_errors(target, target, is_pad, SCALE)["scaled_mse_error"] == 0
    empty = chunk_errors(target[:0], target[:0], is_pad[:0], SCALE)
    assert (empty["scaled_mse_error"], empty["n"]) == (None, 0)
    padded = chunk_errors(target, target, np.ones((N, H), bool), SCALE)
    assert padded["scaled_mae_error"] is None


def test_the_order_of_chunks_does_not_matter():
    predicted, target, is_pad = chunks()
    order = [3, 1, 4, 0, 2]
    again = chunk_errors(predicted[order], target[order], is_pad[order], SCALE)
    assert again["scaled_mse_error"] == pytest.approx(
        chunk_errors(predicted, target, is_pad, SCALE)["scaled_mse_error"]
    )


def test_an_interval_takes_episodes_as_the_unit():
    predicted, target, is_pad = chunks()
    groups = np.array(["a", "a", "b", "b", "c"])
    found = chunk_errors(predicted, target, is_pad, SCALE, groups)
    low, high = found["scaled_mse_interval"]
    assert low <= found["scaled_mse_error"] <= high


def test_angles_wrap_and_a_constant_has_no_correlation():
    target = np.zeros((2, 1, A))
    predicted = target.copy()
    predicted[..., 5] = 358.0
    predicted[..., 0] = [[10.0], [30.0]]
    found = dimension_errors(predicted, target, np.zeros((2, 1), bool), NAMES)
    assert found["delta_r"]["mae"] == pytest.approx(2)
    assert found["delta_x"]["mae"] == 20
    assert found["delta_x"]["correlation"] is None
    assert correlation(np.array([1.0, 2, 3]), np.array([2.0, 4, 6])) == pytest.approx(1)


def test_the_end_of_a_chunk_is_the_sum_of_its_valid_steps():
    target = np.zeros((1, 3, A))
    predicted = target.copy()
    predicted[0, :, 0] = [3.0, 0.0, 100.0]
    predicted[0, :, 1] = [0.0, 4.0, 100.0]
    found = end_point_errors(predicted, target, np.array([[False, False, True]]))
    assert found == {"position_mm": 5.0, "angle_deg": 0.0, "n": 1}


def test_the_best_of_samples_is_no_worse_than_their_mean():
    predicted, target, is_pad = chunks()
    samples = np.stack([predicted, target])
    found = spread_errors(samples, target, is_pad, SCALE)
    assert found["best_of_k_mse"] == 0
    assert found["mean_mse"] > 0
    assert found["variance"] > 0
    assert spread_errors(np.stack([target, target]), target, is_pad, SCALE)["variance"] == 0
