import numpy as np
import pytest

from aquatint.metrics.matching import match_boxes, pairwise_iou

BOXES = np.array([[0, 0, 2, 2], [1, 0, 3, 2], [10, 10, 12, 12]], float)


def test_overlaps_by_hand():
    found = pairwise_iou(BOXES, BOXES)
    assert np.diag(found) == pytest.approx([1, 1, 1])
    assert found[0, 1] == pytest.approx(2 / 6)
    assert found[0, 2] == 0


def test_each_box_matches_once_and_the_sum_of_overlaps_is_the_largest():
    """Both detections lie best on the first box; without the rule, one would be counted twice."""
    detected = np.array([[0, 0, 2, 2], [1, 0, 3, 2]], float)
    annotated = np.array([[0.5, 0, 2.5, 2], [1.8, 0, 3.8, 2]])
    assert match_boxes(detected, annotated, 0.3) == [(0, 0), (1, 1)]


def test_too_little_overlap_or_another_type_is_no_match():
    assert match_boxes(BOXES[:1], BOXES[1:2], 0.5) == []
    assert match_boxes(BOXES, BOXES, 0.3, np.zeros((3, 3), bool)) == []
    assert match_boxes(BOXES[:0], BOXES, 0.3) == []
