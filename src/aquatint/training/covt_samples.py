"""Visual thoughts as tensors: prompts, targets, images and the targets of anchors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from aquatint.collective import Share
from aquatint.data.visual_thought_prompts import (
    ANSWER,
    Exchange,
    ThoughtFormat,
    anchor_tokens,
    chat_prompt,
    format_exchange,
    pad_token,
)
from aquatint.features.anchors import AnchorReader, AnchorTargets
from aquatint.features.cache import FeatureCache
from aquatint.models.anchor_tokens import add_tokens
from aquatint.models.answering import IGNORE_INDEX
from aquatint.models.backbone import Backbone
from aquatint.training.covt_curriculum import Curriculum

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class ThoughtData:
    """All that training and prediction read.

    Attributes:
        backbone: Qwen2-VL or Qwen2.5-VL, with the new tokens or without.
        turns: Questions with their answers, of all splits.
        pixels: Cached squares of the images.
        anchors: Cached targets of the anchors; None where nothing asks for them.
    """

    backbone: Backbone
    turns: pd.DataFrame
    pixels: FeatureCache
    anchors: AnchorTargets | None = None

    def of_split(self, split: str) -> pd.DataFrame:
        """Turns of a split.

        Raises:
            ValueError: If it has none.
        """
        chosen = self.turns[self.turns["split"] == split].reset_index(drop=True)
        if len(chosen) == 0:
            raise ValueError(f"The split {split} has no turns; there are {len(self.turns)} in all.")
        return chosen


class ThoughtEncoder:
    """Token ids of dialogues with images, spans and thoughts.

    Args:
        backbone: Whose tokenizer it is.
        style: Which anchors there are.
        image_px: Edge of the squares that the model sees.
    """

    def __init__(self, backbone: Backbone, style: ThoughtFormat, image_px: int) -> None:
        kind, vision = backbone.architecture, backbone.load_config().vision_config
        token_px = vision.patch_size * vision.spatial_merge_size
        if image_px % token_px:
            raise ValueError(f"image_px {image_px} must be a multiple of {token_px}, a token's.")
        self.style = style
        self.tokenizer: PreTrainedTokenizerBase = backbone.load_tokenizer()
        self.added_ids = add_tokens(self.tokenizer, anchor_tokens())
        count = (image_px // token_px) ** 2
        self._image = f"{kind.image_start}{kind.image_token * count}{kind.image_end}"
        self.eos = int(self.tokenizer.eos_token_id)
        self.pad = int(self.tokenizer.pad_token_id)
        self.answer_mark = int(self.tokenizer.convert_tokens_to_ids(ANSWER))
        self.pads = {
            name: int(self.tokenizer.convert_tokens_to_ids(pad_token(name))) for name in style.names
        }

    def prompt(
        self, request: str, num_images: int, history: Sequence[tuple[str, str]] = ()
    ) -> list[int]:
        """Ids up to where the model writes."""
        # Without an image nothing stands before the text, so it needs no break either.
        text = request if num_images else request.lstrip("\n")
        return self.encode(chat_prompt(text, self._image * num_images, history))

    def response(self, text: str) -> list[int]:
        """Ids of a response with the token that ends a turn."""
        return [*self.encode(text), self.eos]

    def encode(self, text: str) -> list[int]:
        """Ids of a text, marks as single tokens."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids, marks included."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=False))


def histories(turns: pd.DataFrame, num_context_turns: int) -> list[list[tuple[str, str]]]:
    """Earlier turns of the same record for each row, the newest last.

    Args:
        turns: Table of turns.
        num_context_turns: Most earlier turns; 0 lets every question stand alone.
    """
    if num_context_turns == 0:
        return [[] for _ in range(len(turns))]
    texts = list(zip(turns["record_id"], turns["turn"], strict=True))
    by_place = dict(zip(texts, zip(turns["question"], turns["answer"], strict=True), strict=True))
    return [
        [
            by_place[record, earlier]
            for earlier in range(max(0, turn - num_context_turns), turn)
            if (record, earlier) in by_place
        ]
        for record, turn in texts
    ]


@dataclass(frozen=True)
class SampleRules:
    """How turns become samples.

    Attributes:
        curriculum: Format by optimizer step; None for plain answers always.
        num_context_turns: Earlier turns shown before a question.
        sees_images: Whether images are shown; without, a text-only baseline learns.
        seed: Of the mixture of the last stage.
        answer_weight: Weight of a token of the answer behind a thought, against one of the thought.
    """

    curriculum: Curriculum | None
    num_context_turns: int
    sees_images: bool
    seed: int
    answer_weight: float = 1.0


