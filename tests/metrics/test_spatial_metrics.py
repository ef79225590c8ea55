from collections import Counter

import numpy as np
import pytest

from aquatint.metrics.spatial import JOINT_RELATIONS, spatial_metrics


def random_labels(n: int = 90) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 3, n) for _ in range(4)]


def test_matches_the_definition():
    hp, ht, vp, vt = random_labels()
    metrics = spatial_metrics(hp, ht, vp, vt)
    rows = list(zip(hp.tolist(), ht.tolist(), vp.tolist(), vt.tolist(), strict=True))
    assert metrics["accuracy"] == sum(a == b and c == d for a, b, c, d in rows) / 90
    assert metrics["horizontal"]["accuracy"] == sum(a == b for a, b, _, _ in rows) / 90
    assert metrics["vertical"]["accuracy"] == sum(c == d for _, _, c, d in rows) / 90
    assert metrics["n"] == 90
    counts = Counter((3 * b + d, 3 * a + c) for a, b, c, d in rows)
    for (target, predicted), count in counts.items():
        assert metrics["confusion"][target][predicted] == count
    assert np.sum(metrics["confusion"]) == 90
    most_frequent = max(Counter((b, d) for _, b, _, d in rows).values())
    assert metrics["majority_baseline"] == most_frequent / 90


def test_names_are_in_the_order_of_the_labels():
    metrics = spatial_metrics([2], [2], [0], [0])
    assert JOINT_RELATIONS[metrics["confusion"].index([0] * 6 + [1] + [0] * 2)] == "right-upper"
    assert metrics["horizontal"]["per_class"]["right"]["n"] == 1
    assert metrics["vertical"]["per_class"]["upper"]["n"] == 1


def test_both_axes_must_be_right():
    metrics = spatial_metrics([0, 0], [0, 1], [1, 1], [2, 1])
    assert metrics["accuracy"] == 0
    assert metrics["horizontal"]["accuracy"] == metrics["vertical"]["accuracy"] == 0.5


def test_swapped_axes_change_the_result():
    hp, ht, vp, vt = random_labels()
    straight, swapped = spatial_metrics(hp, ht, vp, vt), spatial_metrics(vp, vt, hp, ht)
    assert straight["accuracy"] == swapped["accuracy"]
    assert straight["confusion"] != swapped["confusion"]
    assert straight["horizontal"]["confusion"] == swapped["vertical"]["confusion"]


def test_a_missing_axis_makes_the_joint_relation_missing():
    metrics = spatial_metrics([-1, 1, 0], [0, 1, 0], [1, -1, 2], [1, 1, 2])
    assert metrics["accuracy"] == 1 / 3
    assert metrics["num_without_prediction"] == 2
    assert metrics["horizontal"]["accuracy"] == metrics["vertical"]["accuracy"] == 2 / 3


def test_no_pairs_give_none_not_zero():
    metrics = spatial_metrics([], [], [], [])
    assert metrics["n"] == 0
    assert metrics["accuracy"] is metrics["horizontal"]["accuracy"] is None


def test_a_label_out_of_range_is_refused():
    # 3 * 0 + 3 would be the valid joint label 3.
    with pytest.raises(ValueError, match="predicted must be between -1 and 2, got 3"):
        spatial_metrics([0], [0], [3], [0])


def test_axes_of_different_length_are_refused():
    with pytest.raises(ValueError, match=r"one length, got shapes \(1,\) and \(2,\)"):
        spatial_metrics([0], [0], [1, 1], [1, 1])
