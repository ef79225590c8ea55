"""Dialogues about inspected objects as tensors: prompts, answers, cached views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from aquatint.collective import Share
from aquatint.data.inspection_prompts import chat_text
from aquatint.features.cache import FeatureCache
from aquatint.features.views import grey_key
from aquatint.models.answering import IGNORE_INDEX
from aquatint.models.backbone import Backbone

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ImageMode = Literal["own", "grey", "shuffled"]
_PLACE = "\x00"


@dataclass(frozen=True)
class InspectionData:
    """All that training and prediction read.

    Attributes:
        backbone: Frozen Qwen2-VL or Qwen2.5-VL.
        instances: Objects of all splits.
        frames: What is shown of each of them.
        views: Cached features of what is shown.
        prompts: Question and options of each of them; None for a mode that asks nothing.
    """

    backbone: Backbone
    instances: pd.DataFrame
    frames: pd.DataFrame
    views: FeatureCache
    prompts: pd.DataFrame | None = None

    def rows(self, split: str | None = None) -> pd.DataFrame:
        """Join the tables, one row for each instance of a split.

        Raises:
            ValueError: If an instance lacks a prompt or a frame.
        """
        chosen = (
            self.instances if split is None else self.instances[self.instances["split"] == split]
        )
        joined = chosen.merge(
            self.frames.drop(columns="image_path"), on="instance_id", validate="1:1"
        )
        if self.prompts is not None:
            joined = joined.merge(self.prompts, on="instance_id", validate="1:1")
        if len(joined) != len(chosen):
            raise ValueError(
                f"Every instance needs a prompt and a frame; {len(chosen) - len(joined)} of "
                f"{len(chosen)} lack one. Run --tags=ingest,split,features again."
            )
        return joined.reset_index(drop=True)


class DialogueEncoder:
    """Token ids of dialogues and of answers.

    Args:
        tokenizer: The backbone's tokenizer.
        marks: Tokens before, in place of and after an image.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, marks: tuple[str, str, str]) -> None:
        self._tokenizer = tokenizer
        self._marks = [tokenizer.convert_tokens_to_ids(mark) for mark in marks]
        self.eos, self.pad = tokenizer.eos_token_id, tokenizer.pad_token_id

    def prompt(self, question: str, options: Sequence[str], num_image_tokens: int) -> list[int]:
        """Ids up to where the answer begins."""
        before, after = chat_text(question, options, _PLACE).split(_PLACE)
        start, image, end = self._marks
        return [
            *self._ids(before), start, *[image] * num_image_tokens, end, *self._ids(after),
        ]  # fmt: skip

    def answer(self, text: str) -> list[int]:
        """Ids of an answer with the token that ends a turn."""
        return [*self._ids(text), self.eos]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of generated ids."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True)).strip()

    def _ids(self, text: str) -> list[int]:
        return self._tokenizer(text, add_special_tokens=False)["input_ids"]


def encoder_of(backbone: Backbone) -> DialogueEncoder:
    """Return the encoder with a backbone's own tokens."""
    kind = backbone.architecture
    marks = (kind.image_start, kind.image_token, kind.image_end)
    return DialogueEncoder(backbone.load_tokenizer(), marks)


