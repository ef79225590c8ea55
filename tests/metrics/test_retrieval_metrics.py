import itertools
import statistics

import numpy as np
import pytest
import torch

from aquatint.metrics.retrieval import (
    RetrievalRanks,
    chance_recall,
    confidence_interval,
    recall_metrics,
    retrieval_metrics,
    retrieval_ranks,
)


def test_recall_by_hand():
    metrics = recall_metrics(torch.tensor([0, 3, -1, 7, 20, 0]))
    assert metrics["recall_at_1"] == 2 / 5
    assert metrics["recall_at_5"] == 3 / 5
    assert metrics["recall_at_10"] == 4 / 5
    assert metrics["recall_at_1_interval"] == confidence_interval(2, 5)
    assert metrics["median_rank"] == 4
    assert metrics["mean_reciprocal_rank"] == pytest.approx((1 + 1 / 4 + 1 / 8 + 1 / 21 + 1) / 5)
    assert metrics["n"] == 5
    assert metrics["num_without_positive"] == 1


def test_recall_matches_the_definition():
    ranks = torch.randint(-1, 60, (500,), generator=torch.Generator().manual_seed(0))
    metrics = recall_metrics(ranks, ks=(2, 30))
    counted = [rank for rank in ranks.tolist() if rank >= 0]
    for k in (2, 30):
        assert metrics[f"recall_at_{k}"] == sum(rank < k for rank in counted) / len(counted)
    assert metrics["median_rank"] == statistics.median(counted) + 1
    assert metrics["n"] == len(counted) < 500


def test_order_of_queries_does_not_matter():
    ranks = torch.tensor([5, 0, -1, 2])
    assert recall_metrics(ranks) == recall_metrics(ranks.flip(0))


@pytest.mark.parametrize("ranks", [[], [-1, -1]], ids=["empty", "no positives"])
def test_no_queries_give_none_not_zero(ranks):
    metrics = recall_metrics(torch.tensor(ranks, dtype=torch.int64))
    assert metrics["n"] == 0
    for key in ("recall_at_1", "recall_at_10_interval", "median_rank", "mean_reciprocal_rank"):
        assert metrics[key] is None


def test_directions_are_named_by_their_query():
    metrics = retrieval_metrics(RetrievalRanks(torch.tensor([9, 9]), torch.tensor([0, 0, 0])))
    assert metrics["text_to_image"]["recall_at_1"] == 1
    assert metrics["text_to_image"]["n"] == 3
    assert metrics["image_to_text"]["recall_at_1"] == 0
    assert metrics["image_to_text"]["recall_at_10"] == 1
    assert metrics["r_mean"] == pytest.approx((3 + 1) / 6)
    assert metrics["n"] == 5


def test_mean_recall_of_a_missing_direction_is_none():
    metrics = retrieval_metrics(RetrievalRanks(torch.tensor([-1]), torch.tensor([0])))
    assert metrics["r_mean"] is None


def test_equal_similarities_give_no_perfect_recall():
    same, ids = torch.ones(50, 4) / 2, torch.arange(50)
    metrics = retrieval_metrics(retrieval_ranks(same, same, ids, ids))
    assert metrics["r_mean"] == 0
    assert metrics["text_to_image"]["median_rank"] == 26


def chance_by_definition(num_candidates, num_positives, k):
    """Share of all draws of k candidates that hold a positive, counted."""
    draws = list(itertools.combinations(range(num_candidates), min(k, num_candidates)))
    return sum(min(draw) < num_positives for draw in draws) / len(draws)


@pytest.mark.parametrize("k", [1, 3, 8, 20])
def test_chance_matches_the_definition(k):
    positives = np.array([1, 2, 5, 8])
    expected = np.mean([chance_by_definition(8, int(p), k) for p in positives])
    assert chance_recall(8, positives, k) == pytest.approx(expected)


def test_chance_by_hand():
    assert chance_recall(200, np.ones(7), 10) == pytest.approx(0.05)
    assert chance_recall(4, np.array([2]), 2) == pytest.approx(1 - 1 / 6)


def test_chance_is_what_a_random_model_reaches():
    generator = torch.Generator().manual_seed(0)
    groups = torch.arange(300) // 3
    embeds = torch.nn.functional.normalize(torch.randn(600, 8, generator=generator), dim=1)
    ranks = retrieval_ranks(embeds[:300], embeds[300:], groups, groups)
    metrics = recall_metrics(ranks.text_to_image)
    low, high = metrics["recall_at_10_interval"]
    assert low < chance_recall(300, np.full(300, 3), 10) < high


def test_chance_leaves_out_queries_without_a_positive():
    assert chance_recall(10, np.array([1, 0, 0]), 1) == pytest.approx(0.1)
    assert chance_recall(10, np.array([0]), 1) is None
    assert chance_recall(0, np.array([]), 1) is None


def test_impossible_positives_are_refused():
    with pytest.raises(ValueError, match="between 0 and num_candidates 5, got 1 to 6"):
        chance_recall(5, np.array([1, 6]), 1)
