"""Answers with decoded thoughts to questions that nobody has answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from aquatint.features.cache import FeatureStore
from aquatint.features.conversation_images import ConversationImages, cache_pixels, resize
from aquatint.models.backbone import Backbone
from aquatint.models.teacher_source import TeacherSource
from aquatint.models.teachers import Teacher, build_teacher
from aquatint.params import RunParams
from aquatint.training.checkpoint import Checkpoint
from aquatint.training.covt_answers import open_writer
from aquatint.training.covt_decoding import decode_thoughts, open_heads
from aquatint.training.covt_inference import Manner, Writing, write_answers


@dataclass(frozen=True)
class Asking:
    """How new questions are asked.

    Attributes:
        writing: Lengths and sizes.
        manner: How the model is made to answer.
        store: Where decoded images are kept.
    """

    writing: Writing
    manner: Manner
    store: FeatureStore


def predict_thoughts(
    models: tuple[Backbone, Checkpoint],
    turns: pd.DataFrame,
    images: ConversationImages,
    teachers: Mapping[str, TeacherSource],
    how: Asking,
    run: RunParams,
) -> tuple[pd.DataFrame, dict[str, dict[str, np.ndarray]]]:
    """Answer questions and decode what was thought.

    Args:
        models: Merged backbone and the checkpoint with its heads.
        turns: Turns without answers.
        images: Their images.
        teachers: Frozen encoders that heads look into, by anchor; no target is asked of them.
        how: How the model is made to answer.
        run: Device and seed.

    Returns:
        Rows of ``write_answers`` without what only annotated turns have, and maps by turn.
    """
    backbone, checkpoint = models
    writing = how.writing
    sizes = (checkpoint.spec["num_tokens"], checkpoint.spec["image_px"])
    pixels = cache_pixels(how.store, images, checkpoint.spec["image_px"])
    writer = open_writer(backbone, sizes, pixels.open(), run)
    written = write_answers(writer, turns, how.manner, writing)
    heads = open_heads(
        checkpoint, writer.answering.backbone.config.text_config.hidden_size, str(writer.device)
    )
    contexts = _Contexts(images, teachers, str(writer.device))
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
        teachers: Mapping[str, TeacherSource],
        device: str,
    ) -> None:
        self._images, self._device = images, device
        self._places = {key: place for place, key in enumerate(images.keys)}
        self._sources = teachers
        self._teachers: dict[str, Teacher] = {}

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
