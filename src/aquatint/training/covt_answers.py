"""Answers of every model that is compared, and of the trained one in every manner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from aquatint.features.cache import FeatureCache, FeatureReader
from aquatint.models.backbone import Backbone
from aquatint.models.low_rank import merge_lora
from aquatint.params import RunParams
from aquatint.training.checkpoint import Checkpoint
from aquatint.training.covt_inference import Manner, ThoughtWriter, Writing, write_answers
from aquatint.training.covt_samples import ThoughtEncoder, style_from
from aquatint.training.covt_stage import restore_thoughts
from aquatint.training.precision import prepare_device

BASE, TEXT_ONLY, STAGE1, TRAINED = "base", "text_only", "stage1", "trained"
FREE, THINKING, FORCED_SPANS = "free", "thinking", "forced spans"
EXCHANGED, WITHOUT = "exchanged tokens", "without tokens"
GREY, OTHER = "grey image", "another image"
TRAINED_MANNERS = (
    Manner(FREE),
    Manner(THINKING, "think"),
    Manner(FORCED_SPANS, "spans"),
    Manner(EXCHANGED, "exchanged"),
    Manner(WITHOUT, "answer"),
    Manner(GREY, "think", images="grey"),
    Manner(OTHER, "think", images="shuffled"),
)
STAGE1_MANNERS = (Manner(FREE), Manner("spans given", has_spans_in_request=True))


@dataclass(frozen=True)
class Examined:
    """Models that answer.

    Attributes:
        backbone: The untouched model.
        text_only: Checkpoint of the model that has seen no image, trained on ``backbone``.
        stage1: Merged after stage 1.
        stage234: Merged after all stages.
    """

    backbone: Backbone
    text_only: Checkpoint
    stage1: Backbone
    stage234: Backbone


def answer_all(
    examined: Examined,
    turns: pd.DataFrame,
    pixels: FeatureCache,
    sizes: tuple[Sequence[tuple[str, int]], int],
    writing: Writing,
    run: RunParams,
) -> pd.DataFrame:
    """Let all models answer.

    Args:
        examined: The models.
        turns: Held-out turns.
        pixels: Cached squares.
        sizes: Tokens by anchor, as pairs in order, and the edge of the squares.
        writing: Lengths and sizes.
        run: Device and seed.

    Returns:
        Rows of ``write_answers`` with the column ``system``.
    """
    reader = pixels.open()
    plain = Manner(FREE)
    blind = _blind_writer(examined, sizes, reader, run)
    tables = [
        _table(TEXT_ONLY, blind, turns, (Manner(FREE, images="none"),), writing),
    ]
    for name, backbone, manners in (
        (BASE, examined.backbone, (plain,)),
        (STAGE1, examined.stage1, STAGE1_MANNERS),
        (TRAINED, examined.stage234, TRAINED_MANNERS),
    ):
        writer = open_writer(backbone, sizes, reader, run)
        tables.append(_table(name, writer, turns, manners, writing))
    return pd.concat(tables, ignore_index=True)


def open_writer(
    backbone: Backbone,
    sizes: tuple[Sequence[tuple[str, int]], int],
    reader: FeatureReader,
    run: RunParams,
) -> ThoughtWriter:
    """Load a model that writes."""
    device = prepare_device(run)
    encoder = ThoughtEncoder(backbone, style_from(sizes[0]), sizes[1])
    return ThoughtWriter(backbone.load(str(device)), backbone, encoder, reader)


def _blind_writer(
    examined: Examined,
    sizes: tuple[Sequence[tuple[str, int]], int],
    reader: FeatureReader,
    run: RunParams,
) -> ThoughtWriter:
    """The text-only model, merged in memory: nothing else ever needs it."""
    backbone = examined.backbone
    plain = Backbone(backbone.folder, backbone.digest, backbone.name, "float32")
    model = restore_thoughts(plain, examined.text_only, run)
    merged: Any = merge_lora(model.backbone)
    model.rows.write_into(merged)
    encoder = ThoughtEncoder(backbone, style_from(sizes[0]), sizes[1])
    return ThoughtWriter(merged, backbone, encoder, reader)


def _table(
    system: str,
    writer: ThoughtWriter,
    turns: pd.DataFrame,
    manners: Sequence[Manner],
    writing: Writing,
) -> pd.DataFrame:
    tables = [write_answers(writer, turns, manner, writing) for manner in manners]
    return pd.concat(tables, ignore_index=True).assign(system=system)
