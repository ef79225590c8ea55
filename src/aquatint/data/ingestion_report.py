"""Report on what was read: counts, gaps, duplicates, leaks and signs of wrong annotations."""

from typing import Any

import pandas as pd

from aquatint.data.rejects import (
    BOX_RULES,
    MISSING_IMAGE_RULES,
    RULE_DUPLICATE,
    UNREADABLE_IMAGE_RULES,
)
from aquatint.data.split import leaking_groups

MAX_EXAMPLES = 10
# "left of the car" says where another thing is, "left of the image" where this one is.
NOT_OF_ANOTHER = r"(?! of (?!the (?:image|picture|photo|frame)\b))"
# Word for the low half of the axis, word for its high half, box center, box size.
SIDES = {
    "horizontal": (r"\bleft\b", r"\bright\b", "cx", "w"),
    "vertical": (r"\b(?:upper|top)\b", r"\b(?:lower|bottom)\b", "cy", "h"),
}


def ingestion_report(
    images: pd.DataFrame, captions: pd.DataFrame, regions: pd.DataFrame, rejects: pd.DataFrame
) -> dict[str, Any]:
    """Return what a person should know about the data before training on it.

    Args:
        images: Table that satisfies ``check_images``.
        captions: Table that satisfies ``check_captions``.
        regions: Table that satisfies ``check_regions``.
        rejects: Table that satisfies ``check_rejects``.

    Returns:
        JSON-ready report. ``splits``: images, buildings, captions, regions and boxes of each;
        ``missing``: what is not there, with the n it is out of; ``bad_boxes``: boxes that were
        annotated but rejected; ``duplicates``: repeated captions, and identical files within a
        split; ``leakage``: buildings and identical files in more than one split;
        ``caption_words``: length per split; ``side_contradictions``: sentences that name a side
        of the image although their box lies wholly on the other; ``rejects``: number per field
        and rule.
    """
    return {
        "splits": _split_counts(images, captions, regions),
        "missing": _missing(images, captions, regions, rejects),
        "bad_boxes": {"count": _count_bad_boxes(rejects), "n": len(regions)},
        "duplicates": {
            "captions": int((rejects["rule"] == RULE_DUPLICATE).sum()),
            "files": int(images.duplicated(["split", "sha256"]).sum()),
            "n": len(images),
        },
        "leakage": _leakage(images),
        "caption_words": _caption_words(captions),
        "side_contradictions": {axis: _side_contradictions(regions, axis) for axis in SIDES},
        "rejects": {
            "findings": len(rejects),
            "records": len(rejects[["file", "record"]].drop_duplicates()),
            "per_rule": _counts_per_rule(rejects),
        },
        "n": {"images": len(images), "captions": len(captions), "regions": len(regions)},
    }


def _split_counts(
    images: pd.DataFrame, captions: pd.DataFrame, regions: pd.DataFrame
) -> dict[str, dict[str, int]]:
    counts = {}
    for split, rows in images.groupby("split", sort=True):
        in_split = regions["split"] == split
        counts[str(split)] = {
            "images": len(rows),
            "buildings": int(rows["building_id"].nunique()),
            "captions": int((captions["split"] == split).sum()),
            "regions": int(in_split.sum()),
            "boxes": int((in_split & regions["has_box"]).sum()),
        }
    return counts


def _missing(
    images: pd.DataFrame, captions: pd.DataFrame, regions: pd.DataFrame, rejects: pd.DataFrame
) -> dict[str, dict[str, int]]:
    def rejected_images(rules: tuple[str, ...]) -> int:
        is_counted = rejects["rule"].isin(rules) & (rejects["field"] == "image")
        return int(rejects.loc[is_counted, "image_id"].nunique())

    num_missing = rejected_images(MISSING_IMAGE_RULES)
    num_unreadable = rejected_images(UNREADABLE_IMAGE_RULES)
    num_named = len(images) + num_missing + num_unreadable
    return {
        "image_files": {"count": num_missing, "n": num_named},
        "readable_images": {"count": num_unreadable, "n": num_named},
        "captions_of_images": {
            "count": int((~images["image_id"].isin(captions["image_id"])).sum()),
            "n": len(images),
        },
        "sentences": {"count": int(regions["sentence"].isna().sum()), "n": len(regions)},
        "boxes": {"count": int((~regions["has_box"]).sum()), "n": len(regions)},
    }


def _count_bad_boxes(rejects: pd.DataFrame) -> int:
    bad = rejects[rejects["rule"].isin(BOX_RULES)]
    # The records of one image repeat its boxes.
    return len(bad[["image_id", "field", "value"]].drop_duplicates())


def _leakage(images: pd.DataFrame) -> dict[str, Any]:
    shared = leaking_groups(images, "sha256")
    is_shared = images["sha256"].isin(shared)
    return {
        "buildings": leaking_groups(images, "building_id"),
        "num_files": len(shared),
        "images": images.loc[is_shared, "image_id"].head(MAX_EXAMPLES).tolist(),
        "n": len(images),
    }


def _caption_words(captions: pd.DataFrame) -> dict[str, dict[str, float]]:
    num_words = captions["text"].str.count(r"\S+")
    return {
        str(split): {
            "min": int(lengths.min()),
            "median": float(lengths.median()),
            "mean": float(lengths.mean()),
            "max": int(lengths.max()),
            "n": len(lengths),
        }
        for split, lengths in num_words.groupby(captions["split"], sort=True)
    }


def _side_contradictions(regions: pd.DataFrame, axis: str) -> dict[str, Any]:
    low_word, high_word, center, size = SIDES[axis]
    says_low, says_high = (
        regions["sentence"].str.contains(word + NOT_OF_ANOTHER, case=False, na=False).astype(bool)
        for word in (low_word, high_word)
    )
    is_judged = regions["has_box"] & (says_low ^ says_high)
    is_wholly_high = regions[center] - regions[size] / 2 > 0.5
    is_wholly_low = regions[center] + regions[size] / 2 < 0.5
    contradicts = is_judged & ((says_low & is_wholly_high) | (says_high & is_wholly_low))
    return {
        "count": int(contradicts.sum()),
        "n": int(is_judged.sum()),
        "region_ids": regions.loc[contradicts, "region_id"].head(MAX_EXAMPLES).tolist(),
    }


def _counts_per_rule(rejects: pd.DataFrame) -> dict[str, int]:
    # "bboxes[2]" and "bboxes[0]" are one kind of finding.
    kinds = rejects["field"].str.replace(r"\[.*", "", regex=True) + " " + rejects["rule"]
    return {str(kind): int(count) for kind, count in kinds.value_counts().sort_index().items()}
