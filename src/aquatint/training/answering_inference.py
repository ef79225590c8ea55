"""Predictions of a model that answers: by scoring every allowed answer, by writing, by a head."""

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

from aquatint.data.inspection_prompts import parse_answer
from aquatint.models.answering import AnsweringModel, score_candidates
from aquatint.models.navigator import NavigationModel
from aquatint.models.qwen_vl import embed_with_images, rope_positions
from aquatint.training.dialogues import Dialogues, ImageMode, InspectionData

_KEPT = ["instance_id", "image_id", "source_group", "split", "object_type", "condition"]


@dataclass(frozen=True)
class Decoding:
    """How answers are found.

    Attributes:
        method: ``score`` takes the likeliest allowed answer, ``generate`` writes and parses.
        normalisation: Of scores: ``mean`` over an answer's tokens, or their ``sum``.
        max_new_tokens: Longest written answer.
        batch_size: Dialogues of one pass.
    """

    method: Literal["score", "generate"]
    normalisation: Literal["mean", "sum"]
    max_new_tokens: int
    batch_size: int


def predict(
    model: AnsweringModel, dialogues: Dialogues, decoding: Decoding, class_names: Sequence[str]
) -> pd.DataFrame:
    """Answer every dialogue.

    Args:
        model: Model, put into evaluation mode.
        dialogues: Prompts with their images.
        decoding: How answers are found.
        class_names: All classes; columns of a head.

    Returns:
        One row for each dialogue: ids, ``target``, ``predicted`` (None for an answer that names no
        allowed class), ``confidence``, ``options`` with ``probabilities`` (empty for written
        answers), ``answer`` as written, ``seconds`` of its share of the pass.
    """
    model.eval()
    device = next(model.parameters()).device
    found: dict[int, dict[str, Any]] = {}
    batches = dialogues.batches(decoding.batch_size)
    for chosen in tqdm(batches, desc="answers", disable=None, leave=False, unit="batch"):
        started = time.monotonic()
        batch = {name: value.to(device) for name, value in dialogues.batch(chosen).items()}
        options = [list(dialogues.rows["options"].iloc[i]) for i in chosen]
        rows = _answer(model, dialogues, batch, options, decoding, class_names)
        seconds = (time.monotonic() - started) / len(chosen)
        found |= {i: {**row, "seconds": seconds} for i, row in zip(chosen, rows, strict=True)}
    table = dialogues.rows[_KEPT].assign(
        target=dialogues.rows["class_name"], options=dialogues.rows["options"]
    )
    answers = pd.DataFrame([found[i] for i in range(len(dialogues))], index=table.index)
    return table.join(answers)


def _answer(
    model: AnsweringModel,
    dialogues: Dialogues,
    batch: dict[str, Tensor],
    options: list[list[str]],
    decoding: Decoding,
    class_names: Sequence[str],
) -> list[dict[str, Any]]:
    encoder = dialogues.encoder
    if model.head is not None:
        return [
            _chosen(scores, of_row)
            for scores, of_row in zip(
                _head_scores(model, batch, options, class_names), options, strict=True
            )
        ]
    if decoding.method == "generate":
        texts = [
            encoder.decode(ids)
            for ids in generate_answers(model, batch, encoder.eos, decoding.max_new_tokens)
        ]
        return [
            {"predicted": parse_answer(text, of_row), "confidence": np.nan,
             "probabilities": [], "answer": text}
            for text, of_row in zip(texts, options, strict=True)
        ]  # fmt: skip
    candidates = [[encoder.answer(name) for name in of_row] for of_row in options]
    which = 1 if decoding.normalisation == "mean" else 0
    scored = score_candidates(model, batch, candidates)
    return [_chosen(both[which], of_row) for both, of_row in zip(scored, options, strict=True)]


