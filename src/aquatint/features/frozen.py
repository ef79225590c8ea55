"""Run a frozen backbone once over all images and texts, and keep what it gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from aquatint.features.cache import FeatureCache, FeatureStore, build_cache
from aquatint.features.keys import text_key
from aquatint.features.stored import to_stored
from aquatint.features.text import TextEncoder
from aquatint.models.backbone import Backbone, encode_image_tokens, encode_text_tokens
from aquatint.models.boundary import language_below, vision_below
from aquatint.models.pixels import PixelNormalizer
from aquatint.models.retrieval_model import pool_grid


@dataclass(frozen=True)
class Encoding:
    """How features are computed and stored.

    Attributes:
        batch_size: Samples of one forward pass.
        dtype: Stored type: float16, bfloat16 for values beyond 65504, or float32 for exactness
            at twice the size.
        device: torch device of the forward passes.
        depth: Blocks that are left out at the end, with the last norm and any pooling: the values
            are then hidden states. 0 for finished features.
    """

    batch_size: int
    dtype: str
    device: str
    depth: int = 0


def cache_image_tokens(
    store: FeatureStore,
    backbone: Backbone,
    pixels: FeatureCache,
    keys: Sequence[str],
    token_grid: int,
    encoding: Encoding,
) -> FeatureCache:
    """Encode images that the cache lacks with the frozen vision tower, or with its lower part.

    Args:
        store: Where caches lie.
        backbone: Frozen model.
        pixels: Decoded images by the same keys.
        keys: sha256 of each image.
        token_grid: Patch tokens are averaged down to this grid.
        encoding: Batch size, stored type, device, depth.

    Returns:
        Cache of class token and patch tokens, shape (1 + token_grid ** 2, D) each; hidden states
        stay on the tower's own grid.
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
            images = normalize(stored.to(encoding.device)).to(model.dtype)
            if encoding.depth:
                tokens = vision_below(model.model.vision_tower, images, encoding.depth)
            else:
                tokens = pool_grid(encode_image_tokens(model, images), token_grid)
            parts.append(to_stored(tokens, encoding.dtype))
        return np.concatenate(parts)

    recipe = {
        "kind": "image_tokens",
        "backbone": backbone.digest,
        "compute_dtype": backbone.dtype,
        "pixels": pixels.recipe,
        **({"depth": encoding.depth} if encoding.depth else {"token_grid": token_grid}),
        "dtype": encoding.dtype,
    }
    return build_cache(store, recipe, keys, compute, description=_described("image", encoding))


def cache_text_tokens(
    store: FeatureStore,
    backbone: Backbone,
    texts: Sequence[str],
    max_tokens: int,
    encoding: Encoding,
) -> FeatureCache:
    """Encode texts that the cache lacks with the frozen language model, or with its lower part.

    Args:
        store: Where caches lie.
        backbone: Frozen model.
        texts: Texts, repeated ones too.
        max_tokens: Longest text, its end included.
        encoding: Batch size, stored type, device, depth.

    Returns:
        Cache of hidden states padded on the right, shape (max_tokens, D) each.
    """
    encoder = TextEncoder(backbone.load_tokenizer(), max_tokens)
    model = None

    @torch.inference_mode()
    def compute(positions: Sequence[int]) -> np.ndarray:
        nonlocal model
        model = model or backbone.load(encoding.device)
        ids, mask = encoder([texts[i] for i in positions])
        lengths = mask.sum(dim=1)
        found = torch.zeros(len(positions), max_tokens, backbone.sizes.text_width)
        # By length, so that the texts of a batch need little padding.
        for batch in lengths.argsort(stable=True).split(encoding.batch_size):
            width = int(lengths[batch].max())
            inputs = ids[batch, :width].to(encoding.device)
            if encoding.depth:
                tokens = language_below(
                    model.model.language_model, None, encoding.depth, input_ids=inputs
                )
            else:
                tokens = encode_text_tokens(model, inputs)
            found[batch, :width] = tokens.float().cpu()
        return to_stored(found, encoding.dtype)

    recipe = {
        "kind": "text_tokens",
        "backbone": backbone.digest,
        "compute_dtype": backbone.dtype,
        "max_tokens": max_tokens,
        **({"depth": encoding.depth} if encoding.depth else {}),
        "dtype": encoding.dtype,
    }
    keys = [text_key(text) for text in texts]
    return build_cache(store, recipe, keys, compute, description=_described("text", encoding))


def _described(kind: str, encoding: Encoding) -> str:
    if encoding.depth:
        return f"{kind} hidden states below {encoding.depth} open blocks"
    return f"{kind} features"


def _chunks(positions: Sequence[int], size: int) -> list[Sequence[int]]:
    return [positions[start : start + size] for start in range(0, len(positions), size)]
