"""Where the inputs of each epoch enter the backbone: below it, at a boundary, or above it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from aquatint.features.boundary import (
    BoundaryPolicy,
    HiddenStates,
    cache_hidden_states,
    choose_boundaries,
)
from aquatint.features.boundary_costs import FrozenInputs
from aquatint.training.retrieval_samples import CLOSED, LIVE, Entry


@dataclass(frozen=True)
class BoundaryPlan:
    """How hidden states below open blocks are kept.

    Attributes:
        policy: Whether to keep them: by measurement, always or never.
        batch_size: Samples of one forward pass that fills a cache.
        dtype: Stored type.
    """

    policy: BoundaryPolicy = "never"
    batch_size: int = 32
    dtype: str = "float16"


@dataclass
class BackboneFeed:
    """Entry of the backbone's inputs in the epoch that runs.

    Attributes:
        depths: Blocks that are open, or were open before, in epochs 0, 1, ...; the last holds.
        hidden: Cached hidden states by the number of blocks above them.
        entry: Entry of the current epoch.
    """

    depths: Sequence[int]
    hidden: Mapping[int, HiddenStates] = field(default_factory=dict)
    entry: Entry = CLOSED

    def begin_epoch(self, epoch: int) -> None:
        """Move the entry to where an epoch, counted from 0, needs it."""
        self.entry = entry_at(self.depths[min(epoch, len(self.depths) - 1)], self.hidden)


def entry_at(depth: int, cached: Collection[int]) -> Entry:
    """Return the highest entry at or below the deepest block that ever trained.

    Args:
        depth: Blocks that train or have trained; 0 for a backbone that is as it was.
        cached: Depths whose hidden states are cached.
    """
    if depth == 0:
        return CLOSED
    return min((kept for kept in cached if kept >= depth), default=LIVE)


def open_depths(opening: Sequence[Sequence[str]]) -> list[int]:
    """Return for each epoch how many of the last blocks train or have trained before.

    A block that closes again is no longer the pretrained one, and what was cached above it does
    not hold any more; so the depth never falls.

    Args:
        opening: Groups that train in epochs 0, 1, ...: ``block_1`` is the last block.
    """
    depths: list[int] = []
    for groups in opening:
        found = [int(match[1]) for name in groups if (match := re.fullmatch(r"block_(\d+)", name))]
        depths.append(max([*found, *depths[-1:]], default=0))
    return depths


def build_feed(
    opening: Sequence[Sequence[str]], epochs: int, inputs: FrozenInputs | None, plan: BoundaryPlan
) -> BackboneFeed:
    """Decide which boundaries of a schedule get a cache, and fill these caches.

    Args:
        opening: Groups that train in epochs 0, 1, ...; the last entry holds.
        epochs: Epochs of the training.
        inputs: What hidden states are computed from; None where there is no place to keep them.
        plan: Whether and how they are kept.
    """
    depths = open_depths(opening)
    if inputs is None:
        return BackboneFeed(depths)
    scheduled = [depths[min(epoch, len(depths) - 1)] for epoch in range(epochs)]
    num_epochs_at = Counter(depth for depth in scheduled if depth)
    choices = choose_boundaries(inputs, num_epochs_at, plan.policy)
    kept = [choice.depth for choice in choices if choice.is_cached]
    return BackboneFeed(depths, {depth: cache_hidden_states(inputs, depth) for depth in kept})