def _chosen(scores: Sequence[float], options: Sequence[str]) -> dict[str, Any]:
    values = np.exp(np.array(scores) - max(scores))
    probabilities = (values / values.sum()).tolist()
    best = int(np.argmax(scores))
    return {
        "predicted": options[best],
        "confidence": probabilities[best],
        "probabilities": probabilities,
        "answer": None,
    }


@torch.inference_mode()
def _head_scores(
    model: AnsweringModel,
    batch: dict[str, Tensor],
    options: list[list[str]],
    class_names: Sequence[str],
) -> list[list[float]]:
    """Logits of the allowed classes from the linear head on the last prompt token."""
    if model.head is None:
        raise ValueError("A model without a head has no class logits.")
    states = model.read(batch)
    last = batch["attention_mask"].sum(1) - 1
    logits = model.head(states[torch.arange(len(states), device=states.device), last].float())
    columns = {name: i for i, name in enumerate(class_names)}
    return [
        [float(row[columns[name]]) for name in of_row]
        for row, of_row in zip(logits.cpu(), options, strict=True)
    ]


@torch.inference_mode()
def generate_answers(
    model: AnsweringModel | NavigationModel, batch: dict[str, Tensor], eos: int, max_new_tokens: int
) -> list[list[int]]:
    """Write answers greedily, with a cache of keys and values.

    Prompts are padded on the right; every later token is given its own position, and the mask
    keeps it from seeing the padding. So the ids are those of ``generate`` on each prompt alone.

    Args:
        model: Model in evaluation mode.
        batch: Prompts, as ``AnsweringModel.read`` takes them.
        eos: Id that ends an answer.
        max_new_tokens: Longest answer.

    Returns:
        Ids of each answer, without its end.
    """
    from transformers import DynamicCache

    backbone = model.backbone
    language_model = backbone.model.language_model
    ids, seen = batch["input_ids"], batch["attention_mask"]
    positions = rope_positions(backbone, ids, seen, batch["grids"])
    cache = DynamicCache(config=backbone.config.text_config)
    embeddings = embed_with_images(backbone, ids, batch["features"])
    states = language_model(
        inputs_embeds=embeddings,
        attention_mask=seen,
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
    ).last_hidden_state
    rows = torch.arange(len(ids), device=ids.device)
    state = states[rows, seen.sum(1) - 1]
    place = torch.where(seen.bool(), positions.amax(0), -1).amax(1) + 1
    answers: list[list[int]] = [[] for _ in range(len(ids))]
    is_done = torch.zeros(len(ids), dtype=torch.bool, device=ids.device)
    for _ in range(max_new_tokens):
        token = model.answer_logits(state).argmax(-1)
        is_done |= token == eos
        if bool(is_done.all()):
            break
        for row in torch.nonzero(~is_done)[:, 0].tolist():
            answers[row].append(int(token[row]))
        seen = torch.cat([seen, torch.ones_like(seen[:, :1])], 1)
        state = language_model(
            inputs_embeds=backbone.get_input_embeddings()(token[:, None]),
            attention_mask=seen,
            position_ids=place[None, :, None].expand(3, -1, 1),
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state[:, -1]
        place = place + 1
    return answers


def predict_splits(
    model: AnsweringModel, data: InspectionData, decoding: Decoding, class_names: Sequence[str]
) -> pd.DataFrame:
    """Answer for every instance of the validation and the test split."""
    tables = [
        predict(model, Dialogues(data.rows(split), data), decoding, class_names)
        for split in ("val", "test")
    ]
    return pd.concat(tables, ignore_index=True)


def predict_without_images(
    model: AnsweringModel, data: InspectionData, decoding: Decoding, class_names: Sequence[str]
) -> dict[str, pd.DataFrame]:
    """Answer for the test split with own, grey and exchanged views."""
    modes: tuple[ImageMode, ...] = ("own", "grey", "shuffled")
    rows = data.rows("test")
    return {
        mode: predict(model, Dialogues(rows, data, mode), decoding, class_names) for mode in modes
    }
