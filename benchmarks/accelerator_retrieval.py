"""Both stages of cross-modal retrieval in ``bench_accelerator.py``, with an InternVL."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from accelerator_measuring import Run, Way, time_extraction
from accelerator_models import WORDS, Size, write_backbone
from accelerator_training import (
    LORA,
    STORED,
    Settings,
    Task,
    Variant,
    compile_blocks,
    train_here,
    train_there,
)
from aquatint.features.boundary import HiddenStates, cache_hidden_states
from aquatint.features.boundary_costs import FrozenInputs
from aquatint.features.cache import FeatureCache, FeatureStore, build_cache
from aquatint.features.frozen import Encoding, cache_image_tokens, cache_text_tokens
from aquatint.training.retrieval_data import RetrievalData
from aquatint.training.retrieval_losses import RetrievalLosses
from aquatint.training.retrieval_models import RetrievalSpec, build_model
from aquatint.training.retrieval_samples import (
    CLOSED,
    LIVE,
    Entry,
    RetrievalCaches,
    RetrievalSamples,
)
from bench_processes import make_tables

SIMPLE = {"itc": 1.0, "itm": 1.0}
ENHANCED = {**SIMPLE, "bbox": 0.1, "spatial": 0.1}
NUM_OPEN = 2


class Stage(NamedTuple):
    """What trains.

    Attributes:
        mode: How blocks are opened.
        num_blocks: How many of the last ones of each tower.
        batch: Samples of a step.
    """

    mode: str
    num_blocks: int
    batch: int


class Retrieval:
    """An InternVL, images and captions, and every cache that a stage reads.

    Args:
        size: Model and amounts.
        folder: Where caches go.
        settings: Device, precision, steps.
    """

    def __init__(self, size: Size, folder: Path, settings: Settings) -> None:
        self.size, self.settings, self._folder = size, settings, folder
        self.backbone = write_backbone(
            size, folder / "backbone", settings.device, settings.precision
        )
        rng = np.random.default_rng(0)
        # Cut at the same length, all of them: what is measured is not how they are padded.
        texts = [
            f"{i} {' '.join(rng.choice(WORDS, size.text_tokens))}" for i in range(size.num_images)
        ]
        self._tables = make_tables(texts)
        self._keys, self._texts = self._tables.images["sha256"].tolist(), texts
        shape = (size.num_images, size.image_px, size.image_px, 3)
        images = rng.integers(0, 255, shape, dtype=np.uint8)
        self._pixels = build_cache(
            self._store("pixels"), {"bench": 1}, self._keys, lambda rows: images[list(rows)]
        )
        self._caches, self._hidden = self._fill_caches()

    @property
    def ways(self) -> list[list[Way]]:
        """Groups of ways that take turns."""
        every = self.backbone.sizes.num_text_blocks
        stages = {
            "stage 1": Stage("none", 0, self.size.closed_batch),
            "stage 2, LoRA in all blocks": Stage("lora", every, self.size.batch),
            "stage 2, LoRA in the last two": Stage("lora", NUM_OPEN, self.size.batch),
            "stage 2, all blocks in full": Stage("full", every, self.size.batch),
        }
        groups = [
            [
                Way("features of images", self.extract_images),
                Way("features of texts", self.extract_texts),
            ]
        ]
        for name, stage in stages.items():
            live, there = f"{name}, from pixels", f"{name}, Trainer"
            ways = [
                Way(live, lambda s=stage: self.train(s, LIVE), there),
                Way(there, lambda s=stage: self.train_by_trainer(s)),
            ]
            if stage.mode == "none" or stage.num_blocks == NUM_OPEN:
                entry = CLOSED if stage.mode == "none" else NUM_OPEN
                cached = Way(f"{name}, cached", lambda s=stage, e=entry: self.train(s, e), there)
                ways = [cached, *ways]
            groups.append(ways)
        return groups

    def train_variant(self, variant: Variant) -> Run:
        """Train LoRA in all blocks in another way than the table's."""
        backbone = replace(self.backbone, dtype=variant.precision, attention=variant.attention)
        stage = Stage("lora", self.backbone.sizes.num_text_blocks, self.size.batch)
        settings = self.settings._replace(precision=variant.precision, is_counted=False)
        model, groups = build_model(backbone, self._spec(stage))
        if variant.compile_backend:
            compile_blocks(model.backbone, variant.compile_backend)
        return train_here(model, groups, self._task(stage, LIVE), settings)

    def train(self, stage: Stage, entry: Entry) -> Run:
        """Train a stage by the project's loop, its inputs entering the backbone at ``entry``."""
        model, groups = build_model(self.backbone, self._spec(stage))
        return train_here(model, groups, self._task(stage, entry), self.settings)

    def train_by_trainer(self, stage: Stage) -> Run:
        """Train the same module, LoRA by peft in it, from pixels by Trainer."""
        model, groups = build_model(self.backbone, self._spec(stage))
        for names in groups.values():
            for name in names:
                model.get_parameter(name).requires_grad_(True)
        return train_there(model, self._task(stage, LIVE), self.settings)

    def extract_images(self) -> Run:
        """Encode all images into a new cache."""
        kept = replace(self.backbone, kept=(self.backbone.load(),))

        def encode(store: FeatureStore, keys: Sequence[str]) -> FeatureCache:
            grid = self.size.token_grid
            return cache_image_tokens(store, kept, self._pixels, keys, grid, self._encoding)

        return time_extraction(encode, self._keys, self.size.closed_batch, self.settings.device)

    def extract_texts(self) -> Run:
        """Encode all captions into a new cache."""
        kept = replace(self.backbone, kept=(self.backbone.load(),))

        def encode(store: FeatureStore, texts: Sequence[str]) -> FeatureCache:
            return cache_text_tokens(store, kept, texts, self.size.text_tokens, self._encoding)

        return time_extraction(encode, self._texts, self.size.closed_batch, self.settings.device)

    def _store(self, name: str) -> FeatureStore:
        return FeatureStore(str(self._folder / name), 100)

    @property
    def _encoding(self) -> Encoding:
        return Encoding(self.size.closed_batch, STORED, self.settings.device)

    def _fill_caches(self) -> tuple[RetrievalCaches, HiddenStates]:
        """Features of the closed model, and hidden states below its last open blocks."""
        store, encoding, max_tokens = self._store("features"), self._encoding, self.size.text_tokens
        kept = replace(self.backbone, kept=(self.backbone.load(),))
        caches = RetrievalCaches(
            cache_image_tokens(
                store, kept, self._pixels, self._keys, self.size.token_grid, encoding
            ),
            cache_text_tokens(store, kept, self._texts, max_tokens, encoding),
            self._pixels,
        )
        inputs = FrozenInputs(
            store, kept, self._pixels, self._keys, self._texts, len(self._texts), max_tokens,
            encoding,
        )  # fmt: skip
        return caches, cache_hidden_states(inputs, NUM_OPEN)

    def _task(self, stage: Stage, entry: Entry) -> Task:
        data = RetrievalData(self.backbone, self._tables, self._caches)
        tables, sources = data.sources("train", self.size.text_tokens, {NUM_OPEN: self._hidden})
        samples = RetrievalSamples(
            tables,
            sources,
            captions_per_image=1,
            regions_per_image=0 if stage.mode == "none" else 1,
            entry=lambda: entry,
            seed=0,
        )
        weights = SIMPLE if stage.mode == "none" else ENHANCED
        # Drawn evenly: hard negatives follow a model's last digits, and losses could not be equal.
        return Task(samples, RetrievalLosses(tuple(weights), "random"), weights, stage.batch)

    def _spec(self, stage: Stage) -> RetrievalSpec:
        sizes = self.backbone.sizes
        return RetrievalSpec(
            heads={
                "vision_width": sizes.vision_width,
                "text_width": sizes.text_width,
                "is_enhanced": stage.mode != "none",
                "dropout": 0.0,
            },
            token_grid=self.size.token_grid,
            max_tokens=self.size.text_tokens,
            mode=stage.mode,
            num_blocks=stage.num_blocks,
            lora=LORA,
            backbone_digest=self.backbone.digest,
        )
