"""Recall, its chance level and its interval, from the ranks of cross-modal retrieval."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from aquatint.metrics.intervals import confidence_interval
from aquatint.metrics.ranks import (
    NO_POSITIVE,
    RetrievalRanks,
    ranks_after_reranking,
    retrieval_ranks,
    top_candidates,
)

__all__ = [
    "RetrievalRanks",
    "chance_recall",
    "confidence_interval",
    "ranks_after_reranking",
    "recall_metrics",
    "retrieval_metrics",
    "retrieval_ranks",
    "top_candidates",
]

RECALL_KS = (1, 5, 10)


def recall_metrics(ranks: Tensor, ks: Sequence[int] = RECALL_KS) -> dict[str, Any]:
    """Return recalls and mean positions of one direction of retrieval.

    Args:
        ranks: Rank of the best positive of each query, counted from 0, shape (N,); queries with
            -1 have no positive and are left out.
        ks: Numbers of candidates a user would look at.

    Returns:
        ``recall_at_<k>`` in [0, 1] and its 95 % ``recall_at_<k>_interval``; ``median_rank``,
        counted from 1 as papers do; ``mean_reciprocal_rank`` in (0, 1]; ``n`` queries counted and
        ``num_without_positive`` left out. None where n is 0.
    """
    values = ranks.cpu().numpy()
    counted = values[values != NO_POSITIVE]
    n = len(counted)
    metrics: dict[str, Any] = {}
    for k in ks:
        num_found = int((counted < k).sum())
        metrics[f"recall_at_{k}"] = num_found / n if n else None
        metrics[f"recall_at_{k}_interval"] = confidence_interval(num_found, n)
    metrics["median_rank"] = float(np.median(counted)) + 1 if n else None
    metrics["mean_reciprocal_rank"] = float((1 / (counted + 1)).mean()) if n else None
    metrics["n"] = n
    metrics["num_without_positive"] = len(values) - n
    return metrics


def retrieval_metrics(ranks: RetrievalRanks) -> dict[str, Any]:
    """Return the metrics of both directions and their mean recall.

    Args:
        ranks: Ranks of all images and all texts.

    Returns:
        ``text_to_image`` (the query is a text) and ``image_to_text``: what ``recall_metrics``
        gives; ``r_mean``: mean of the six recalls in [0, 1], None if one is missing; ``n``:
        queries counted in both directions.
    """
    text_to_image = recall_metrics(ranks.text_to_image)
    image_to_text = recall_metrics(ranks.image_to_text)
    directions = (text_to_image, image_to_text)
    recalls = [metrics[f"recall_at_{k}"] for metrics in directions for k in RECALL_KS]
    return {
        "text_to_image": text_to_image,
        "image_to_text": image_to_text,
        "r_mean": None if None in recalls else sum(recalls) / len(recalls),
        "n": text_to_image["n"] + image_to_text["n"],
    }


def chance_recall(num_candidates: int, num_positives: np.ndarray, k: int) -> float | None:
    """Return the exact expected recall of a model that ranks at random.

    Args:
        num_candidates: Number of candidates of every query.
        num_positives: Positives among them for each query, shape (N,); queries with 0 are left out.
        k: Number of candidates looked at.

    Returns:
        Mean over the queries of 1 - C(candidates - positives, k) / C(candidates, k), in [0, 1];
        None without a query.

    Raises:
        ValueError: If a query has more positives than there are candidates, or fewer than 0.
    """
    positives = np.asarray(num_positives, dtype=np.float64)
    if ((positives < 0) | (positives > num_candidates)).any():
        raise ValueError(
            f"num_positives must be between 0 and num_candidates {num_candidates}, got "
            f"{positives.min():g} to {positives.max():g}."
        )
    positives = positives[positives > 0]
    if len(positives) == 0:
        return None
    # A product of k factors instead of binomials, which overflow.
    drawn = np.arange(min(k, num_candidates))
    misses = np.maximum(num_candidates - positives[:, None] - drawn, 0) / (num_candidates - drawn)
    return float((1 - misses.prod(axis=1)).mean())
