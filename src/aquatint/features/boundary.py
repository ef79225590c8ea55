"""Hidden states at freezing boundaries: which are worth a cache, and the caches themselves."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from aquatint.collective import gather_json, is_first
from aquatint.features.boundary_costs import BoundaryCosts, FrozenInputs, measure_costs
from aquatint.features.cache import FeatureCache, FeatureStore
from aquatint.features.frozen import cache_image_tokens, cache_text_tokens
from aquatint.remote import local_path
from aquatint.storage import publish_file

logger = logging.getLogger(__name__)

BoundaryPolicy = Literal["auto", "always", "never"]


@dataclass(frozen=True)
class HiddenStates:
    """Cached hidden states of all samples at one boundary.

    Attributes:
        images: Of the vision tower, by the image's sha256.
        texts: Of the language model, by the text's sha256.
    """

    images: FeatureCache
    texts: FeatureCache


@dataclass(frozen=True)
class BoundaryChoice:
    """Whether the hidden states at one boundary are kept, and why.

    Attributes:
        depth: Blocks above the boundary.
        is_cached: Whether they are kept.
        reason: For people, with the figures that decided.
    """

    depth: int
    is_cached: bool
    reason: str


def choose_boundaries(
    inputs: FrozenInputs, num_epochs_at: Mapping[int, int], policy: BoundaryPolicy
) -> list[BoundaryChoice]:
    """Decide for every boundary of a schedule, once for a data root.

    Measured times differ from run to run and a stored value is a rounded one, so the decision is
    written down beside the caches: another run, or a resumed one, takes the same way.

    Args:
        inputs: What would be computed.
        num_epochs_at: Epochs of the schedule by number of open blocks; closed epochs left out.
        policy: ``always`` and ``never`` measure nothing.

    Returns:
        One choice for each depth, the deepest first.
    """
    if not num_epochs_at:
        return []
    # The first rank measures, and all take its way.
    found = _look_up_or_decide(inputs, num_epochs_at, policy) if is_first() else None
    choices = [BoundaryChoice(**entry) for entry in gather_json(found)[0]]
    for choice in choices:
        verb = "are cached" if choice.is_cached else "are recomputed"
        logger.info("Hidden states below %d open blocks %s: %s.", choice.depth, verb, choice.reason)
    return choices


def _look_up_or_decide(
    inputs: FrozenInputs, num_epochs_at: Mapping[int, int], policy: BoundaryPolicy
) -> list[dict[str, Any]]:
    """Return choices as plain values, from the record beside the caches if there is one."""
    root = local_path(inputs.store.root)
    record = root / f"boundary-{_key(inputs, num_epochs_at, policy)}.json"
    if not record.is_file():
        choices = [asdict(choice) for choice in _decide(inputs, num_epochs_at, policy)]
        publish_file(record, json.dumps(choices).encode())
    return json.loads(record.read_text())


def cache_hidden_states(inputs: FrozenInputs, depth: int) -> HiddenStates:
    """Compute what the caches of one boundary lack.

    Raises:
        ValueError: If a cache would exceed ``max_gigabytes`` or the free space.
    """
    store, backbone = inputs.store, inputs.backbone
    encoding = replace(inputs.encoding, depth=depth)
    grid = backbone.sizes.grid
    return HiddenStates(
        cache_image_tokens(store, backbone, inputs.pixels, inputs.image_keys, grid, encoding),
        cache_text_tokens(store, backbone, inputs.texts, inputs.max_tokens, encoding),
    )


def _key(inputs: FrozenInputs, num_epochs_at: Mapping[int, int], policy: str) -> str:
    """All that a decision rests on but the speed of the machine."""
    content = {
        "backbone": [inputs.backbone.digest, inputs.backbone.dtype],
        "encoding": asdict(inputs.encoding),
        "epochs": sorted(num_epochs_at.items()),
        "counts": [len(inputs.image_keys), len(inputs.texts), inputs.texts_per_epoch],
        "max_gigabytes": inputs.store.max_gigabytes,
        "max_tokens": inputs.max_tokens,
        "policy": policy,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:20]


def _decide(
    inputs: FrozenInputs, num_epochs_at: Mapping[int, int], policy: BoundaryPolicy
) -> list[BoundaryChoice]:
    """Deepest first: its cache serves the epochs with fewer open blocks as well."""
    choices: list[BoundaryChoice] = []
    served_seconds = 0.0
    for depth in sorted(num_epochs_at, reverse=True):
        uses = sum(count for open_blocks, count in num_epochs_at.items() if open_blocks <= depth)
        choice = _rule_out(inputs, depth, uses, policy)
        if choice is None:
            costs = measure_costs(inputs, depth)
            choice = decide_by_costs(depth, uses, costs, served_seconds, inputs.store)
            if choice.is_cached:
                served_seconds = costs.compute_seconds
        choices.append(choice)
    return choices


def _rule_out(
    inputs: FrozenInputs, depth: int, uses: int, policy: BoundaryPolicy
) -> BoundaryChoice | None:
    """Decide without measuring, where that can be done."""
    sizes = inputs.backbone.sizes
    if policy == "never":
        return BoundaryChoice(depth, False, "boundary_cache is never")
    if depth >= max(sizes.num_vision_blocks, sizes.num_text_blocks):
        return BoundaryChoice(depth, False, "only embeddings lie below")
    if policy == "always":
        return BoundaryChoice(depth, True, "boundary_cache is always")
    if uses < 2:
        reason = "they serve one epoch, and to fill a cache costs as much as to compute them"
        return BoundaryChoice(depth, False, reason)
    return None


def decide_by_costs(
    depth: int, uses: int, costs: BoundaryCosts, served_seconds: float, store: FeatureStore
) -> BoundaryChoice:
    """Keep hidden states if they fit and if that saves time over the whole schedule.

    Args:
        depth: Blocks above the boundary.
        uses: Epochs that the cache would serve.
        costs: As measured.
        served_seconds: What a deeper cache saves in each of these epochs already.
        store: Limit of the size, and the disk.
    """
    figures = (
        f"{uses} epochs, each {costs.compute_seconds:.2f} s to compute against "
        f"{costs.read_seconds:.2f} s to read, {costs.build_seconds:.2f} s to fill the cache once, "
        f"{costs.gigabytes:.3f} GB"
    )
    root = local_path(store.root)
    root.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(root).free / 1e9
    limit = min(store.max_gigabytes, free)
    if costs.gigabytes > limit:
        name = "max_gigabytes" if limit == store.max_gigabytes else "the free space"
        return BoundaryChoice(depth, False, f"{figures}; more than {name}, {limit:.3g} GB")
    saved = uses * (costs.compute_seconds - served_seconds - costs.read_seconds)
    return BoundaryChoice(depth, saved > costs.build_seconds, figures)
