import numpy as np
import pytest

from aquatint.metrics.calibration import brier_error, calibration_metrics, roc_area


def test_calibration_by_hand():
    confidence = np.array([0.95, 0.95, 0.55, 0.55])
    found = calibration_metrics(confidence, np.array([1, 0, 1, 1]))
    # Bins of two: |0.95 - 0.5| and |0.55 - 1|, half the samples each.
    assert found["expected_calibration_error"] == pytest.approx(0.45)
    assert [item["n"] for item in found["bins"]] == [2, 2]


def test_without_samples_there_is_nothing_to_say():
    assert calibration_metrics(np.array([]), np.array([]))["expected_calibration_error"] is None
    assert brier_error(np.zeros((0, 3)), np.array([], int)) is None
    assert roc_area(np.array([0.2, 0.3]), np.array([True, True])) is None


def test_the_brier_error_is_0_when_sure_and_right_and_2_when_sure_and_wrong():
    sure = np.array([[1.0, 0.0]])
    assert brier_error(sure, np.array([0])) == 0
    assert brier_error(sure, np.array([1])) == 2


def test_the_area_is_the_share_of_ordered_pairs():
    rng = np.random.default_rng(0)
    scores, positive = rng.integers(0, 5, 60), rng.random(60) < 0.4
    pairs = [
        1.0 if a > b else 0.5 if a == b else 0.0
        for a in scores[positive]
        for b in scores[~positive]
    ]
    assert roc_area(scores, positive) == pytest.approx(np.mean(pairs))
    order = rng.permutation(60)
    assert roc_area(scores[order], positive[order]) == pytest.approx(np.mean(pairs))


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="2 values need as many truths, got 3"):
        calibration_metrics(np.zeros(2), np.zeros(3))