class Dialogues:
    """Prompts with their images, by position.

    Args:
        rows: Table of ``InspectionData.rows``.
        data: Where the features are.
        mode: ``own`` shows each object, ``grey`` nothing, ``shuffled`` an object of another
            photograph.
    """

    def __init__(self, rows: pd.DataFrame, data: InspectionData, mode: ImageMode = "own") -> None:
        vision = data.backbone.load_config().vision_config
        self.rows = rows
        self.encoder = encoder_of(data.backbone)
        shown = _shown(rows, mode)
        self._patch_px = vision.patch_size
        self._sizes = shown[["height", "width"]].to_numpy()
        self._num_tokens = shown["num_tokens"].to_numpy()
        self._reader = data.views.open()
        self._places = self._reader.places(shown["view_key"].tolist())
        self.prompts = [
            self.encoder.prompt(row["question"], list(row["options"]), int(count))
            for row, count in zip(rows.to_dict(orient="records"), self._num_tokens, strict=True)
        ]

    def __len__(self) -> int:
        """Number of dialogues."""
        return len(self.rows)

    def batch(
        self, positions: Sequence[int], answers: Sequence[list[int]] | None = None
    ) -> dict[str, Tensor]:
        """Return dialogues as tensors, padded on the right.

        Args:
            positions: Which dialogues.
            answers: Ids that follow each of them; none for prompts alone.

        Returns:
            input_ids, attention_mask and labels (B, T), features (N, D), grids (B, 3).
        """
        tails = answers or [[] for _ in positions]
        ids = [[*self.prompts[i], *tail] for i, tail in zip(positions, tails, strict=True)]
        lengths = [len(self.prompts[i]) for i in positions]
        width = max(map(len, ids))
        padded = torch.full((len(ids), width), self.encoder.pad, dtype=torch.long)
        labels = torch.full((len(ids), width), IGNORE_INDEX, dtype=torch.long)
        mask = torch.zeros(len(ids), width, dtype=torch.long)
        for row, (tokens, length) in enumerate(zip(ids, lengths, strict=True)):
            padded[row, : len(tokens)] = torch.tensor(tokens)
            labels[row, length : len(tokens)] = torch.tensor(tokens[length:], dtype=torch.long)
            mask[row, : len(tokens)] = 1
        chosen = list(positions)
        stored = self._reader.read(self._places[chosen]).astype(np.float32)
        parts = [
            features[:count]
            for features, count in zip(stored, self._num_tokens[chosen], strict=True)
        ]
        sizes = torch.from_numpy(self._sizes[chosen].astype(np.int64)) // self._patch_px
        grids = torch.cat([torch.ones(len(chosen), 1, dtype=torch.long), sizes], 1)
        return {
            "input_ids": padded,
            "attention_mask": mask,
            "labels": labels,
            "features": torch.from_numpy(np.concatenate(parts)),
            "grids": grids,
        }

    def batches(self, batch_size: int) -> list[list[int]]:
        """Positions in batches of similar length, the longest first: less padding."""
        order = sorted(range(len(self)), key=lambda i: -len(self.prompts[i]))
        return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def _shown(rows: pd.DataFrame, mode: ImageMode) -> pd.DataFrame:
    """The frames that are shown in place of each row's own."""
    if mode == "own" or len(rows) == 0:
        return rows
    if mode == "grey":
        keys = [grey_key(w, h) for w, h in zip(rows["width"], rows["height"], strict=True)]
        return rows.assign(view_key=keys)
    # Half the table away in the order of photographs: never an object of the same one, unless a
    # photograph holds half of all.
    order = rows["source_group"].argsort(kind="stable").to_numpy()
    donors = np.empty(len(rows), int)
    donors[order] = np.roll(order, len(rows) // 2)
    return rows.iloc[donors].reset_index(drop=True)


class AnswerSamples:
    """Dialogues with their answers, as often and in as many copies as the plan shows them.

    Args:
        dialogues: Dialogues of the train split.
        shown: Position of the dialogue of each sample, shape (N,).
        weights: Weight of each dialogue in the loss, shape (number of dialogues,).
        class_ids: Class of each dialogue, shape (number of dialogues,).
    """

    def __init__(
        self, dialogues: Dialogues, shown: np.ndarray, weights: np.ndarray, class_ids: np.ndarray
    ) -> None:
        self._dialogues, self._shown = dialogues, shown
        self._weights = torch.tensor(weights, dtype=torch.float32)
        self._class_ids = torch.tensor(class_ids, dtype=torch.long)
        names = dialogues.rows["class_name"]
        self._answers = [dialogues.encoder.answer(name) for name in names]

    def __len__(self) -> int:
        """Number of samples of an epoch."""
        return len(self._shown)

    @property
    def sample_weights(self) -> Tensor:
        """Weight of each sample, shape (N,)."""
        return self._weights[torch.from_numpy(self._shown)]

    def batch(self, positions: Tensor, share: Share | None = None) -> dict[str, Any]:
        """Return dialogues with labels, ``weights`` (B,) and ``class_ids`` (B,).

        On several ranks each takes its ``share``; ``is_counted`` is the share's.
        """
        chosen = self._shown[positions.numpy()].tolist()
        if share:
            chosen = chosen[share.rows]
        batch = self._dialogues.batch(chosen, [self._answers[i] for i in chosen])
        return {
            **batch,
            "weights": self._weights[chosen],
            "class_ids": self._class_ids[chosen],
            "is_counted": share is None or share.is_counted,
        }

    def identify(self, positions: Tensor) -> list[str]:
        """Return the ids of the instances."""
        return self._dialogues.rows["instance_id"].iloc[self._shown[positions.numpy()]].tolist()
