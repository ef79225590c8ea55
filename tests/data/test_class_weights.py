"""Published counts give published weights."""

import numpy as np
import pandas as pd
import pytest

from aquatint.data.class_weights import (
    balanced_rows,
    capped,
    effective_number_weights,
    inverse_frequency_weights,
    loss_shares,
    oversampled_rows,
    repeats,
)
from aquatint.training.balance import Balance, weigh
from inspection_fixture import CLASS_MAP, NAMES

ALL = dict(zip(NAMES, (52, 78, 76, 153, 366, 257, 97, 148, 238), strict=True))
TRAIN = dict(zip(NAMES, (44, 57, 58, 119, 282, 202, 75, 118, 174), strict=True))
CONDITIONS = {"normal": 1.0, "damaged": 700 / 590, "blocked": 700 / 175}


def rounded(weights):
    return [round(value, 2) for value in weights.values()]


def test_inverse_frequency_gives_the_published_weights():
    published = [7.04, 4.69, 4.82, 2.39, 1.00, 1.42, 3.77, 2.47, 1.54]
    assert rounded(inverse_frequency_weights(ALL)) == published
    train_only = [6.41, 4.95, 4.86, 2.37, 1.00, 1.40, 3.76, 2.39, 1.62]
    assert rounded(inverse_frequency_weights(TRAIN)) == train_only


def test_effective_numbers_have_a_mean_of_one():
    weights = effective_number_weights(TRAIN, 0.999)
    assert sum(weights.values()) / 9 == pytest.approx(1)
    expected = [1.96, 1.52, 1.50, 0.75, 0.34, 0.46, 1.17, 0.76, 0.53]
    assert rounded(weights) == expected
    flat = effective_number_weights(ALL, 0.0)
    assert rounded(flat) == [1.0] * 9


def product():
    weights = inverse_frequency_weights(ALL)
    return {n: w * CONDITIONS[CLASS_MAP[n]["condition"]] for n, w in weights.items()}


def test_the_published_product_repeats_to_3881_samples():
    assert rounded(product()) == [7.04, 18.77, 5.71, 2.39, 1.19, 1.42, 15.09, 2.93, 1.54]
    times = repeats(product())
    assert list(times.values()) == [7, 18, 5, 2, 1, 1, 15, 2, 1]
    assert sum(times[name] * count for name, count in TRAIN.items()) == 3881
    names = [name for name, count in TRAIN.items() for _ in range(count)]
    assert len(oversampled_rows(names, times)) == 3881


def test_weights_times_repeats_give_most_of_the_loss_to_two_classes():
    times, weights = repeats(product()), product()
    names = [name for name, count in TRAIN.items() for _ in range(count * times[name])]
    shares = loss_shares(names, [weights[name] for name in names])
    assert shares["Toe drain- Blocked"] + shares["slope drain blocked"] == pytest.approx(
        0.858, abs=0.005
    )


def test_a_cap_limits_and_an_absent_class_is_refused():
    assert max(capped(product(), 10).values()) == 10
    assert capped(product(), None) == product()
    with pytest.raises(ValueError, match=r"none of \['a'\]"):
        inverse_frequency_weights({"a": 0, "b": 3})


def test_a_balanced_draw_shows_all_classes_alike_and_is_a_function_of_the_seed():
    names = ["a"] * 900 + ["b"] * 100
    drawn = balanced_rows(names, seed=1)
    assert len(drawn) == 1000
    assert np.mean(drawn >= 900) == pytest.approx(0.5, abs=0.05)
    assert (drawn == balanced_rows(names, seed=1)).all()
    assert (drawn != balanced_rows(names, seed=2)).any()


def balance(**changes):
    base = {"class_weighting": False, "condition_weighting": False, "oversampling": False,
            "class_rule": "inverse_frequency", "effective_number_beta": 0.999,
            "condition_weights": None, "max_weight": 10.0, "sampler": "shuffled"}  # fmt: skip
    return Balance(**{**base, **changes})


def test_each_weighting_enhancement_is_a_toggle():
    rows = pd.DataFrame(
        [{"class_name": name, **CLASS_MAP[name]} for name, n in TRAIN.items() for _ in range(n)]
    )
    none = weigh(rows, balance(), CLASS_MAP, 0)
    assert set(none.weights) == {1.0}
    assert len(none.shown) == 1129
    assert none.loss_shares == pytest.approx(none.raw_shares)
    by_class = weigh(rows, balance(class_weighting=True), CLASS_MAP, 0)
    assert by_class.weights[0] == pytest.approx(282 / 44)
    assert max(by_class.loss_shares.values()) == pytest.approx(1 / 9)
    by_condition = weigh(rows, balance(condition_weighting=True), CLASS_MAP, 0)
    assert len(set(by_condition.weights)) == 3
    repeated = weigh(rows, balance(oversampling=True), CLASS_MAP, 0)
    assert len(repeated.shown) > 1129
    assert set(repeated.weights) == {1.0}
    every = weigh(
        rows,
        balance(class_weighting=True, condition_weighting=True, oversampling=True),
        CLASS_MAP,
        0,
    )
    assert every.weights.max() == 10
    assert every.class_weights == by_class.class_weights
    assert every.condition_weights == by_condition.condition_weights
    assert set(by_condition.class_weights.values()) == {1.0}
    assert set(by_class.condition_weights.values()) == {1.0}
    blocked = "slope drain blocked"
    expected = every.class_weights[blocked] * every.condition_weights["blocked"]
    assert every.loss_weights[blocked] == pytest.approx(min(expected, 10))
    assert max(every.repeats.values()) == 10
