"""Writing with visual thoughts: free, forced to think, forced not to, with exchanged tokens."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from aquatint.data.visual_thought_prompts import (
    ANSWER,
    THINK,
    ThoughtFormat,
    pad_token,
    read_thought,
)
from aquatint.features.cache import FeatureReader
from aquatint.metrics.answers import is_same_answer
from aquatint.models.answering import AnsweringModel
from aquatint.models.backbone import Backbone
from aquatint.models.pixels import PixelNormalizer
from aquatint.models.qwen_vl import encode_views
from aquatint.training.answering_inference import generate_answers
from aquatint.training.covt_samples import ThoughtEncoder, histories, pad_dialogues

ImageMode = Literal["own", "grey", "shuffled", "none"]
Force = Literal["nothing", "think", "spans", "exchanged", "answer"]
_GREY = 128
_KEPT = ["turn_id", "record_id", "group", "split", "kind", "question"]


@dataclass(frozen=True)
class Manner:
    """How a model is made to answer.

    Attributes:
        name: Short name for tables.
        force: What stands at the beginning of its turn: ``nothing``; ``think``, the mark that
            begins a thought; ``spans``, a whole thought with every anchor; ``exchanged``, that
            with the tokens of anchors in other spans; ``answer``, the mark of an answer, so that
            no thought is written.
        has_spans_in_request: Whether spans stand behind the image, as in stage 1.
        images: ``own``, a ``grey`` one, that of another group (``shuffled``), or ``none``.
    """

    name: str
    force: Force = "nothing"
    has_spans_in_request: bool = False
    images: ImageMode = "own"


@dataclass(frozen=True)
class Writing:
    """How long a model may write.

    Attributes:
        max_new_tokens: Longest response.
        batch_size: Dialogues of one pass.
        num_context_turns: Earlier turns shown before a question.
    """

    max_new_tokens: int
    batch_size: int
    num_context_turns: int


class ThoughtWriter:
    """A merged or untouched backbone that writes, with its images.

    Args:
        model: transformers' own model, with everything merged.
        backbone: Where its processor and tokenizer come from.
        encoder: Token ids.
        pixels: Reader of cached squares.
    """

    def __init__(
        self,
        model: Any,  # noqa: ANN401 - PreTrainedModel
        backbone: Backbone,
        encoder: ThoughtEncoder,
        pixels: FeatureReader,
    ) -> None:
        self.answering = AnsweringModel(model).eval()
        self.device = next(model.parameters()).device
        self.encoder = encoder
        self._normalize = PixelNormalizer(*backbone.image_statistics).to(self.device)
        self._pixels = pixels

    def shown(self, keys: Sequence[Sequence[str]], is_grey: bool) -> Tensor:
        """Pixels of images in order, uint8 (M, S, S, 3)."""
        flat = [key for of_sample in keys for key in of_sample]
        found = self._pixels.read(self._pixels.places(flat))
        return torch.from_numpy(np.full_like(found, _GREY) if is_grey else found)

    @torch.inference_mode()
    def batch(
        self, prompts: Sequence[list[int]], pixels: Tensor, targets: Sequence[list[int]] = ()
    ) -> dict[str, Tensor]:
        """Lay dialogues with images side by side, on the device."""
        given = targets or [[] for _ in prompts]
        batch = pad_dialogues(prompts, given, self.encoder.pad)
        model, vision = self.answering.backbone, self.answering.backbone.config.vision_config
        width = model.config.text_config.hidden_size
        features = torch.zeros(0, width)
        if len(pixels):
            images = self._normalize(pixels.to(self.device))
            features = encode_views(model, images).flatten(0, 1)
        edge = pixels.shape[1] // vision.patch_size
        grids = torch.tensor([[1, edge, edge]]).expand(len(pixels), 3)
        held = {**batch, "features": features, "grids": grids}
        return {name: value.to(self.device) for name, value in held.items()}


def write_answers(
    writer: ThoughtWriter, turns: pd.DataFrame, manner: Manner, writing: Writing
) -> pd.DataFrame:
    """Let a model answer every question.

    Args:
        writer: Model with its images.
        turns: Turns; ``answer`` is looked at only to compare.
        manner: How it is made to answer.
        writing: Lengths and sizes.

    Returns:
        One row for each turn: ids, ``manner``, ``text`` as written with what was forced,
        ``answer``, ``target``, ``is_correct``, ``has_thought``, ``is_well_formed``, ``anchors``,
        ``token_ids`` of the text, ``num_tokens`` written, ``seconds`` of its share of a batch.
    """
    style = writer.encoder.style
    asked = _Asked(turns, manner, histories(turns, writing.num_context_turns))
    lengths = turns["question"].str.len() + turns["image_keys"].map(len) * 1000
    order = np.argsort(-lengths.to_numpy(), kind="stable").tolist()
    rows: dict[int, dict[str, Any]] = {}
    starts = range(0, len(order), writing.batch_size)
    for start in tqdm(starts, desc=manner.name, disable=None, leave=False, unit="batch"):
        chosen = order[start : start + writing.batch_size]
        started = time.monotonic()
        batch, prefixes = asked.batch(writer, chosen)
        written = generate_answers(
            writer.answering, batch, writer.encoder.eos, writing.max_new_tokens
        )
        seconds = (time.monotonic() - started) / len(chosen)
        for i, prefix, ids in zip(chosen, prefixes, written, strict=True):
            text = prefix + writer.encoder.decode(ids)
            thought = read_thought(text, style)
            rows[i] = {
                "text": text,
                "answer": thought.answer,
                "has_thought": thought.has_thought,
                "is_well_formed": thought.is_well_formed,
                "anchors": list(thought.anchors),
                "token_ids": [*writer.encoder.encode(prefix), *ids],
                "num_tokens": len(ids),
                "seconds": seconds,
            }
    table = turns[_KEPT].assign(manner=manner.name, target=turns["answer"])
    found = table.join(pd.DataFrame([rows[i] for i in range(len(turns))], index=turns.index))
    same = [is_same_answer(a, b) for a, b in zip(found["answer"], found["target"], strict=True)]
    return found.assign(is_correct=same)


class _Asked:
    """Questions as a manner asks them.

    Args:
        turns: Turns.
        manner: How they are asked.
        before: Earlier turns of each.
    """

    def __init__(
        self, turns: pd.DataFrame, manner: Manner, before: Sequence[list[tuple[str, str]]]
    ) -> None:
        self._questions, self._ids = turns["question"].tolist(), turns["turn_id"].tolist()
        self._own = [list(keys) for keys in turns["image_keys"]]
        self._shown = _shown_keys(turns, manner.images)
        self._manner, self._before = manner, before

    def batch(
        self, writer: ThoughtWriter, chosen: Sequence[int]
    ) -> tuple[dict[str, Tensor], list[str]]:
        """Return prompts with what is forced behind them, and what that is."""
        manner, style = self._manner, writer.encoder.style
        spans = style.spans(style.names) if manner.has_spans_in_request else ""
        prefixes = [_forced(style, manner.force, self._ids[i]) for i in chosen]
        prompts = [
            writer.encoder.prompt(
                f"{spans}\n{self._questions[i]}", len(self._shown[i]), self._before[i]
            )
            + writer.encoder.encode(prefix)
            for i, prefix in zip(chosen, prefixes, strict=True)
        ]
        if manner.images == "none":
            # Only for their size: none of them is shown.
            pixels = writer.shown([self._own[chosen[0]]], is_grey=True)[:0]
        else:
            pixels = writer.shown([self._shown[i] for i in chosen], manner.images == "grey")
        return writer.batch(prompts, pixels), prefixes


def _forced(style: ThoughtFormat, force: Force, turn_id: str) -> str:
    """Text that stands at the beginning of the model's turn."""
    match force:
        case "nothing":
            return ""
        case "think":
            return THINK
        case "answer":
            return ANSWER
        case "spans":
            return f"{style.thought(style.names)} {ANSWER}"
    # Each span keeps its length but takes the tokens of another anchor.
    rng = np.random.default_rng([71, *turn_id.encode()])
    text = style.thought(style.names)
    shift = int(rng.integers(1, max(2, len(style.names))))
    marks = [pad_token(name) for name in style.names]
    for number, mark in enumerate(marks):
        text = text.replace(mark, f"\x00{(number + shift) % len(marks)}\x00")
    for number, mark in enumerate(marks):
        text = text.replace(f"\x00{number}\x00", mark)
    return f"{text} {ANSWER}"


def _shown_keys(turns: pd.DataFrame, mode: ImageMode) -> list[list[str]]:
    keys = [list(of_turn) for of_turn in turns["image_keys"]]
    if mode == "none":
        return [[] for _ in keys]
    if mode != "shuffled":
        return keys
    # Half the table away in the order of groups: never an image of the same scene, unless one
    # scene holds half of all turns.
    order = turns["group"].argsort(kind="stable").to_numpy()
    donors = np.empty(len(order), int)
    donors[order] = np.roll(order, len(order) // 2)
    return [(keys[donor] * len(own))[: len(own)] for own, donor in zip(keys, donors, strict=True)]
