import numpy as np
import pandas as pd
import pytest
from report_fixture import BUILDINGS, make_ranks, table_of_ranks

from aquatint.reports import differences
from aquatint.reports.differences import paired_intervals


def by_definition(new, old, num_resamples, seed):
    """Means of the recalls' differences over drawn buildings, in loops."""
    names = sorted(set(BUILDINGS.values()))
    draws = np.random.default_rng(seed).multinomial(
        len(names), np.full(len(names), 1 / len(names)), num_resamples
    )
    ranks = [
        {(r.direction, r.query_id): r.rank for r in t[t["level"] == "building"].itertuples()}
        for t in (new, old)
    ]
    values = []
    for draw in draws:
        recalls = []
        for direction in ("text_to_image", "image_to_text"):
            for k in (1, 5, 10):
                gain = count = 0
                for key in ranks[0]:
                    if key[0] == direction:
                        times = draw[names.index(BUILDINGS[key[1]])]
                        gain += times * (int(ranks[0][key] < k) - int(ranks[1][key] < k))
                        count += times
                recalls.append(gain / count)
        values.append([*recalls, sum(recalls) / 6])
    return np.quantile(values, [0.025, 0.975], axis=0).T


def test_matches_the_definition(monkeypatch):
    monkeypatch.setattr(differences, "NUM_RESAMPLES", 40)
    new, old = make_ranks(3.0, seed=1), make_ranks(9.0, seed=2)
    intervals = paired_intervals(new, old, BUILDINGS, seed=5)
    expected = by_definition(new, old, 40, seed=5)
    names = [f"{d}.recall_at_{k}" for d in ("text_to_image", "image_to_text") for k in (1, 5, 10)]
    found = [intervals[name] for name in [*names, "r_mean"]]
    assert np.array(found) == pytest.approx(expected)
    assert len(intervals) == 14


def test_all_against_nothing():
    captions = [name for name in BUILDINGS if "#" in name]
    images = [name for name in BUILDINGS if "#" not in name]

    def ranked(rank):
        return pd.concat(
            [
                table_of_ranks(dict.fromkeys(captions, rank)),
                table_of_ranks(dict.fromkeys(images, rank), "image_to_text"),
            ]
        )

    intervals = paired_intervals(ranked(0), ranked(20), BUILDINGS, seed=0)
    assert set(map(tuple, intervals.values())) == {(1.0, 1.0)}


def test_the_order_of_rows_changes_nothing():
    new, old = make_ranks(3.0, seed=1), make_ranks(9.0, seed=2)
    shuffled = new.sample(frac=1, random_state=0)
    assert paired_intervals(shuffled, old, BUILDINGS, 0) == paired_intervals(new, old, BUILDINGS, 0)


def test_swapping_the_sides_swaps_the_sign():
    new, old = make_ranks(3.0, seed=1), make_ranks(9.0, seed=2)
    forth, back = (paired_intervals(*sides, BUILDINGS, 0) for sides in ((new, old), (old, new)))
    for name, (low, high) in forth.items():
        assert back[name] == pytest.approx([-high, -low])


def test_many_captions_of_one_building_are_no_more_evidence_than_few():
    """Copies of a building's captions must not narrow the interval."""
    names = [name for name in BUILDINGS if "#" in name]
    rng = np.random.default_rng(0)
    hits = {name: int(rng.integers(0, 2)) * 20 for name in names}
    copies = {f"{name}-{copy}": rank for name, rank in hits.items() for copy in range(5)}
    buildings = {name: BUILDINGS[name.rsplit("-", 1)[0]] for name in copies}
    worst = [dict.fromkeys(ranks, 20) for ranks in (hits, copies)]
    few = paired_intervals(table_of_ranks(hits), table_of_ranks(worst[0]), BUILDINGS, 0)
    many = paired_intervals(table_of_ranks(copies), table_of_ranks(worst[1]), buildings, 0)
    assert many["text_to_image.recall_at_1"] == pytest.approx(few["text_to_image.recall_at_1"])


def test_a_query_without_a_positive_is_left_out():
    names = [name for name in BUILDINGS if "#" in name]
    new, old = dict.fromkeys(names, 0), dict.fromkeys(names, 20)
    new[names[0]] = old[names[0]] = -1
    intervals = paired_intervals(table_of_ranks(new), table_of_ranks(old), BUILDINGS, 0)
    assert intervals["text_to_image.recall_at_1"] == [1.0, 1.0]
    # No image was a query, so nothing is known of that direction, nor of the mean.
    assert intervals["image_to_text.recall_at_1"] is None
    assert intervals["r_mean"] is None


def test_one_building_gives_no_interval():
    ranks = table_of_ranks({"0000/image-0.jpeg#c0": 1, "0000/image-1.jpeg#c0": 3})
    assert set(paired_intervals(ranks, ranks, BUILDINGS, 0).values()) == {None}


def test_other_queries_are_refused():
    new, old = make_ranks(3.0), make_ranks(3.0).iloc[1:]
    with pytest.raises(ValueError, match="same queries; of 72 and 71 they share 71"):
        paired_intervals(new, old, BUILDINGS, 0)


def test_a_query_of_no_building_is_refused():
    ranks = make_ranks(3.0)
    with pytest.raises(ValueError, match="72 do not, the first"):
        paired_intervals(ranks, ranks, {}, 0)
