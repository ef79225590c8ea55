"""The answering stage in ``bench_accelerator.py``, with a Qwen2-VL."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from accelerator_measuring import Run, Way, time_extraction
from accelerator_models import RandomBackbone, Size, write_backbone
from accelerator_training import (
    LORA,
    SEED,
    STORED,
    Settings,
    Task,
    Variant,
    compile_blocks,
    train_here,
    train_there,
)
from aquatint.features.cache import FeatureCache, FeatureStore, build_cache
from aquatint.features.frozen import Encoding
from aquatint.features.views import ViewEncoder
from aquatint.models.answering import IGNORE_INDEX, LORA_TARGETS, AnsweringModel
from aquatint.models.pixels import PixelNormalizer
from aquatint.models.qwen_vl import patchify
from aquatint.training.answering_losses import AnswerLosses
from aquatint.training.answering_stage import build_answering

ANSWER_TOKENS = 8


class Dialogues:
    """Questions about one image each, answers of one length, so that all means are one.

    Args:
        backbone: Whose tokens they are made of.
        size: Model and amounts.
    """

    def __init__(self, backbone: RandomBackbone, size: Size) -> None:
        config, rng = backbone.load_config(), np.random.default_rng(0)
        vision = config.vision_config
        self.grid = size.image_px // vision.patch_size
        shape = (size.num_images, size.image_px, size.image_px, 3)
        self.images = rng.integers(0, 255, shape, dtype=np.uint8)
        num_image_tokens = (self.grid // vision.spatial_merge_size) ** 2
        # Above the special tokens, below the end of any vocabulary.
        words = rng.integers(16, 300, (size.num_images, size.text_tokens))
        prompts = np.full((size.num_images, num_image_tokens + 2), config.image_token_id)
        prompts[:, 0], prompts[:, -1] = config.vision_start_token_id, config.vision_end_token_id
        self.ids = torch.from_numpy(np.concatenate([prompts, words], axis=1))
        self.labels = self.ids.clone()
        self.labels[:, :-ANSWER_TOKENS] = IGNORE_INDEX

    def __len__(self) -> int:
        """Number of dialogues."""
        return len(self.ids)

    def batch(self, positions: Tensor) -> dict[str, Any]:
        """Return ids, labels and grids."""
        ids = self.ids[positions]
        return {
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
            "labels": self.labels[positions],
            "grids": torch.tensor([[1, self.grid, self.grid]] * len(ids)),
            "weights": torch.ones(len(ids)),
            "is_counted": True,
        }

    def identify(self, positions: Tensor) -> list[str]:
        """Return numbers."""
        return [str(i) for i in positions.tolist()]


class CachedDialogues(Dialogues):
    """With features of their images from a cache.

    Args:
        backbone: Whose tokens they are made of.
        size: Model and amounts.
        cache: Features by number.
    """

    def __init__(self, backbone: RandomBackbone, size: Size, cache: FeatureCache) -> None:
        super().__init__(backbone, size)
        self._reader = cache.open()
        self._places = self._reader.places([str(i) for i in range(len(self))])

    def batch(self, positions: Tensor) -> dict[str, Any]:
        """Return a batch as ``AnsweringModel`` reads it."""
        features = self._reader.read(self._places[positions.numpy()])
        return {**super().batch(positions), "features": torch.from_numpy(features).flatten(0, 1)}


class PatchDialogues(Dialogues):
    """With patches of their images, cut once, as transformers' processor would.

    Args:
        backbone: Whose tokens they are made of.
        size: Model and amounts.
    """

    def __init__(self, backbone: RandomBackbone, size: Size) -> None:
        super().__init__(backbone, size)
        vision = backbone.load_config().vision_config
        normalize = PixelNormalizer(*backbone.image_statistics)
        patches, _ = patchify(
            normalize(torch.from_numpy(self.images)), vision.patch_size, vision.spatial_merge_size
        )
        self._patches = patches.reshape(len(self), -1, patches.shape[-1])
        self._image_token = backbone.load_config().image_token_id

    def batch(self, positions: Tensor) -> dict[str, Any]:
        """Return a batch as ``Qwen2VLForConditionalGeneration`` takes it."""
        batch = super().batch(positions)
        return {
            **{name: batch[name] for name in ("input_ids", "attention_mask", "labels")},
            "pixel_values": self._patches[positions].flatten(0, 1),
            "image_grid_thw": batch["grids"],
            "mm_token_type_ids": (batch["input_ids"] == self._image_token).int(),
        }


class Answering:
    """A Qwen2-VL, images and dialogues, and the cache of what its frozen tower gives.

    Args:
        size: Model and amounts.
        folder: Where caches go.
        settings: Device, precision, steps.
    """

    def __init__(self, size: Size, folder: Path, settings: Settings) -> None:
        self.size, self.settings = size, settings
        self.backbone = write_backbone(
            size, folder / "backbone", settings.device, settings.precision
        )
        self._images = Dialogues(self.backbone, size).images
        keys = [str(i) for i in range(size.num_images)]
        self._cache = self._encoder()(FeatureStore(str(folder / "features"), 100), keys)

    @property
    def ways(self) -> list[list[Way]]:
        """Groups of ways that take turns."""
        lora, full = "LoRA in all language blocks", "language model in full"
        return [
            [Way("features of images", self.extract_images)],
            [
                Way(f"{lora}, cached", self.train_lora, f"{lora}, Trainer"),
                Way(f"{lora}, Trainer", self.train_lora_by_trainer),
            ],
            [
                Way(f"{full}, cached", self.train_full, f"{full}, Trainer"),
                Way(f"{full}, Trainer", self.train_full_by_trainer),
            ],
        ]

    def train_variant(self, variant: Variant) -> Run:
        """Train LoRA in another way than the table's."""
        backbone = replace(self.backbone, dtype=variant.precision, attention=variant.attention)
        settings = self.settings._replace(precision=variant.precision, is_counted=False)
        return self._train_lora(backbone, settings, variant.compile_backend)

    def train_lora(self) -> Run:
        """Train as ``train_answering`` does, from cached features."""
        return self._train_lora(self.backbone, self.settings)

    def _train_lora(
        self, backbone: RandomBackbone, settings: Settings, compile_backend: str = ""
    ) -> Run:
        spec = {"lora": LORA, "class_map": {}, "has_head": False}
        model, groups = build_answering(backbone, spec, settings.run)
        if compile_backend:
            compile_blocks(model.backbone.model.language_model, compile_backend)
        return train_here(model, groups, self._task(AnswerLosses()), settings)

    def train_full(self) -> Run:
        """Train every weight of the language model, in float32, by the same loop."""
        model = AnsweringModel(self.backbone.load(dtype="float32"))
        names = [f"backbone.{name}" for name in language_parameters(model.backbone)]
        return train_here(model, {"full": names}, self._task(AnswerLosses()), self.settings)

    def train_lora_by_trainer(self) -> Run:
        """Train by Trainer and peft, the frozen tower in every step."""
        from peft import LoraConfig, get_peft_model

        model = replace(self.backbone, is_stock=True).load()
        torch.manual_seed(SEED)
        config = LoraConfig(target_modules=LORA_TARGETS, bias="none", **LORA)
        return train_there(get_peft_model(model, config), self._stock_task(), self.settings)

    def train_full_by_trainer(self) -> Run:
        """Train every weight of the language model by Trainer."""
        model = replace(self.backbone, is_stock=True).load(dtype="float32")
        for name in language_parameters(model):
            model.get_parameter(name).requires_grad_(True)
        return train_there(model, self._stock_task(), self.settings)

    def extract_images(self) -> Run:
        """Encode all images into a new cache."""
        keys = [str(i) for i in range(self.size.num_images)]
        return time_extraction(self._encoder(), keys, self.size.closed_batch, self.settings.device)

    def _encoder(self) -> Any:
        """Function of a store and keys that fills a cache as ``cache_views`` does."""
        kept = replace(self.backbone, kept=(self.backbone.load(),))
        size = self.size.closed_batch
        encoder = ViewEncoder(kept, Encoding(size, STORED, self.settings.device))

        def encode(store: FeatureStore, keys: Sequence[str]) -> FeatureCache:
            def compute(positions: Sequence[int]) -> np.ndarray:
                parts = [positions[i : i + size] for i in range(0, len(positions), size)]
                return np.concatenate([encoder(self._images[list(part)]) for part in parts])

            return build_cache(store, {"bench": 1}, keys, compute)

        return encode

    def _task(self, losses: AnswerLosses) -> Task:
        samples = CachedDialogues(self.backbone, self.size, self._cache)
        return Task(samples, losses, {"answer": 1.0}, self.size.batch)

    def _stock_task(self) -> Task:
        samples = PatchDialogues(self.backbone, self.size)
        return Task(
            samples,
            lambda model, batch: {"answer": model(**batch).loss},
            {"answer": 1.0},
            self.size.batch,
        )


def language_parameters(model: nn.Module) -> list[str]:
    """Names of all but the vision tower; a tied head stands once, with the embeddings."""
    return [name for name, _ in model.named_parameters() if ".visual." not in f".{name}"]
