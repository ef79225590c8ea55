"""Splits by group that keep the shares of the classes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
import pandas as pd


def split_groups_by_class(
    instances: pd.DataFrame,
    groups: pd.Series,
    shares: Mapping[str, float],
    seed: int,
) -> dict[str, str]:
    """Assign whole groups to splits, so that every split has its share of every class.

    Groups with the rarest classes choose first; each goes where its classes are most lacking. Ties
    are broken by a hash of seed and name, so the order of rows does not matter.

    Args:
        instances: Rows with source_group and class_name.
        groups: All groups, also those without instances.
        shares: Share of each split; positive, together 1.
        seed: Seed of the order.

    Returns:
        Split by group.

    Raises:
        ValueError: If the shares do not add up to 1, or there are fewer groups than splits.
    """
    if abs(sum(shares.values()) - 1) > 1e-6 or min(shares.values()) <= 0:
        raise ValueError(f"split shares must be positive and add up to 1, got {dict(shares)}.")
    names = sorted(set(groups))
    if len(names) < len(shares):
        raise ValueError(f"{len(shares)} splits need as many groups, got {len(names)}.")
    counts = pd.crosstab(instances["source_group"], instances["class_name"])
    counts = counts.reindex(names, fill_value=0)
    totals = counts.sum().clip(lower=1)
    rarity = (counts / totals).max(axis=1)
    order = sorted(names, key=lambda name: (-rarity[name], _hash_of(seed, name)))
    splits = list(shares)
    wanted = np.array([[shares[split] * total for total in totals] for split in splits])
    placed = np.zeros_like(wanted)
    num_groups = np.zeros(len(splits))
    chosen: dict[str, str] = {}
    for name in order:
        row = counts.loc[name].to_numpy(float)
        lack = ((wanted - placed) / wanted * row).sum(1) / max(row.sum(), 1)
        # Empty photographs, and groups of common classes, even out the number of groups.
        room = 1 - num_groups / (np.array(list(shares.values())) * len(names))
        best = int(np.argmax(lack + 0.1 * room))
        placed[best] += row
        num_groups[best] += 1
        chosen[name] = splits[best]
    return chosen


def _hash_of(seed: int, name: str) -> str:
    return hashlib.sha256(f"{seed}:{name}".encode()).hexdigest()
