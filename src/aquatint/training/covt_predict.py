"""Answers with decoded thoughts to questions that nobody has answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from aquatint.features.cache import FeatureStore
from aquatint.features.conversation_images import ConversationImages, cache_pixels, resize
from aquatint.models.backbone import Backbone
from aquatint.models.teachers import TeacherSource, build_teacher
from aquatint.params import RunParams
from aquatint.training.checkpoint import Checkpoint
from aquatint.training.covt_answers import open_writer
from aquatint.training.covt_decoding import decode_thoughts, open_heads
from aquatint.training.covt_inference import Manner, Writing, write_answers


def predict_thoughts(
    models: tuple[Backbone, Checkpoint],
    tables: tuple[pd.DataFrame, pd.DataFrame],
    images: ConversationImages,
    teachers: Mapping[str, TeacherSource],
    store: FeatureStore,
    writing: Writing,
    manner: Manner,
    run: RunParams,
) -> tuple[pd.DataFrame, dict[str, dict[str, np.ndarray]]]:
    """Answer questions and decode what was thought.

    Args:
        models: Merged backbone and the checkpoint with its heads.
        tables: Turns without answers, and images.
        images: Where the images are.
        teachers: Frozen encoders that heads look into, by anchor; no target is asked of them.
        store: Where decoded images are kept.
        writing: Lengths and sizes.
        manner: How the model is made to answer.
        run: Device and seed.

    Returns:
        Rows of ``write_answers`` without what only annotated turns have, and maps by turn.
    """
    (backbone, checkpoint), (turns, table) = models, tables
    sizes = (checkpoint.spec["num_tokens"], checkpoint.spec["image_px"])
    pixels = cache_pixels(store, images, checkpoint.spec["image_px"])
    writer = open_writer(backbone, sizes, pixels.open(), run)
    written = write_answers(writer, turns, manner, writing)
    heads = open_heads(
        checkpoint, writer.answering.backbone.config.text_config.hidden_size, str(writer.device)
    )
    contexts = _Contexts(images, table["image_key"].tolist(), teachers, str(writer.device))
    maps = {
        str(turns["turn_id"].iloc[item.row]): {
            name: values.astype(np.float16) for name, values in item.maps.items()
        }
        for item in decode_thoughts(writer, heads, turns, written, contexts, writing)
    }
    return written.drop(columns=["target", "is_correct"]), maps


class _Contexts:
    """What teachers know of images, looked at when it is asked for."""

    def __init__(
        self,
        images: ConversationImages,
        keys: Sequence[str],
        teachers: Mapping[str, TeacherSource],
        device: str,
    ) -> None:
        self._images, self._device = images, device
        self._places = {key: place for place, key in enumerate(keys)}
        self._sources = teachers
        self._teachers = {}  # type: ignore[var-annotated]

    def __call__(self, name: str, keys: Sequence[str]) -> Tensor:
        source = self._sources[name]
        if name not in self._teachers:
            # The world's small encoders need no exact anchors to look.
            self._teachers[name] = build_teacher(source, "unused", self._device)
        shown = self._images.load([self._places[key] for key in keys])
        if source.image_px:
            shown = [resize(image, source.image_px) for image in shown]
        found = self._teachers[name].look(shown)
        return torch.zeros(len(keys), 0) if found is None else torch.from_numpy(found).float()
