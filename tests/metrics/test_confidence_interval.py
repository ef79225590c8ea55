import math

import pytest

from aquatint.metrics.intervals import confidence_interval


def test_by_hand():
    # p = 0.5, n = 4: center 0.5, half width z * sqrt(1/16 + z^2/64) / (1 + z^2/4).
    z = 1.959963984540054
    half = z * math.sqrt(0.25 / 4 + z * z / 64) / (1 + z * z / 4)
    assert confidence_interval(2, 4) == pytest.approx([0.5 - half, 0.5 + half])


def test_ends_solve_the_score_equation():
    """The ends are the proportions whose own normal interval just reaches the observation."""
    for successes, n in ((1, 10), (7, 9), (250, 1000)):
        for end in confidence_interval(successes, n):
            distance = abs(successes / n - end) / math.sqrt(end * (1 - end) / n)
            assert distance == pytest.approx(1.959963984540054)


@pytest.mark.parametrize("successes", [0, 5])
def test_extremes_stay_in_range_and_have_width(successes):
    low, high = confidence_interval(successes, 5)
    assert 0 <= low <= successes / 5 <= high <= 1
    assert high - low > 0.3


def test_no_trials_give_none():
    assert confidence_interval(0, 0) is None


@pytest.mark.parametrize(("successes", "n"), [(3, 2), (-1, 2)])
def test_impossible_counts_are_refused(successes, n):
    with pytest.raises(ValueError, match=f"got {successes} of {n}"):
        confidence_interval(successes, n)
