import math

import numpy as np
import pytest

from aquatint.metrics.intervals import confidence_interval
from aquatint.metrics.paired import group_bootstrap_interval, mcnemar


def pair(only_first, only_second, both=5, neither=3):
    first = [1] * only_first + [0] * only_second + [1] * both + [0] * neither
    second = [0] * only_first + [1] * only_second + [1] * both + [0] * neither
    return np.array(first), np.array(second)


@pytest.mark.parametrize(("b", "c"), [(0, 0), (5, 1), (1, 5), (8, 8), (30, 12)])
def test_the_p_value_is_the_two_sided_binomial_one(b, c):
    n, k = b + c, min(b, c)
    by_definition = min(1.0, 2 * sum(math.comb(n, i) for i in range(k + 1)) / 2**n)
    found = mcnemar(*pair(b, c))
    assert found["p_value"] == pytest.approx(by_definition)
    assert (found["only_first"], found["only_second"], found["n"]) == (b, c, b + c + 8)


def test_thousands_of_samples_do_not_underflow():
    assert 0 < mcnemar(*pair(900, 800))["p_value"] < 0.05
    assert mcnemar(*pair(2000, 100))["p_value"] < 1e-100


def test_systems_must_be_judged_on_the_same_samples():
    with pytest.raises(ValueError, match="same samples"):
        mcnemar(np.ones(3), np.ones(4))


def test_a_group_is_the_unit_of_chance():
    """Copies of a photograph narrow Wilson's interval, and leave this one as it is."""
    rng = np.random.default_rng(0)
    hits, groups = rng.random(40) < 0.7, np.arange(40)
    once = group_bootstrap_interval(hits, groups)
    copied = group_bootstrap_interval(np.repeat(hits, 10), np.repeat(groups, 10))
    assert copied == pytest.approx(once, abs=1e-9)
    wilson = confidence_interval(int(hits.sum()) * 10, 400)
    assert wilson[1] - wilson[0] < 0.5 * (copied[1] - copied[0])
    assert once == pytest.approx(confidence_interval(int(hits.sum()), 40), abs=0.06)


def test_one_group_has_no_interval():
    assert group_bootstrap_interval(np.ones(4), np.zeros(4)) is None
