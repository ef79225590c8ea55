"""What hidden states below a freezing boundary cost: to compute, to read, to keep."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from aquatint.features.cache import FeatureCache, FeatureStore
from aquatint.features.frozen import Encoding
from aquatint.features.stored import from_stored, to_stored
from aquatint.features.text import TextEncoder
from aquatint.models.backbone import Backbone
from aquatint.models.boundary import language_below, vision_below
from aquatint.models.pixels import PixelNormalizer
from aquatint.remote import local_path

_REPEATS = 3


@dataclass(frozen=True)
class FrozenInputs:
    """Everything that hidden states below a boundary are computed from.

    Attributes:
        store: Where caches lie, and how large one may grow.
        backbone: Frozen model, in the floating-point type that it trains in.
        pixels: Decoded images by sha256.
        image_keys: sha256 of each image that a training sees, validation included.
        texts: Each text that it sees.
        texts_per_epoch: How many texts an epoch encodes; some draw one caption of several.
        max_tokens: Longest text, its end included.
        encoding: Batch size, stored type, device.
    """

    store: FeatureStore
    backbone: Backbone
    pixels: FeatureCache
    image_keys: Sequence[str]
    texts: Sequence[str]
    texts_per_epoch: int
    max_tokens: int
    encoding: Encoding


@dataclass(frozen=True)
class BoundaryCosts:
    """What was measured at one boundary.

    Attributes:
        compute_seconds: To compute the hidden states of one epoch.
        read_seconds: To read them from a cache.
        build_seconds: To compute those of all samples once.
        gigabytes: Of the finished cache.
    """

    compute_seconds: float
    read_seconds: float
    build_seconds: float
    gigabytes: float


class _PerSample(NamedTuple):
    """Seconds to compute and to read one sample's hidden states, and their stored bytes."""

    compute: float
    read: float
    nbytes: float


def measure_costs(inputs: FrozenInputs, depth: int) -> BoundaryCosts:
    """Measure one batch of images and one of texts, a few times; the medians count.

    Args:
        inputs: What would be computed.
        depth: Blocks above the boundary.
    """
    with torch.inference_mode():
        image, text = _measure_images(inputs, depth), _measure_texts(inputs, depth)
    num_images, num_texts = len(set(inputs.image_keys)), len(set(inputs.texts))
    return BoundaryCosts(
        compute_seconds=num_images * image.compute + inputs.texts_per_epoch * text.compute,
        read_seconds=num_images * image.read + inputs.texts_per_epoch * text.read,
        build_seconds=num_images * image.compute + num_texts * text.compute,
        gigabytes=(num_images * image.nbytes + num_texts * text.nbytes) / 1e9,
    )


def _measure_images(inputs: FrozenInputs, depth: int) -> _PerSample:
    device = inputs.encoding.device
    tower = inputs.backbone.load(device).model.vision_tower
    reader = inputs.pixels.open()
    stored = reader.read(reader.places(inputs.image_keys[: inputs.encoding.batch_size]))
    normalize = PixelNormalizer(*inputs.backbone.image_statistics).to(device)
    images = normalize(torch.from_numpy(stored).to(device)).to(tower.dtype)
    return _measure(lambda: vision_below(tower, images, depth), inputs)


def _measure_texts(inputs: FrozenInputs, depth: int) -> _PerSample:
    device = inputs.encoding.device
    model = inputs.backbone.load(device).model.language_model
    encoder = TextEncoder(inputs.backbone.load_tokenizer(), inputs.max_tokens)
    ids, mask = encoder(list(inputs.texts[: inputs.encoding.batch_size]))
    width = int(mask.sum(dim=1).max())
    ids = ids[:, :width].to(device)
    return _measure(
        lambda: language_below(model, None, depth, input_ids=ids),
        inputs,
        padding=inputs.max_tokens - width,
    )


def _measure(run: Callable[[], Tensor], inputs: FrozenInputs, padding: int = 0) -> _PerSample:
    """Measure a computation of hidden states (B, T, D), stored with ``padding`` tokens more."""
    hidden = run()
    stored = to_stored(F.pad(hidden, (0, 0, 0, padding)), inputs.encoding.dtype)
    # The sum makes an asynchronous device finish.
    compute = _median_seconds(lambda: run().sum().item())
    read = _read_seconds(stored, inputs)
    return _PerSample(compute / len(stored), read / len(stored), stored.nbytes / len(stored))


def _read_seconds(stored: np.ndarray, inputs: FrozenInputs) -> float:
    """Time to read these rows in random order from a file on the store's disk."""
    path = local_path(inputs.store.root) / f".tmp-probe-{time.time_ns()}.npy"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        np.save(path, stored)
        mapped = np.load(path, mmap_mode="r")
        order = np.random.default_rng(0).permutation(len(stored))
        return _median_seconds(
            lambda: from_stored(mapped[order], inputs.encoding.dtype).to(inputs.encoding.device)
        )
    finally:
        path.unlink(missing_ok=True)


def _median_seconds(action: Callable[[], object]) -> float:
    action()  # the first call pays for what later ones find ready
    seconds = []
    for _ in range(_REPEATS):
        started = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)
