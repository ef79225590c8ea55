"""Samples of cross-modal retrieval: images with captions, located sentences and relations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from aquatint.collective import Share
from aquatint.features.boundary import HiddenStates
from aquatint.features.cache import FeatureCache
from aquatint.features.keys import text_key
from aquatint.features.stored import from_stored
from aquatint.features.text import TextEncoder
from aquatint.remote import local_path

_BOX = ["cx", "cy", "w", "h"]
# Where inputs enter the backbone: k for cached hidden states with k blocks above them, 0 for the
# finished tokens of a closed backbone, None for pixels and token ids.
Entry = int | None
CLOSED, LIVE = 0, None


@dataclass(frozen=True)
class RetrievalTables:
    """The primary tables of one recipe, or of one split of it.

    Attributes:
        images: One row an image.
        captions: One row a caption.
        regions: One row a region; some lack a sentence or a box.
        relations: One row for each ordered pair of boxes of an image.
    """

    images: pd.DataFrame
    captions: pd.DataFrame
    regions: pd.DataFrame
    relations: pd.DataFrame

    def of_split(self, split: str) -> RetrievalTables:
        """Rows of one split, renumbered from 0.

        Raises:
            ValueError: If the split has no image or no caption.
        """
        tables = [
            table[table["split"] == split].reset_index(drop=True)
            for table in (self.images, self.captions, self.regions, self.relations)
        ]
        if tables[0].empty or tables[1].empty:
            raise ValueError(
                f"The split {split!r} has {len(tables[0])} images and {len(tables[1])} captions; "
                "training and evaluation need at least one of each."
            )
        return RetrievalTables(*tables)

    @property
    def located_regions(self) -> pd.DataFrame:
        """Regions with both a sentence and a box."""
        has_both = self.regions["has_box"] & self.regions["sentence"].notna()
        return self.regions[has_both].reset_index(drop=True)

    @property
    def texts(self) -> list[str]:
        """Captions, then the sentences of located regions."""
        return [*self.captions["text"], *self.located_regions["sentence"]]


@dataclass(frozen=True)
class RetrievalCaches:
    """Frozen features and decoded images of all splits.

    Attributes:
        image_features: Image tokens by the image's sha256.
        text_features: Text tokens by the text's sha256.
        pixels: Images as uint8 by the image's sha256.
    """

    image_features: FeatureCache
    text_features: FeatureCache
    pixels: FeatureCache

    @property
    def scratch(self) -> Path:
        """Folder of the feature store, which all hosts of a run share."""
        return local_path(self.image_features.folder).parent


class RetrievalSources:
    """Inputs of images and texts by row: cached tokens, or pixels and token ids.

    Args:
        image_keys: sha256 of each image.
        texts: Each text.
        caches: Where features and pixels lie.
        encoder: Makes token ids.
        hidden: Hidden states by the number of blocks above them.
    """

    def __init__(
        self,
        image_keys: Sequence[str],
        texts: Sequence[str],
        caches: RetrievalCaches,
        encoder: TextEncoder,
        hidden: Mapping[int, HiddenStates] | None = None,
    ) -> None:
        text_keys = [text_key(text) for text in texts]
        finished = HiddenStates(caches.image_features, caches.text_features)
        levels = {CLOSED: finished, **(hidden or {})}
        self._images = {depth: _Rows(level.images, image_keys) for depth, level in levels.items()}
        self._texts = {depth: _Rows(level.texts, text_keys) for depth, level in levels.items()}
        self._pixels = _Rows(caches.pixels, image_keys)
        self.input_ids, self.attention_mask = encoder(texts)
        self.text_lengths = self.attention_mask.sum(dim=1).numpy()

    def cached_images(self, rows: np.ndarray, depth: int = CLOSED) -> Tensor:
        """Frozen image tokens, shape (B, 1 + P, D)."""
        return self._images[depth].floats(rows)

    def cached_texts(self, rows: np.ndarray, num_tokens: int, depth: int = CLOSED) -> Tensor:
        """Frozen text tokens, shape (B, num_tokens, D)."""
        return self._texts[depth].floats(rows, num_tokens)

    def pixels(self, rows: np.ndarray) -> Tensor:
        """Images as uint8, shape (B, S, S, 3)."""
        return torch.from_numpy(self._pixels.read(rows))

    def inputs(self, image_rows: np.ndarray, text_rows: np.ndarray, entry: Entry) -> dict[str, Any]:
        """What a model needs to encode these images and texts.

        Args:
            image_rows: Rows of images, shape (B,).
            text_rows: Rows of texts, shape (M,).
            entry: Where they enter the backbone.
        """
        lengths = self.text_lengths[text_rows]
        width = int(lengths.max(initial=1))
        mask = self.attention_mask[text_rows][:, :width]
        batch: dict[str, Any] = {"attention_mask": mask, "text_lengths": lengths}
        if entry is LIVE:
            batch["pixels"] = self.pixels(image_rows)
            batch["input_ids"] = self.input_ids[text_rows][:, :width]
        else:
            batch["image_tokens"] = self.cached_images(image_rows, entry)
            batch["text_tokens"] = self.cached_texts(text_rows, width, entry)
            batch["depth"] = entry
        return batch


class _Rows:
    """Rows of a cache in the order of ``keys``."""

    def __init__(self, cache: FeatureCache, keys: Sequence[str]) -> None:
        self._reader = cache.open()
        self._dtype = cache.recipe.get("dtype", "uint8")
        self._places = self._reader.places(keys)

    def read(self, rows: np.ndarray) -> np.ndarray:
        return self._reader.read(self._places[rows])

    def floats(self, rows: np.ndarray, length: int | None = None) -> Tensor:
        return from_stored(self.read(rows)[:, :length], self._dtype)


class RetrievalSamples:
    """One sample an image, with its captions, located sentences and box pairs.

    Args:
        tables: Tables of the training split.
        sources: Inputs by row; texts are the captions, then the located regions' sentences.
        captions_per_image: Captions of a sample: 1 draws one of them anew in each epoch.
        regions_per_image: Located sentences of a sample, drawn likewise; 0 for none.
        entry: Where inputs enter the backbone in this step.
        seed: Decides what is drawn.
    """

    def __init__(
        self,
        tables: RetrievalTables,
        sources: RetrievalSources,
        *,
        captions_per_image: int,
        regions_per_image: int,
        entry: Callable[[], Entry],
        seed: int,
    ) -> None:
        self._sources, self._entry, self._seed = sources, entry, seed
        self._limits = captions_per_image, regions_per_image
        images = tables.images
        self._image_ids = images["image_id"].tolist()
        located = tables.located_regions
        self._captions = _rows_by_image(images, tables.captions)
        self._regions = _rows_by_image(images, located)
        self._num_captions = len(tables.captions)
        self._boxes = torch.tensor(located[_BOX].to_numpy(np.float32).reshape(-1, 4))
        self._pairs = _rows_by_image(images, tables.relations)
        self._pair_boxes, self._pair_labels = _pairs(tables)
        self._with_caption = [i for i, rows in enumerate(self._captions) if len(rows)]

    def __len__(self) -> int:
        """Number of images with a caption."""
        return len(self._with_caption)

    def identify(self, positions: Tensor) -> list[str]:
        """Return the ids of the images."""
        return [self._image_ids[self._with_caption[i]] for i in positions.tolist()]

    def batch(self, positions: Tensor, share: Share | None = None) -> dict[str, Any]:
        """Return the inputs of B images and their texts, and the targets of all tasks.

        On several ranks all draw for the whole batch, so that the texts do not depend on how many
        ranks there are, and each takes its ``share``; ``is_counted`` is the share's.

        Keys besides those of ``RetrievalSources.inputs``: ``caption_image`` (C,) and
        ``region_image`` (R,), the position in the batch of each text's image, captions first;
        ``region_boxes`` (R, 4); ``pair_image`` (Q,), ``pair_boxes`` (Q, 2, 4) and
        ``pair_labels`` (Q, 2); ``image_rows`` (B,), equal for equal images.
        """
        rows = np.array([self._with_caption[i] for i in positions.tolist()])
        rng = np.random.default_rng([self._seed, *positions.tolist()])
        captions = [_draw(rng, self._captions[row], self._limits[0]) for row in rows]
        regions = [_draw(rng, self._regions[row], self._limits[1]) for row in rows]
        pairs = [self._pairs[row] for row in rows]
        if share:
            rows = rows[share.rows]
            captions, regions, pairs = (part[share.rows] for part in (captions, regions, pairs))
        region_rows = np.concatenate(regions)
        text_rows = np.concatenate([np.concatenate(captions), self._num_captions + region_rows])
        pair_rows = np.concatenate(pairs)
        return {
            **self._sources.inputs(rows, text_rows, self._entry()),
            "is_counted": share is None or share.is_counted,
            "image_rows": torch.from_numpy(rows),
            "caption_image": _owners(captions),
            "region_image": _owners(regions),
            "region_boxes": self._boxes[region_rows],
            "pair_image": _owners(pairs),
            "pair_boxes": self._pair_boxes[pair_rows],
            "pair_labels": self._pair_labels[pair_rows],
        }


def _rows_by_image(images: pd.DataFrame, table: pd.DataFrame) -> list[np.ndarray]:
    """Rows of ``table`` that belong to each image, in the order of ``images``."""
    groups = table.groupby("image_id", sort=False).indices
    empty = np.empty(0, dtype=np.int64)
    return [np.asarray(groups.get(image_id, empty)) for image_id in images["image_id"]]


def _pairs(tables: RetrievalTables) -> tuple[Tensor, Tensor]:
    """Boxes (Q, 2, 4) and (horizontal, vertical) labels (Q, 2) of all ordered pairs."""
    boxes = tables.regions.set_index("region_id")[_BOX]
    relations = tables.relations
    sides = [boxes.loc[relations[side]].to_numpy(np.float32) for side in ("region_a", "region_b")]
    labels = relations[["horizontal", "vertical"]].to_numpy(np.int64)
    return torch.tensor(np.stack(sides, axis=1)), torch.tensor(labels)


def _draw(rng: np.random.Generator, rows: np.ndarray, limit: int) -> np.ndarray:
    return rows if len(rows) <= limit else np.sort(rng.choice(rows, limit, replace=False))


def _owners(rows: list[np.ndarray]) -> Tensor:
    """Position in the batch of each entry of a ragged list, shape (total,)."""
    lengths = torch.tensor([len(part) for part in rows])
    return torch.repeat_interleave(torch.arange(len(rows)), lengths)
