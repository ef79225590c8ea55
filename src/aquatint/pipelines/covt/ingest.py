"""Nodes from raw conversations to checked tables, cached images and cached targets."""

from __future__ import annotations

from typing import Any

import pandas as pd

from aquatint.data.sources import ConversationFiles
from aquatint.features.cache import FeatureCache, FeatureStore
from aquatint.params import RunParams
from aquatint.pipelines.covt.params import (
    IngestParams,
    PixelParams,
    SplitParams,
    TeacherParams,
    VisualModelParams,
)


def ingest_conversations(
    files: ConversationFiles, params: IngestParams
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Read LLaVA records; return turns, images and rejected records."""
    from aquatint.data.conversations import ReadRules, read_conversations

    return read_conversations(files.files, files.image_root, ReadRules(**params.model_dump()))


def split_conversations(
    turns: pd.DataFrame, images: pd.DataFrame, params: SplitParams
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Hold whole groups of images out."""
    from aquatint.data.conversation_report import split_conversations as split

    return split(turns, images, params.shares, params.seed)


def report_conversations(
    turns: pd.DataFrame, images: pd.DataFrame, rejects: pd.DataFrame
) -> dict[str, Any]:
    """Count what came in, what was refused and what stands where."""
    from aquatint.data.conversation_report import conversation_report

    return conversation_report(turns, images, rejects)


def cache_squares(
    files: ConversationFiles, images: pd.DataFrame, store: FeatureStore, params: PixelParams
) -> FeatureCache:
    """Decode every image once, as the square that the model sees."""
    from aquatint.features.conversation_images import ConversationImages, cache_pixels

    return cache_pixels(store, ConversationImages(images, files.image_root), params.image_px)


def cache_targets(  # noqa: PLR0913 - one argument for each catalog entry
    files: ConversationFiles,
    images: pd.DataFrame,
    teachers: dict[str, Any],
    store: FeatureStore,
    visual_models: VisualModelParams,
    params: TeacherParams,
    run: RunParams,
) -> Any:  # noqa: ANN401 - AnchorTargets, whose module imports torch
    """Run every teacher once over every image."""
    from aquatint.features.anchors import cache_anchors
    from aquatint.features.conversation_images import ConversationImages
    from aquatint.training.precision import prepare_device

    device = str(prepare_device(run)) if params.device == "auto" else params.device
    chosen = {str(name): teachers[name] for name in visual_models.names}
    shown = ConversationImages(images, files.image_root)
    return cache_anchors(store, shown, chosen, files.truth_root, device)
