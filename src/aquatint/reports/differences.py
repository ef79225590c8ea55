"""Differences of two models on the same queries, with intervals that keep the pairing."""

from __future__ import annotations

import numpy as np
import pandas as pd

from aquatint.reports.headline import DIRECTIONS, R_MEAN, RECALL_KS

NUM_RESAMPLES = 2000
# Where the metrics of a level stand.
_PREFIXES = {"building": "", "image": "image_level."}


def paired_intervals(
    new: pd.DataFrame, old: pd.DataFrame, buildings: dict[str, str], seed: int
) -> dict[str, list[float] | None]:
    """Return 95 % intervals of ``new`` minus ``old`` of the recalls.

    Whole buildings are drawn anew, because the captions and views of one building are found or
    missed together: intervals over single captions would be too narrow. Both models are judged on
    the same draw, because what is hard for one is hard for the other: two separate intervals
    would be too wide for their difference.

    Args:
        new: direction, query_id, rank (counted from 0, -1 without a positive) and level.
        old: The same of the other model.
        buildings: Building by query id.
        seed: Seed of the draws.

    Returns:
        Low and high end by metric name, with ``image_level.`` before those of single images; None
        without queries, and where fewer than two buildings can be drawn from.

    Raises:
        ValueError: If the two do not rank the same queries, or a query's building is unknown.

    References:
        Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13 (percentile
        interval), with buildings as the units drawn.
    """
    intervals: dict[str, list[float] | None] = {}
    for level, prefix in _PREFIXES.items():
        pairs = _pair(new[new["level"] == level], old[old["level"] == level], buildings)
        found = _intervals_of_level(pairs, seed)
        intervals |= {f"{prefix}{name}": ends for name, ends in found.items()}
    return intervals


def _intervals_of_level(pairs: pd.DataFrame, seed: int) -> dict[str, list[float] | None]:
    names = [f"{direction}.recall_at_{k}" for direction in DIRECTIONS for k in RECALL_KS]
    groups, codes = np.unique(pairs["building"].to_numpy(str), return_inverse=True)
    if len(groups) < 2:
        return dict.fromkeys([*names, R_MEAN])
    gains, counts = _sum_by_group(pairs, codes, len(groups))
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(len(groups), np.full(len(groups), 1 / len(groups)), NUM_RESAMPLES)
    drawn = draws @ counts
    with np.errstate(invalid="ignore"):
        # A draw may hold no query of a direction; such a draw says nothing about it.
        changes = np.where(drawn > 0, (draws @ gains) / drawn, np.nan)
    changes = np.column_stack([changes, changes.mean(axis=1)])
    return {
        name: _central_interval(column[np.isfinite(column)])
        for name, column in zip([*names, R_MEAN], changes.T, strict=True)
    }


def _central_interval(values: np.ndarray) -> list[float] | None:
    return [float(end) for end in np.quantile(values, [0.025, 0.975])] if len(values) else None


def _pair(new: pd.DataFrame, old: pd.DataFrame, buildings: dict[str, str]) -> pd.DataFrame:
    keys = ["direction", "query_id"]
    columns = [*keys, "rank"]
    pairs = new[columns].merge(
        old[columns], on=keys, suffixes=("_new", "_old"), validate="one_to_one"
    )
    if not len(pairs) == len(new) == len(old):
        raise ValueError(
            f"Two models are compared on the same queries; of {len(new)} and {len(old)} they "
            f"share {len(pairs)}. Evaluate both again: --tags=eval."
        )
    pairs = pairs[(pairs["rank_new"] >= 0) & (pairs["rank_old"] >= 0)]
    pairs = pairs.assign(building=pairs["query_id"].map(buildings))
    unknown = pairs.loc[pairs["building"].isna(), "query_id"]
    if len(unknown):
        raise ValueError(
            f"Every query belongs to a building; {len(unknown)} do not, the first: "
            f"{unknown.iloc[0]!r}. The tables of images and captions are not those of the ranks."
        )
    return pairs


def _sum_by_group(
    pairs: pd.DataFrame, codes: np.ndarray, num_groups: int
) -> tuple[np.ndarray, np.ndarray]:
    """Gains and numbers of queries, shape (num_groups, 6) each."""
    gains, counts = [], []
    for direction in DIRECTIONS:
        is_counted = (pairs["direction"] == direction).to_numpy()
        rows = codes[is_counted]
        for k in RECALL_KS:
            hits = [
                (pairs[name].to_numpy()[is_counted] < k).astype(float)
                for name in ("rank_new", "rank_old")
            ]
            gains.append(np.bincount(rows, hits[0] - hits[1], minlength=num_groups))
            counts.append(np.bincount(rows, minlength=num_groups))
    return np.column_stack(gains), np.column_stack(counts)
