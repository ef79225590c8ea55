"""All that a stage of cross-modal retrieval reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from aquatint.features.boundary import HiddenStates
from aquatint.features.cache import FeatureStore
from aquatint.features.text import TextEncoder
from aquatint.models.backbone import Backbone
from aquatint.training.retrieval_samples import (
    RetrievalCaches,
    RetrievalSources,
    RetrievalTables,
)


@dataclass(frozen=True)
class RetrievalData:
    """All that a stage reads.

    Attributes:
        backbone: Frozen pretrained model.
        tables: Tables of all splits.
        caches: Frozen features and pixels of all splits.
        store: Where further caches may be kept; None for none.
    """

    backbone: Backbone
    tables: RetrievalTables
    caches: RetrievalCaches
    store: FeatureStore | None = None

    def sources(
        self, split: str, max_tokens: int, hidden: Mapping[int, HiddenStates] | None = None
    ) -> tuple[RetrievalTables, RetrievalSources]:
        """Tables of a split and the inputs of its images and texts.

        Args:
            split: ``train``, ``val`` or ``test``.
            max_tokens: Longest text, its end included.
            hidden: Hidden states by the number of blocks above them.
        """
        tables = self.tables.of_split(split)
        encoder = TextEncoder(self.backbone.load_tokenizer(), max_tokens)
        keys = tables.images["sha256"].tolist()
        return tables, RetrievalSources(keys, tables.texts, self.caches, encoder, hidden)


def building_groups(
    tables: RetrievalTables, column: str = "building_id"
) -> tuple[torch.Tensor, torch.Tensor]:
    """Number the groups of images and captions: equal number, positive pair.

    Args:
        tables: Tables of one split.
        column: ``building_id`` for the published protocol, ``image_id`` for the strict one.

    Returns:
        Groups of the images (N,) and of the captions (M,).
    """
    codes = {group: i for i, group in enumerate(dict.fromkeys(tables.images[column]))}
    return (
        torch.tensor([codes[group] for group in tables.images[column]]),
        torch.tensor([codes[group] for group in tables.captions[column]]),
    )
