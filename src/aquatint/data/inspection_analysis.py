"""What an inspection export holds: counts, imbalance, positions, relations, leaks, duplicates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from aquatint.data.split import leaking_groups

_HASH_EDGE = 8
_MAX_NAMED = 20


def analyse(
    photos: pd.DataFrame, instances: pd.DataFrame, exported: pd.DataFrame, image_root: Path
) -> dict[str, Any]:
    """Return the analysis of a data set as plain JSON values.

    Args:
        photos: Photographs with the splits in use.
        instances: Instances with the splits in use.
        exported: Photographs with the splits of the export.
        image_root: Folder that ``path`` is relative to.
    """
    axes = {
        "class": instances["class_name"],
        "condition": instances["condition"],
        "object_type": instances["object_type"],
    }
    hashes = perceptual_hashes([image_root / path for path in photos["path"]])
    return {
        "n": {
            "images": len(photos),
            "images_without_objects": int((photos["n_objects"] == 0).sum()),
            "source_photos": int(photos["source_group"].nunique()),
            "instances": len(instances),
        },
        "by_split": {
            split: {
                "images": int((photos["split"] == split).sum()),
                "instances": int((instances["split"] == split).sum()),
            }
            for split in ("train", "val", "test")
        },
        "counts": {axis: counts_by_split(values, instances) for axis, values in axes.items()},
        "imbalance_ratio": {
            axis: float(values.value_counts().max() / values.value_counts().min())
            for axis, values in axes.items()
        },
        "instances_per_image": _spread(photos["n_objects"]),
        "mean_y": _positions(instances),
        "relations": relation_counts(instances),
        "resolution": _resolutions(photos),
        "split_overlap": {
            "as_exported": leaking_groups(exported, "source_group"),
            "in_use": leaking_groups(photos, "source_group"),
        },
        "identical_files": _identical(photos),
        "near_duplicates": near_duplicates(photos, hashes),
    }


def counts_by_split(values: pd.Series, instances: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Return instances by value, in all and by split."""
    table = pd.crosstab(values, instances["split"])
    return {
        str(name): {"all": int(row.sum()), **{str(k): int(v) for k, v in row.items()}}
        for name, row in table.iterrows()
    }


def _spread(values: pd.Series) -> dict[str, float]:
    return {
        "mean": float(values.mean()),
        "std": float(values.std(ddof=0)),
        "min": int(values.min()),
        "max": int(values.max()),
    }


def _positions(instances: pd.DataFrame) -> dict[str, dict[str, float]]:
    grouped = instances.groupby("class_name")["cy"]
    return {
        str(name): {"mean": float(rows.mean()), "std": float(rows.std(ddof=0)), "n": len(rows)}
        for name, rows in grouped
    }


def relation_counts(instances: pd.DataFrame) -> dict[str, Any]:
    """Count pairs of objects by type, whatever the order of the label lines.

    Returns:
        ``num_pairs``: unordered pairs; ``co_occurrence``: pairs of types, each once, sorted by
        name; ``above``: of the ordered pairs of two types, how often the second lies above.
    """
    rows = [
        (row["object_type"], other["object_type"], other["relation"])
        for row in instances[["object_type", "neighbours"]].to_dict(orient="records")
        for other in row["neighbours"]
    ]
    table = pd.DataFrame(rows, columns=["object_type", "other", "relation"])
    names = table[["object_type", "other"]].apply(lambda row: " + ".join(sorted(row)), axis=1)
    # Each pair stands there from both sides.
    pairs = names.value_counts() // 2 if len(table) else pd.Series(dtype=int)
    above = {
        f"{second} above {first}": {
            "share": float((found == "above").mean()),
            "n": len(found),
        }
        for (first, second), found in table.groupby(["object_type", "other"])["relation"]
        if first != second
    }
    return {
        "num_pairs": len(table) // 2,
        "co_occurrence": {str(name): int(count) for name, count in pairs.sort_index().items()},
        "above": above,
    }


def _resolutions(photos: pd.DataFrame) -> dict[str, int]:
    sizes = photos["width"].astype(str) + " x " + photos["height"].astype(str)
    return {str(name): int(count) for name, count in sizes.value_counts().head(10).items()}


def _identical(photos: pd.DataFrame) -> list[list[str]]:
    repeated = photos[photos.duplicated("sha256", keep=False)]
    groups = repeated.groupby("sha256")["image_id"].apply(list)
    return [list(map(str, names)) for names in groups][:_MAX_NAMED]


def perceptual_hashes(paths: Sequence[Path]) -> np.ndarray:
    """Return a 64-bit difference hash of each image, as bits, shape (N, 64).

    Two pictures whose hashes differ in few bits look alike, whatever their size and brightness.
    """
    bits = []
    for path in paths:
        with Image.open(path) as image:
            small = image.convert("L").resize((_HASH_EDGE + 1, _HASH_EDGE), Image.Resampling.BOX)
        values = np.asarray(small, np.int16)
        bits.append((values[:, 1:] > values[:, :-1]).ravel())
    return np.array(bits, bool).reshape(len(paths), _HASH_EDGE**2)


def near_duplicates(
    photos: pd.DataFrame, hashes: np.ndarray, max_bits: int = 4, chunk: int = 512
) -> dict[str, Any]:
    """Find pictures of different source photographs that look alike.

    Args:
        photos: Photographs.
        hashes: Bits of ``perceptual_hashes`` in their order, shape (N, 64).
        max_bits: Most bits that may differ.
        chunk: Rows compared at once.

    Returns:
        Number of pairs, of pairs in two splits, and the first of them by name.
    """
    signed = hashes.astype(np.int8)
    groups, splits = photos["source_group"].to_numpy(), photos["split"].to_numpy()
    ids = photos["image_id"].to_numpy()
    found: list[tuple[int, int]] = []
    for start in range(0, len(signed), chunk):
        rows = signed[start : start + chunk].astype(np.int16)
        ones = rows.sum(1)[:, None] + signed.sum(1, dtype=np.int16)[None]
        differing = ones - 2 * (rows @ signed.T.astype(np.int16))
        left, right = np.nonzero(differing <= max_bits)
        found += [
            (start + i, j)
            for i, j in zip(left.tolist(), right.tolist(), strict=True)
            if start + i < j and groups[start + i] != groups[j]
        ]
    return {
        "max_bits": max_bits,
        "num_pairs": len(found),
        "num_pairs_across_splits": sum(splits[i] != splits[j] for i, j in found),
        "first": [[str(ids[i]), str(ids[j])] for i, j in found[:_MAX_NAMED]],
    }
