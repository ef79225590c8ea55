"""What can be reached without a look at any image, from the train split alone."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

# Each names the columns that it may know; the first is told nothing at all.
BLIND_BASELINES: dict[str, tuple[str, ...]] = {
    "majority": (),
    "type_only": ("object_type",),
    "type_and_position": ("object_type", "position"),
}


def predict_blindly(
    train: pd.DataFrame, asked: pd.DataFrame, known: Sequence[str], target: str
) -> pd.Series:
    """Answer with the most frequent train value among rows that look alike in ``known``.

    Args:
        train: Rows of the train split.
        asked: Rows to answer for.
        known: Columns that decide; where a combination never occurs in train, the last column is
            left out, and so on.
        target: Column to predict.

    Returns:
        Answers with the index of ``asked``.

    Raises:
        ValueError: If there is nothing to learn from.
    """
    if train.empty:
        raise ValueError("A baseline needs at least one train instance, got 0.")
    answers = pd.Series(_most_frequent(train[target]), index=asked.index, dtype="object")
    for depth in range(1, len(known) + 1):
        columns = list(known[:depth])
        best = train.groupby(columns)[target].agg(_most_frequent)
        keys = pd.MultiIndex.from_frame(asked[columns]) if depth > 1 else asked[columns[0]]
        found = pd.Series(best.reindex(keys).to_numpy(), index=asked.index)
        answers = found.where(found.notna(), answers)
    return answers.astype("str")


def _most_frequent(values: pd.Series) -> str:
    """The most frequent value, of several the first by name."""
    counts = values.value_counts()
    return str(min(counts[counts == counts.max()].index))
