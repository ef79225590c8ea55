"""Images of conversations as arrays, wherever they lie: in files, or inside Parquet tables."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from aquatint.data.conversation_files import read_embedded
from aquatint.features.cache import FeatureCache, FeatureStore, build_cache


class ConversationImages:
    """Decoded images by their row in the table of images.

    Args:
        images: Table that satisfies ``check_images``.
        image_root: Folder that paths are relative to.
    """

    def __init__(self, images: pd.DataFrame, image_root: str) -> None:
        self._rows = images[["path", "file", "row"]].to_dict(orient="records")
        self._root = Path(image_root)
        self.keys: list[str] = images["image_key"].tolist()

    def load(self, positions: Sequence[int]) -> list[np.ndarray]:
        """Return images as uint8 arrays (H, W, 3)."""
        embedded = self._embedded(positions)
        found = []
        for position in positions:
            row = self._rows[position]
            source = (
                io.BytesIO(embedded[row["file"], row["row"]])
                if row["file"]
                else self._root / row["path"]
            )
            with Image.open(source) as image:
                found.append(np.asarray(image.convert("RGB")))
        return found

    def _embedded(self, positions: Sequence[int]) -> dict[tuple[str, int], bytes]:
        wanted: dict[str, list[int]] = {}
        for position in positions:
            row = self._rows[position]
            if row["file"]:
                wanted.setdefault(row["file"], []).append(row["row"])
        return {
            (file, number): content
            for file, rows in wanted.items()
            for number, content in read_embedded(Path(file), rows).items()
        }


def resize(image: np.ndarray, size_px: int) -> np.ndarray:
    """Return an image as a square of ``size_px``, as the published recipe shows all of them."""
    if image.shape[:2] == (size_px, size_px):
        return image
    square = Image.fromarray(image).resize((size_px, size_px), Image.Resampling.BICUBIC)
    return np.asarray(square)


def cache_pixels(store: FeatureStore, images: ConversationImages, size_px: int) -> FeatureCache:
    """Decode and resize every image once.

    Args:
        store: Where caches lie.
        images: The images.
        size_px: Edge of the squares.

    Returns:
        Cache of uint8 arrays (S, S, 3) by content of the file.
    """

    def compute(positions: Sequence[int]) -> np.ndarray:
        return np.stack([resize(image, size_px) for image in images.load(positions)])

    recipe = {"kind": "square_pixels", "size_px": size_px, "resampling": "bicubic"}
    return build_cache(store, recipe, images.keys, compute, description="pixels")
