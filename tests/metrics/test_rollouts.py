import numpy as np
import pandas as pd
import pytest

from aquatint.metrics.rollouts import compare_rollouts, mean_interval, rollout_metrics


def runs(successes, lengths=None, ids=None):
    num = len(successes)
    return pd.DataFrame({
        "run_id": range(num) if ids is None else ids, "is_success": successes,
        "final_error_m": [0.5 if s else 4.0 for s in successes],
        "path_length_m": [10.0] * num if lengths is None else lengths,
        "expert_length_m": [10.0] * num,
    })  # fmt: skip


def test_values_by_hand():
    found = rollout_metrics(runs([True, True, False, True], [10, 20, 10, 5]))
    assert found["success_rate"] == 0.75
    assert found["final_error_m"] == pytest.approx((3 * 0.5 + 4) / 4)
    # A path shorter than the expert's counts as equal, a failure as nothing.
    assert found["spl"] == pytest.approx((1 + 0.5 + 0 + 1) / 4)
    assert found["success_interval"][0] < 0.75 < found["success_interval"][1]
    assert found["n"] == 4


def test_no_runs_give_null_and_their_number():
    found = rollout_metrics(runs([]).astype({"is_success": bool}))
    assert (found["success_rate"], found["final_error_m"], found["spl"]) == (None, None, None)
    assert found["n"] == 0


def test_the_order_of_runs_does_not_matter():
    table = runs([True, False, True, False], [10, 11, 12, 13])
    assert rollout_metrics(table)["spl"] == rollout_metrics(table.iloc[::-1])["spl"]


def test_systems_are_compared_on_the_same_starts():
    found = compare_rollouts({"a": runs([True] * 8), "b": runs([False] * 8)}, "a")
    assert found["b"]["difference"] == 1
    assert found["b"]["p_value"] == pytest.approx(2 / 2**8)
    with pytest.raises(ValueError, match="same runs"):
        compare_rollouts({"a": runs([True] * 2), "b": runs([True] * 2, ids=[7, 8])}, "a")


def test_a_mean_lies_in_its_interval():
    values = np.random.default_rng(0).normal(3, 1, 50)
    low, high = mean_interval(values)
    assert low < values.mean() < high
    assert mean_interval(values[:1]) is None
