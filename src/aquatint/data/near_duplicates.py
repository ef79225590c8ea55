"""Images of different splits that show nearly the same picture."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

_ROWS, _COLUMNS = 8, 8
MAX_EXAMPLES = 10
# Of 64 bits; the usual choice for dhash, where re-encoded or resized copies differ by 0 to 2.
MAX_DISTANCE = 2


def difference_hash(pixels: np.ndarray) -> np.ndarray:
    """Return the 64-bit difference hash of images: which of two neighbours is brighter.

    A small picture that was re-encoded, resized or slightly changed in brightness keeps nearly
    all its bits; one that shows something else differs in about half of them.

    Args:
        pixels: Images as uint8, shape (N, H, W, 3); H at least 8, W at least 9.

    Returns:
        Hashes as uint64, shape (N,).

    References:
        Krawetz, "Kind of Like That", 2013; here cells are means of equal blocks.
    """
    grey = pixels.astype(np.float32) @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    cells = _block_means(_block_means(grey, 1, _ROWS), 2, _COLUMNS + 1)
    bits = (cells[:, :, 1:] > cells[:, :, :-1]).reshape(len(pixels), -1)
    return np.packbits(bits, axis=1).view(">u8").astype(np.uint64).reshape(-1)


def _block_means(values: np.ndarray, axis: int, num_blocks: int) -> np.ndarray:
    starts = np.linspace(0, values.shape[axis], num_blocks + 1).astype(int)
    sums = np.add.reduceat(values, starts[:-1], axis=axis)
    shape = [-1 if i == axis else 1 for i in range(values.ndim)]
    return sums / np.diff(starts).reshape(shape)


def near_duplicates(
    images: pd.DataFrame, hashes: np.ndarray, max_distance: int = MAX_DISTANCE
) -> dict[str, Any]:
    """Count images that have a near duplicate in another split.

    Plain areas (a picture of grass) hash alike without being copies, so this is a hint for a
    person to look at, not an error.

    Args:
        images: image_id and split of each image.
        hashes: ``difference_hash`` of each, shape (N,).
        max_distance: Most bits that near duplicates differ in.

    Returns:
        JSON-ready: for each pair of splits the number of pairs of images and of the first split's
        images in them, with n, and up to ten pairs of ids.
    """
    found = {}
    splits = sorted(images["split"].unique())
    for i, first in enumerate(splits):
        for second in splits[i + 1 :]:
            rows, columns = (np.flatnonzero(images["split"] == split) for split in (first, second))
            pairs = _pairs_within(hashes[rows], hashes[columns], max_distance)
            ids = images["image_id"].to_numpy()
            found[f"{first}-{second}"] = {
                "num_pairs": len(pairs),
                "num_images": len(np.unique(pairs[:, 0])),
                "n": len(rows),
                "examples": [
                    [str(ids[rows[a]]), str(ids[columns[b]])] for a, b in pairs[:MAX_EXAMPLES]
                ],
            }
    return {"max_distance": max_distance, "splits": found}


def _pairs_within(first: np.ndarray, second: np.ndarray, max_distance: int) -> np.ndarray:
    """Positions (P, 2) of hashes that differ in at most ``max_distance`` bits."""
    parts = [np.empty((0, 2), dtype=np.int64)]
    # In blocks of some MB: all against all would be gigabytes on a real data set.
    size = max(1, 4_000_000 // max(1, len(second)))
    for start in range(0, len(first), size):
        distances = np.bitwise_count(first[start : start + size, None] ^ second[None])
        rows, columns = np.nonzero(distances <= max_distance)
        parts.append(np.stack([rows + start, columns], axis=1))
    return np.concatenate(parts)
