"""Spans that a model wrote, decoded to masks, depth, edges and features."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from aquatint.data.visual_thought_prompts import ThoughtFormat
from aquatint.models.anchor_heads import MaskDecoder, predict_anchor, shapes_from
from aquatint.models.teacher_source import TeacherSource
from aquatint.models.teachers import mask_decoder_of
from aquatint.models.visual_thought import build_heads
from aquatint.training.checkpoint import Checkpoint, load_weights
from aquatint.training.covt_inference import ThoughtWriter, Writing
from aquatint.training.covt_samples import histories, style_from
from aquatint.training.covt_stage import HEADS

# Contexts of one anchor for images by content key, shape (B, ...).
Contexts = Callable[[str, Sequence[str]], Tensor]


@dataclass(frozen=True)
class AnchorHeads:
    """Trained heads, ready to decode.

    Attributes:
        heads: Heads by anchor.
        decoder: What turns prompts into masks.
        style: Which anchors there are, in order.
    """

    heads: nn.ModuleDict
    decoder: MaskDecoder
    style: ThoughtFormat


@dataclass(frozen=True)
class DecodedThought:
    """What one response holds.

    Attributes:
        row: Row of the table of responses.
        maps: Prediction by anchor: mask probabilities (8, M, M), depth or edges (M, M), features.
        states: Hidden states of each anchor's tokens, shape (n, D).
    """

    row: int
    maps: dict[str, np.ndarray] = field(default_factory=dict)
    states: dict[str, np.ndarray] = field(default_factory=dict)


def open_heads(checkpoint: Checkpoint, width: int, device: str) -> AnchorHeads:
    """Build the heads of a checkpoint and put its weights in, strictly."""
    spec = checkpoint.spec
    style = style_from(spec["num_tokens"])
    built = build_heads(width, style.num_tokens, shapes_from(spec["shapes"]), spec["norm_axis"])
    heads = nn.ModuleDict(built)
    prefix = f"{HEADS}."
    weights = {
        name.removeprefix(prefix): tensor
        for name, tensor in checkpoint.weights.items()
        if name.startswith(prefix)
    }
    load_weights(heads, weights, "the checkpoint's heads")
    decoder = mask_decoder_of(TeacherSource(**spec["mask_teacher"]), device) \
        if spec["mask_teacher"] else _no_decoder  # fmt: skip
    return AnchorHeads(heads.to(device).eval(), decoder, style)


def _no_decoder(prompts: Tensor, context: Tensor, size: int) -> Tensor:
    raise ValueError("Masks need the anchor sam, which this checkpoint was trained without.")


@torch.inference_mode()
def decode_thoughts(
    writer: ThoughtWriter,
    heads: AnchorHeads,
    turns: pd.DataFrame,
    written: pd.DataFrame,
    contexts: Contexts,
    writing: Writing,
) -> Iterator[DecodedThought]:
    """Yield what responses hold, of those that have a sound span.

    Args:
        writer: Model that wrote them.
        heads: Heads of its anchors.
        turns: What was asked.
        written: Table of ``write_answers`` on the same turns, of a manner with own images.
        contexts: What teachers know of the images.
        writing: Sizes.
    """
    rows = [row for row, names in enumerate(written["anchors"]) if len(names)]
    before = histories(turns, writing.num_context_turns)
    for start in range(0, len(rows), writing.batch_size):
        chosen = rows[start : start + writing.batch_size]
        keys = [list(turns["image_keys"].iloc[row]) for row in chosen]
        prompts = [
            writer.encoder.prompt(f"\n{turns['question'].iloc[row]}", len(key), before[row])
            for row, key in zip(chosen, keys, strict=True)
        ]
        responses = [[int(i) for i in written["token_ids"].iloc[row]] for row in chosen]
        batch = writer.batch(prompts, writer.shown(keys, is_grey=False), responses)
        states = writer.answering.read(batch).float()
        found = [DecodedThought(row) for row in chosen]
        sound = [set(written["anchors"].iloc[row]) for row in chosen]
        for name in heads.style.names:
            with_span = [i for i, names in enumerate(sound) if name in names]
            if with_span:
                _decode(name, with_span, (writer, heads), (batch, states, keys), contexts, found)
        yield from found


def _decode(
    name: str,
    with_span: list[int],
    models: tuple[ThoughtWriter, AnchorHeads],
    inputs: tuple[dict[str, Tensor], Tensor, list[list[str]]],
    contexts: Contexts,
    found: list[DecodedThought],
) -> None:
    """Run one anchor's head for the responses of a batch that have its span."""
    (writer, heads), (batch, states, keys) = models, inputs
    is_pad = (batch["input_ids"] == writer.encoder.pads[name]) & (batch["labels"] >= 0)
    count = heads.style.num_tokens[name]
    held = torch.stack([states[i][is_pad[i]][:count] for i in with_span])
    context = contexts(name, [keys[i][0] for i in with_span]).to(held.device)
    maps = predict_anchor(name, heads.heads[name], held, context, heads.decoder)
    if name == "sam":
        maps = maps.sigmoid()
    for place, i in enumerate(with_span):
        found[i].maps[name] = maps[place].cpu().numpy()
        found[i].states[name] = held[place].cpu().numpy()
