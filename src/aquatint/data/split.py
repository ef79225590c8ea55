"""Splits by group, so that no building stands on two sides."""

import hashlib

import pandas as pd

MAX_GROUPS_NAMED = 5


def split_by_group(
    images: pd.DataFrame, group_column: str, fraction: float, seed: int
) -> pd.Series:
    """Return ``train`` or ``val`` for each row, the same for all rows of a group.

    Groups are ordered by a hash of seed and name, so that the result depends neither on the order
    of the rows nor on how many rows a group has, and a new group moves at most one old one.

    Args:
        images: Table to split; unchanged.
        group_column: Column whose values must stay together, for instance building_id.
        fraction: Share of the groups that become ``val``, in [0, 1); at least one above 0.
        seed: Seed of the order.

    Returns:
        Series named "split" with the index of ``images``.

    Raises:
        ValueError: If ``fraction`` is out of range, a group is missing, or none would be left to
            train on.
    """
    if not 0 <= fraction < 1:
        raise ValueError(f"fraction must be in [0, 1), got {fraction}.")
    groups = images[group_column]
    if groups.isna().any():
        raise ValueError(
            f"every row needs a {group_column} to be split by; {int(groups.isna().sum())} of "
            f"{len(groups)} have none."
        )
    ordered = sorted(groups.unique(), key=lambda group: _hash_of(seed, group))
    num_val = max(1, round(fraction * len(ordered))) if fraction > 0 else 0
    if num_val and num_val >= len(ordered):
        raise ValueError(
            f"fraction {fraction} of {len(ordered)} {group_column} groups leaves none to train on; "
            "a split needs at least two groups."
        )
    is_val = groups.isin(ordered[:num_val])
    return is_val.map({True: "val", False: "train"}).astype("str").rename("split")


def check_disjoint(images: pd.DataFrame, group_column: str) -> None:
    """Check that no group has rows in two splits.

    Args:
        images: Table with the columns ``split`` and ``group_column``.
        group_column: Column whose values must stay together, for instance building_id.

    Raises:
        ValueError: Naming the groups that stand in more than one split.
    """
    leaking = leaking_groups(images, group_column)
    if leaking:
        named = "; ".join(
            f"{group} in {', '.join(splits)}"
            for group, splits in list(leaking.items())[:MAX_GROUPS_NAMED]
        )
        raise ValueError(
            f"splits must not share a {group_column}, but {len(leaking)} groups do: {named}. "
            "Split by group instead of by row."
        )


def leaking_groups(images: pd.DataFrame, group_column: str) -> dict[str, list[str]]:
    """Return the groups that stand in more than one split, with those splits.

    Args:
        images: Table with the columns ``split`` and ``group_column``.
        group_column: Column of the groups.

    Returns:
        Splits by group, both sorted.
    """
    pairs = images[[group_column, "split"]].drop_duplicates()
    shared = pairs[pairs.duplicated(group_column, keep=False)]
    return {
        str(group): sorted(rows["split"]) for group, rows in shared.groupby(group_column, sort=True)
    }


def _hash_of(seed: int, group: object) -> str:
    return hashlib.sha256(f"{seed}:{group}".encode()).hexdigest()
