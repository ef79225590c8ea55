"""What came in, what was refused and how it was split, as numbers."""

from __future__ import annotations

from typing import Any

import pandas as pd

from aquatint.data.split import leaking_groups, split_by_group


def split_conversations(
    turns: pd.DataFrame, images: pd.DataFrame, shares: dict[str, float], seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Add ``split`` to both tables, the same for all turns and images of a group.

    Args:
        turns: Table of turns.
        images: Table of images.
        shares: Shares of ``val`` and ``test``, each in [0, 1); the rest is ``train``.
        seed: Seed of the order of groups.
    """
    is_test = split_by_group(images, "group", shares["test"], seed) == "val"
    rest = images[~is_test]
    of_rest = shares["val"] / (1 - shares["test"]) if shares["test"] < 1 else 0.0
    split = split_by_group(rest, "group", of_rest, seed + 1).reindex(images.index)
    images = images.assign(split=split.where(~is_test, "test").astype("str"))
    by_group = dict(zip(images["group"], images["split"], strict=True))
    return turns.assign(split=turns["group"].map(by_group).astype("str")), images


def conversation_report(
    turns: pd.DataFrame, images: pd.DataFrame, rejects: pd.DataFrame
) -> dict[str, Any]:
    """Count records, turns and images by split, file and kind, and what was refused by rule."""
    rules = rejects["field"].str.split("[").str[0] + " " + rejects["rule"]
    lengths = turns["answer"].str.split().map(len)
    shares = turns.groupby("question")["answer"].nunique()
    return {
        "num_records": int(turns["record_id"].nunique()),
        "num_turns": len(turns),
        "num_images": len(images),
        "num_groups": int(images["group"].nunique()),
        "turns_by_split": turns["split"].value_counts().to_dict(),
        "images_by_split": images["split"].value_counts().to_dict(),
        "turns_by_kind": turns["kind"].value_counts().to_dict(),
        "records_by_file": turns.groupby("file")["record_id"].nunique().to_dict(),
        "records_with_several_images": int(
            turns[turns["image_keys"].map(len) > 1]["record_id"].nunique()
        ),
        "turns_per_record": float(turns.groupby("record_id").size().mean()),
        "answer_words": {"mean": float(lengths.mean()), "max": int(lengths.max())},
        "questions_with_one_answer": int((shares == 1).sum()),
        "num_questions": len(shares),
        "num_rejects": len(rejects),
        "rejects_by_rule": rules.value_counts().to_dict(),
        "groups_in_two_splits": leaking_groups(images, "group"),
    }
