"""Decode images once: to uint8 at the backbone's size, kept by content."""

from __future__ import annotations

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import simplejpeg
import torch
import torch.nn.functional as F
from PIL import Image

from aquatint.data.near_duplicates import difference_hash
from aquatint.features.cache import STORED_AXES, FeatureCache, FeatureStore, build_cache
from aquatint.processes import count_cores

_HASHED_AT_ONCE = 256
_FORMATS = ("JPEG", "PNG", "WEBP")
_CHANNELS_FIRST = (2, 0, 1)
# Of JPEG: others (CMYK) are converted by rules of their own.
_PLAIN_MODES = ("RGB", "L")


def cache_pixels(
    store: FeatureStore, paths: Sequence[Path], keys: Sequence[str], image_size_px: int
) -> FeatureCache:
    """Decode and resize images that the cache lacks.

    Args:
        store: Where caches lie.
        paths: Image files that ingestion has verified.
        keys: sha256 of each file's content.
        image_size_px: Edge of the stored square images; no crop and no flip, because boxes and
            the words left and right would no longer hold.

    Returns:
        Cache of uint8 images, shape (S, S, 3) each.
    """

    def decode(positions: Sequence[int]) -> np.ndarray:
        images = np.empty((len(positions), 3, image_size_px, image_size_px), dtype=np.uint8)

        def fill(row: int) -> None:
            image = load_image(paths[positions[row]], image_size_px)
            images[row] = image.transpose(_CHANNELS_FIRST)

        # Decoders and torch release the lock. More threads than cores only take each other's
        # memory out of the caches.
        with ThreadPoolExecutor(count_cores()) as pool:
            list(pool.map(fill, range(len(positions))))
        return images

    recipe = {
        "kind": "pixels",
        "size_px": image_size_px,
        "resize": "bicubic-antialias-uint8",
        # As torch resizes and a tower takes them: half the time to normalise, none to reorder.
        STORED_AXES: _CHANNELS_FIRST,
    }
    return build_cache(store, recipe, keys, decode, description="pixels")


def load_image(path: Path, image_size_px: int) -> np.ndarray:
    """Decode one image and resize it to a square.

    Returns:
        RGB as uint8, shape (S, S, 3); within two levels of PIL's bicubic.
    """
    return resize_pixels(decode_image(path.read_bytes(), path), image_size_px)


def decode_image(content: bytes, path: Path) -> np.ndarray:
    """Decode a JPEG, PNG or WebP.

    Args:
        content: The file.
        path: Named in errors.

    Returns:
        RGB as uint8, to the bit what PIL gives, shape (H, W, 3). Of a JPEG (H, W, 4), the last of
        no meaning: torch resizes four channels in half the time that it takes for three.

    Raises:
        OSError: If the file is none of these, or was cut off.
    """
    with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
        if image.format != "JPEG" or image.mode not in _PLAIN_MODES:
            return np.array(image.convert("RGB"))
    try:
        # The same library that PIL has inside, without its copies: half the time at 1,024 px.
        return simplejpeg.decode_jpeg(content, "RGBX")
    except ValueError as error:
        raise OSError(f"{path} is no whole JPEG: {error}.") from error


def resize_pixels(pixels: np.ndarray, image_size_px: int) -> np.ndarray:
    """Resize an image of uint8, shape (H, W, 3 or 4), to the first three channels of a square."""
    if pixels.shape[:2] == (image_size_px, image_size_px):
        return pixels[..., :3]
    # A batch before axes move: torch then sees channels last, and copies none of them in or out.
    tensor = torch.from_numpy(np.ascontiguousarray(pixels))[None].permute(0, 3, 1, 2)
    resized = F.interpolate(
        tensor,
        size=(image_size_px, image_size_px),
        mode="bicubic",
        antialias=True,
    )
    return resized[0, :3].permute(1, 2, 0).numpy()


def hash_pixels(cache: FeatureCache, keys: Sequence[str]) -> np.ndarray:
    """Return the difference hash of every cached image, uint64 of shape (N,)."""
    reader = cache.open()
    places = reader.places(keys)
    parts = [
        difference_hash(reader.read(places[start : start + _HASHED_AT_ONCE]))
        for start in range(0, len(keys), _HASHED_AT_ONCE)
    ]
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.uint64)
