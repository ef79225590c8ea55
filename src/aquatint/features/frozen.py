"""Run a frozen backbone once over all images and texts, and keep what it gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from aquatint.features.cache import FeatureCache, FeatureStore, build_cache
from aquatint.features.keys import text_key
from aquatint.features.text import TextEncoder
from aquatint.models.backbone import Backbone, encode_image_tokens, encode_text_tokens
from aquatint.models.pixels import PixelNormalizer
from aquatint.models.retrieval_model import pool_grid


@dataclass(frozen=True)
class Encoding:
    """How features are computed and stored.

    Attributes:
        batch_size: Samples of one forward pass.
        dtype: Stored type: float16, or float32 for exactness at twice the size.
        device: torch device of the forward passes.
    """

    batch_size: int
    dtype: str
    device: str


def cache_image_tokens(
    store: FeatureStore,
    backbone: Backbone,
    pixels: FeatureCache,
    keys: Sequence[str],
    token_grid: int,
    encoding: Encoding,
) -> FeatureCache:
    """Encode images that the cache lacks with the frozen vision tower.

    Args:
        store: Where caches lie.
        backbone: Frozen model.
        pixels: Decoded images by the same keys.
        keys: sha256 of each image.
        token_grid: Patch tokens are averaged down to this grid.
        encoding: Batch size, stored type, device.

    Returns:
        Cache of class token and patch tokens, shape (1 + token_grid ** 2, D) each.
    """
    reader = pixels.open()
    places = reader.places(keys)
    model = None

    @torch.inference_mode()
    def compute(positions: Sequence[int]) -> np.ndarray:
        nonlocal model
        model = model or backbone.load(encoding.device)
        normalize = PixelNormalizer(*backbone.image_statistics).to(encoding.device)
        parts = []
        for batch in _chunks(positions, encoding.batch_size):
            stored = torch.from_numpy(reader.read(places[list(batch)]))
            images = normalize(stored.to(encoding.device))
            tokens = encode_image_tokens(model, images.to(model.dtype))
            parts.append(_stored(pool_grid(tokens, token_grid), encoding.dtype))
        return np.concatenate(parts)

    recipe = {
        "kind": "image_tokens",
        "backbone": backbone.digest,
        "compute_dtype": backbone.dtype,
        "pixels": pixels.recipe,
        "token_grid": token_grid,
        "dtype": encoding.dtype,
    }
    return build_cache(store, recipe, keys, compute, description="image features")


def cache_text_tokens(
    store: FeatureStore,
    backbone: Backbone,
    texts: Sequence[str],
    max_tokens: int,
    encoding: Encoding,
) -> FeatureCache:
    """Encode texts that the cache lacks with the frozen language model.

    Returns:
        Cache of hidden states padded on the right, shape (max_tokens, D) each.
    """
    encoder = TextEncoder(backbone.load_tokenizer(), max_tokens)
    model = None

    @torch.inference_mode()
    def compute(positions: Sequence[int]) -> np.ndarray:
        nonlocal model
        model = model or backbone.load(encoding.device)
        parts = []
        for batch in _chunks(positions, encoding.batch_size):
            ids, mask = encoder([texts[i] for i in batch])
            width = int(mask.sum(dim=1).max())
            tokens = encode_text_tokens(
                model, ids[:, :width].to(encoding.device), mask[:, :width].to(encoding.device)
            )
            padded = torch.zeros(len(batch), max_tokens, tokens.shape[-1])
            padded[:, :width] = tokens.float().cpu()
            parts.append(_stored(padded, encoding.dtype))
        return np.concatenate(parts)

    recipe = {
        "kind": "text_tokens",
        "backbone": backbone.digest,
        "compute_dtype": backbone.dtype,
        "max_tokens": max_tokens,
        "dtype": encoding.dtype,
    }
    keys = [text_key(text) for text in texts]
    return build_cache(store, recipe, keys, compute, description="text features")


def _chunks(positions: Sequence[int], size: int) -> list[Sequence[int]]:
    return [positions[start : start + size] for start in range(0, len(positions), size)]


def _stored(tokens: torch.Tensor, dtype: str) -> np.ndarray:
    values = tokens.float().cpu().numpy().astype(dtype)
    if not np.isfinite(values).all():
        raise ValueError(
            f"Features must be finite, got inf or NaN in {dtype} (the largest value of float16 is "
            "65504). Set features.extraction.dtype to float32."
        )
    return values
