"""Measures of anchors and answers, by hand and by what they must not depend on."""

import numpy as np
import pytest

from aquatint.metrics.anchors import (
    best_edge_f1,
    depth_errors,
    edge_counts,
    feature_cosine,
    homogeneity,
    matched_masks,
)
from aquatint.metrics.answers import is_same_answer


def masks():
    found = np.zeros((3, 4, 4), bool)
    found[0, :2], found[1, 2:], found[2, :, 0] = True, True, True
    return found


def test_equal_masks_are_perfect_in_any_order():
    found = matched_masks(masks()[[2, 0, 1]], masks())
    assert found == {"dice_score": 1.0, "iou_score": 1.0}


def test_half_a_mask_and_a_missing_one_by_hand():
    target = masks()[:2]
    predicted = target[:1].copy()
    predicted[0, 1] = False
    # 4 of 8 pixels: Dice 2 * 4 / 12, IoU 4 / 8; the other target has no partner.
    found = matched_masks(predicted, target)
    assert found["dice_score"] == pytest.approx((8 / 12) / 2)
    assert found["iou_score"] == pytest.approx(0.25)


def test_an_image_without_targets_has_no_score_and_empty_masks_score_nothing():
    assert matched_masks(masks(), masks()[:0]) is None
    assert matched_masks(np.zeros((2, 4, 4), bool), masks())["dice_score"] == 0


def test_depth_by_hand():
    found = depth_errors(np.array([[10.0, 20.0]]), np.array([[10.0, 40.0]]))
    assert found == {"l1_error": 10.0, "abs_rel_error": 0.25, "delta_score": 0.5}


def test_edges_are_judged_at_the_threshold_that_suits_them():
    target = np.array([[True, False, False, True]])
    counts = edge_counts(np.array([[0.32, 0.1, 0.2, 0.4]]), target)
    found = best_edge_f1(counts)
    assert found["f1_score"] == 1.0
    assert 0.2 < found["threshold"] <= 0.3 + 1e-9
    assert best_edge_f1(edge_counts(np.zeros((1, 4)), target))["f1_score"] == 0


def test_cosine_and_homogeneity():
    vectors = np.array([[1.0, 0.0], [0.0, 2.0]])
    assert feature_cosine(vectors, 3 * vectors) == pytest.approx(1)
    assert homogeneity(vectors) == pytest.approx(0)
    assert homogeneity(np.ones((4, 3))) == pytest.approx(1)


@pytest.mark.parametrize(
    ("predicted", "target", "expected"),
    [
        ("Two.", "two", True),
        ("the red bus", "red bus", True),
        ("red", "red bus", False),
        ("Yes, there is one.", "yes", True),
        ("not yes", "yes", False),
        ("no", "yes", False),
        ("B. red", "B", True),
        ("(b)", "B", True),
        ("A", "B", False),
        ("Both", "B", False),
        ("3.5", "3.5", True),
        ("", "two", False),
    ],
)
def test_answers_are_compared_as_benchmarks_do(predicted, target, expected):
    assert is_same_answer(predicted, target) is expected
