import numpy as np
import pytest

from aquatint.metrics.navigation import (
    FlownPath,
    cls_score,
    dtw_m,
    navigation_metrics,
    ndtw_score,
    path_length_m,
    summarise_navigation,
)

LINE = np.column_stack([np.arange(11.0), np.zeros(11)])


def judge(path, has_stopped=True, requires_stop=True, reference=LINE, geodesic=10.0, collisions=0):
    flown = FlownPath(
        np.asarray(path, float), reference, reference[-1], geodesic, has_stopped, collisions
    )
    return navigation_metrics(flown, 3.0, 3.0, requires_stop)


def test_the_expert_itself_is_perfect():
    found = judge(LINE)
    assert found == pytest.approx({
        "navigation_error_m": 0, "oracle_success": 1, "success": 1, "spl": 1, "path_length_m": 10,
        "ndtw_score": 1, "sdtw_score": 1, "cls_score": 1, "num_collisions": 0,
    })  # fmt: skip


def test_standing_still_is_no_way_to_follow_a_path():
    found = judge(LINE[:1])
    assert found["ndtw_score"] == pytest.approx(np.exp(-55 / 33))
    assert found["navigation_error_m"] == 10
    assert found["success"] == found["spl"] == found["sdtw_score"] == 0
    assert found["cls_score"] < 0.2


def test_a_path_walked_backwards_does_not_follow():
    assert ndtw_score(LINE[::-1], LINE, 3.0) < 0.2
    assert judge(LINE[::-1])["oracle_success"] == 1
    assert judge(LINE[::-1])["success"] == 0


def test_alignment_by_hand():
    path = np.array([[0.0, 0], [1, 1], [2, 0]])
    reference = np.array([[0.0, 0], [1, 0], [2, 0]])
    assert dtw_m(path, reference) == pytest.approx(1)
    # The one position is aligned with all three: 0 + 1 + 2.
    assert dtw_m(reference[:1], reference) == pytest.approx(3)
    assert dtw_m(np.repeat(reference, 3, axis=0), reference) == 0


def test_a_detour_costs_length_and_not_success():
    detour = np.concatenate([LINE, [[15.0, 0], [10.0, 0]]])
    found = judge(detour)
    assert found["path_length_m"] == 20
    assert found["success"] == 1
    assert found["spl"] == pytest.approx(0.5)
    assert found["cls_score"] < 1


def test_a_stop_is_needed_only_where_it_is_asked_for():
    assert judge(LINE, has_stopped=False)["success"] == 0
    assert judge(LINE, has_stopped=False, requires_stop=False)["success"] == 1


def test_the_radius_is_open():
    assert judge([[7.0, 0.0]])["success"] == 0
    assert judge([[7.01, 0.0]])["success"] == 1


def test_errors_are_to_the_goal_and_not_to_where_the_expert_stopped():
    flown = FlownPath(LINE, LINE, np.array([12.0, 0.0]), 12.0, True)
    found = navigation_metrics(flown, 3.0, 3.0, requires_stop=True)
    assert found["navigation_error_m"] == 2
    assert found["success"] == 1
    assert found["ndtw_score"] == 1


def test_coverage_by_hand():
    reference = np.array([[0.0, 0], [4, 0]])
    path = np.array([[0.0, 0], [2, 0]])
    coverage = (1 + np.exp(-2 / 2)) / 2
    expected = coverage * 4
    assert cls_score(path, reference, 2.0) == pytest.approx(
        coverage * expected / (expected + abs(expected - 2))
    )
    assert path_length_m(reference) == 4


def test_a_goal_at_the_start_is_reached_by_standing():
    found = judge([[0.0, 0.0]], reference=LINE[:1], geodesic=0.0)
    assert (found["success"], found["spl"], found["cls_score"]) == (1, 1, 1)


def test_means_come_with_their_n_and_intervals():
    found = summarise_navigation([judge(LINE), judge(LINE[:1]), judge(LINE, collisions=3)])
    assert found["n"] == 3
    assert found["success"] == pytest.approx(2 / 3)
    assert found["num_collisions"] == 1
    low, high = found["success_interval"]
    assert low < 2 / 3 < high
    assert summarise_navigation([])["n"] == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"path": np.zeros((0, 2))}, "path needs shape"),
        ({"reference": np.zeros((3, 3))}, "reference needs shape"),
        ({"path": np.array([[np.nan, 0.0]])}, "finite positions"),
        ({"goal": np.array([np.nan, 0.0])}, "goal needs a finite position"),
        ({"geodesic_m": float("nan")}, "geodesic_m must be at least 0"),
    ],
)
def test_what_cannot_be_judged_is_refused(change, words):
    good = {"path": LINE, "reference": LINE, "goal": LINE[-1], "geodesic_m": 10.0,
            "has_stopped": True}  # fmt: skip
    with pytest.raises(ValueError, match=words):
        FlownPath(**{**good, **change})