class ThoughtSamples:
    """Turns in the format of the optimizer step, one sample for each turn.

    Args:
        turns: Turns of the train split.
        encoder: Token ids.
        pixels: Cached squares.
        anchors: Cached targets; None without anchors.
        rules: How turns become samples.
    """

    def __init__(
        self,
        turns: pd.DataFrame,
        encoder: ThoughtEncoder,
        pixels: FeatureCache,
        anchors: AnchorTargets | None,
        rules: SampleRules,
    ) -> None:
        self._turns = turns[["question", "answer"]].to_dict(orient="records")
        self._ids: list[str] = turns["turn_id"].tolist()
        self._keys = [list(keys) for keys in turns["image_keys"]]
        self._histories = histories(turns, rules.num_context_turns)
        self.encoder, self._rules = encoder, rules
        self._pixels = pixels.open()
        names = encoder.style.names
        self._anchors = AnchorReader(anchors, names) if anchors else None
        self._step = 0

    def __len__(self) -> int:
        """Number of samples of an epoch."""
        return len(self._turns)

    def begin_step(self, step: int) -> None:
        """Take note of the optimizer step that the next batches belong to."""
        self._step = step

    def identify(self, positions: Tensor) -> list[str]:
        """Return the ids of the turns."""
        return [self._ids[position] for position in positions.tolist()]

    def exchange(self, position: int) -> Exchange:
        """A turn in the format of the step: a function of seed, step and turn alone."""
        turn, rules = self._turns[position], self._rules
        if rules.curriculum is None:
            return Exchange(f"\n{turn['question']}", turn["answer"], ())
        rng = np.random.default_rng([rules.seed, self._step, position])
        stage = rules.curriculum.stage_at(self._step)
        return format_exchange(stage, self.encoder.style, turn["question"], turn["answer"], rng)

    def batch(self, positions: Tensor, share: Share | None = None) -> dict[str, Any]:
        """Return dialogues with labels and images, and for each anchor its places and targets.

        ``token_weights`` (B, T) are those of the labels. ``rows_<anchor>`` (k,) and
        ``places_<anchor>`` (k, n) say where the tokens of its k spans stand. On several ranks each
        takes its ``share``; ``is_counted`` is the share's.
        """
        chosen = positions.tolist()[share.rows] if share else positions.tolist()
        exchanges = [self.exchange(position) for position in chosen]
        prompts = [
            self.encoder.prompt(
                exchange.request,
                len(self._keys[position]) if self._rules.sees_images else 0,
                self._histories[position],
            )
            for exchange, position in zip(exchanges, chosen, strict=True)
        ]
        targets = [self.encoder.response(exchange.response) for exchange in exchanges]
        keys = [self._keys[position] for position in chosen]
        dialogues = pad_dialogues(prompts, targets, self.encoder.pad)
        batch: dict[str, Any] = {
            **dialogues,
            "token_weights": self._token_weights(dialogues["labels"]),
            "pixels": self._read_pixels(keys),
            "is_counted": share is None or share.is_counted,
        }
        curriculum = self._rules.curriculum
        if self._anchors and curriculum and curriculum.has_anchors(self._step):
            batch |= self._anchor_batch(batch["input_ids"], exchanges, keys)
        return batch

    def _token_weights(self, labels: Tensor) -> Tensor:
        """1, and ``answer_weight`` from the mark that begins an answer on."""
        is_answer = (labels == self.encoder.answer_mark).cumsum(1) > 0
        return torch.where(is_answer, float(self._rules.answer_weight), 1.0)

    def _read_pixels(self, keys: Sequence[Sequence[str]]) -> Tensor:
        flat = [key for of_sample in keys for key in of_sample]
        if not self._rules.sees_images:
            size = self._pixels.read(self._pixels.places(flat[:1])).shape[1]
            return torch.zeros(0, size, size, 3, dtype=torch.uint8)
        return torch.from_numpy(self._pixels.read(self._pixels.places(flat)))

    def _anchor_batch(
        self, input_ids: Tensor, exchanges: Sequence[Exchange], keys: Sequence[Sequence[str]]
    ) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for name in self.encoder.style.names:
            rows = [i for i, exchange in enumerate(exchanges) if name in exchange.anchors]
            if not rows or self._anchors is None:
                continue
            is_pad = input_ids[rows] == self.encoder.pads[name]
            count = self.encoder.style.num_tokens[name]
            found[f"rows_{name}"] = torch.tensor(rows)
            found[f"places_{name}"] = torch.nonzero(is_pad)[:, 1].reshape(len(rows), count)
            # Of several images the first is what the anchors speak of.
            target, context = self._anchors.read(name, [keys[row][0] for row in rows])
            found[f"target_{name}"], found[f"context_{name}"] = target, context
        return found


def pad_dialogues(
    prompts: Sequence[list[int]], targets: Sequence[list[int]], pad: int
) -> dict[str, Tensor]:
    """Lay dialogues side by side, padded on the right.

    Args:
        prompts: Ids that are given.
        targets: Ids that follow and are learned; empty ones for prompts alone.
        pad: Id of the padding.

    Returns:
        ``input_ids``, ``attention_mask`` and ``labels``, each of shape (B, T).
    """
    ids = [[*prompt, *target] for prompt, target in zip(prompts, targets, strict=True)]
    shape = len(ids), max(map(len, ids))
    padded = torch.full(shape, pad, dtype=torch.long)
    labels = torch.full(shape, IGNORE_INDEX, dtype=torch.long)
    mask = torch.zeros(shape, dtype=torch.long)
    for row, (tokens, prompt) in enumerate(zip(ids, prompts, strict=True)):
        padded[row, : len(tokens)] = torch.tensor(tokens)
        labels[row, len(prompt) : len(tokens)] = padded[row, len(prompt) : len(tokens)]
        mask[row, : len(tokens)] = 1
    return {"input_ids": padded, "attention_mask": mask, "labels": labels}


def style_from(num_tokens: Sequence[Sequence[Any]] | Mapping[str, int]) -> ThoughtFormat:
    """Rebuild a format from the pairs that stand in a checkpoint, whose order counts."""
    pairs = num_tokens.items() if isinstance(num_tokens, Mapping) else num_tokens
    return ThoughtFormat({str(name): int(count) for name, count in pairs})
