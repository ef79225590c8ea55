"""Nodes of the RoboSense recipe: read, encode, embed, rank, check."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from aquatint.data.robosense import (
    NUM_RANKED,
    format_submission,
    read_queries,
    validate_submission,
)
from aquatint.data.robosense_tables import read_gallery, retrieval_tables
from aquatint.data.sources import RoboSenseFolder
from aquatint.features.cache import FeatureCache, FeatureStore
from aquatint.models.backbone import Backbone
from aquatint.nodes import features
from aquatint.params import RunParams
from aquatint.pipelines.robosense.params import EmbeddingParams, ExtractionParams, ReadParams
from aquatint.training.checkpoint import Checkpoint


def read_challenge(
    folder: RoboSenseFolder, params: ReadParams
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read the queries and check every image of the gallery."""
    gallery = read_gallery(Path(folder.image_root), params.max_pixels)
    return read_queries(Path(folder.query_file)), gallery


def encode_gallery(  # noqa: PLR0913 - one argument for each catalog entry
    gallery: pd.DataFrame,
    pixels: FeatureCache,
    store: FeatureStore,
    backbone: Backbone,
    checkpoint: Checkpoint,
    params: ExtractionParams,
    run: RunParams,
) -> FeatureCache:
    """Run the frozen vision tower once over the gallery, on the checkpoint's token grid."""
    extraction = _extraction(checkpoint, params)
    return features.encode_images(gallery, pixels, store, backbone, extraction, run)


def encode_queries(
    queries: pd.DataFrame,
    store: FeatureStore,
    backbone: Backbone,
    checkpoint: Checkpoint,
    params: ExtractionParams,
    run: RunParams,
) -> FeatureCache:
    """Run the frozen language model once over the queries, cut to the checkpoint's length."""
    no_regions = pd.DataFrame({"sentence": pd.Series(dtype="str")})
    extraction = _extraction(checkpoint, params)
    return features.encode_texts(queries, no_regions, store, backbone, extraction, run)


def _extraction(checkpoint: Checkpoint, params: ExtractionParams) -> features.FeatureParams:
    return features.FeatureParams(
        token_grid=checkpoint.spec["token_grid"],
        max_tokens=checkpoint.spec["max_tokens"],
        batch_size=params.batch_size,
        dtype=params.dtype,
    )


def embed_challenge(
    checkpoint: Checkpoint,
    backbone: Backbone,
    queries: pd.DataFrame,
    gallery: pd.DataFrame,
    params: EmbeddingParams,
    run: RunParams,
    **caches: FeatureCache,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Embed gallery and queries with the trained model."""
    from aquatint.training.launch import launch
    from aquatint.training.precision import prepare_device
    from aquatint.training.retrieval_data import RetrievalData
    from aquatint.training.retrieval_predictions import predict_test
    from aquatint.training.retrieval_samples import RetrievalCaches, RetrievalTables

    tables = RetrievalTables(*retrieval_tables(gallery, queries))
    data = RetrievalData(backbone, tables, RetrievalCaches(**caches))
    arguments = (checkpoint, data, params.batch_size, 0, prepare_device(run))
    found = launch(predict_test, arguments, run, data.caches.scratch)
    return found.image_embeds, found.text_embeds


def write_submission(image_embeds: pd.DataFrame, text_embeds: pd.DataFrame) -> str:
    """Rank the gallery for each query and write the ten nearest images down."""
    from aquatint.metrics.ranks import top_candidates
    from aquatint.training.retrieval_inference import embedding_matrix

    rows = top_candidates(embedding_matrix(text_embeds), embedding_matrix(image_embeds), NUM_RANKED)
    image_ids = image_embeds["image_id"].to_numpy()
    return format_submission(text_embeds["caption_id"].tolist(), image_ids[rows.numpy()].tolist())


def check_submission(
    submission: str, queries: pd.DataFrame, gallery: pd.DataFrame
) -> dict[str, Any]:
    """Stop at the first line that the organisers' checker would refuse."""
    validate_submission(submission, queries["query_id"].tolist(), gallery["image_id"].tolist())
    return {
        "is_valid": True,
        "ranked_images_per_query": NUM_RANKED,
        "n": {"queries": len(queries), "images": len(gallery)},
    }
