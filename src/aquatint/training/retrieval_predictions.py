"""Predictions of a checkpoint, or of the untouched backbone, on the test split, as tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from tqdm import tqdm

from aquatint.collective import gather_json, hides_bars, share_rows
from aquatint.data.corruptions import Corruption, corrupt
from aquatint.metrics.ranks import retrieval_ranks
from aquatint.metrics.retrieval import recall_metrics
from aquatint.models.pixels import PixelNormalizer
from aquatint.models.retrieval_model import RetrievalModel
from aquatint.training.checkpoint import Checkpoint
from aquatint.training.retrieval_data import RetrievalData, building_groups
from aquatint.training.retrieval_inference import (
    Encoded,
    embedding_table,
    encode_rows,
    encode_split,
    predict_boxes,
    predict_relations,
    score_matches,
)
from aquatint.training.retrieval_models import restore_model
from aquatint.training.retrieval_samples import CLOSED, LIVE, RetrievalSources, RetrievalTables

_IMAGE_IDS = ["image_id", "building_id"]
_CAPTION_IDS = ["caption_id", "image_id", "building_id"]


class Predictions(NamedTuple):
    """Everything that metrics of a retrieval model are computed from.

    Attributes:
        image_embeds: image_id, building_id and the embedding of each image.
        text_embeds: caption_id, image_id, building_id and the embedding of each caption.
        match_scores: query and candidate (counted from 0), caption_id, image_id, score.
        boxes: Predicted and target box of each located sentence; empty without the head.
        relations: Predicted and target relation of each ordered pair; empty without the head.
    """

    image_embeds: pd.DataFrame
    text_embeds: pd.DataFrame
    match_scores: pd.DataFrame
    boxes: pd.DataFrame
    relations: pd.DataFrame


def predict_test(
    checkpoint: Checkpoint,
    data: RetrievalData,
    batch_size: int,
    rerank_top_k: int,
    device: torch.device,
) -> Predictions:
    """Apply a checkpoint to the test split.

    Args:
        checkpoint: Any stage's checkpoint.
        data: Tables, features and the backbone that the checkpoint was trained on.
        batch_size: Images, and texts, of one forward pass.
        rerank_top_k: Images of each caption to score by matching; 0 for none.
        device: Where to compute.
    """
    model, tables, sources = _restore(checkpoint, data, device)
    encoded = _encode(model, tables, sources, checkpoint, batch_size)
    has_tasks = checkpoint.spec["heads"]["is_enhanced"]
    num_captions = len(tables.captions)
    return Predictions(
        embedding_table(tables.images[_IMAGE_IDS], encoded.image_embeds),
        embedding_table(tables.captions[_CAPTION_IDS], encoded.text_embeds[:num_captions]),
        _match_table(model, encoded, tables, rerank_top_k),
        predict_boxes(model, encoded, tables) if has_tasks else pd.DataFrame(),
        predict_relations(model, encoded, tables) if has_tasks else pd.DataFrame(),
    )


def _restore(
    checkpoint: Checkpoint, data: RetrievalData, device: torch.device
) -> tuple[RetrievalModel, RetrievalTables, RetrievalSources]:
    model = restore_model(data.backbone, checkpoint).to(device)
    return model, *data.sources("test", checkpoint.spec["max_tokens"])


def _encode(
    model: RetrievalModel,
    tables: RetrievalTables,
    sources: RetrievalSources,
    checkpoint: Checkpoint,
    batch_size: int,
) -> Encoded:
    return encode_split(
        model,
        sources,
        len(tables.images),
        len(tables.captions) + len(tables.located_regions),
        batch_size=batch_size,
        # Cached tokens are those of the untouched backbone; a trained one has to run.
        entry=CLOSED if checkpoint.spec["mode"] == "none" else LIVE,
    )


def _match_table(
    model: RetrievalModel, encoded: Encoded, tables: RetrievalTables, top_k: int
) -> pd.DataFrame:
    columns = ["query", "candidate", "caption_id", "image_id", "score"]
    if top_k == 0:
        return pd.DataFrame({name: [] for name in columns})
    candidates, scores = score_matches(model, encoded, len(tables.captions), top_k)
    queries, ranks = np.indices(candidates.shape)
    image_ids = tables.images["image_id"].to_numpy()
    values = (
        queries.ravel(),
        ranks.ravel(),
        tables.captions["caption_id"].to_numpy()[queries.ravel()],
        image_ids[candidates.ravel()],
        scores.ravel(),
    )
    return pd.DataFrame(dict(zip(columns, values, strict=True)))


@torch.inference_mode()
def predict_zero_shot(
    data: RetrievalData,
    max_tokens: int,
    pooling: tuple[str, str],
    batch_size: int,
    device: torch.device,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Embed the test split with the backbone as it is, no trained part in between.

    Images are pooled over the tokens that the backbone's own projector hands to its language
    model, so that both sides have the language model's width. Ranks share the images.

    Args:
        data: Tables, features and backbone.
        max_tokens: Longest text, its end included.
        pooling: Vision pooling (the projector drops the class token, so always the mean is
            taken) and text pooling: ``last``, ``eos`` or ``mean``.
        batch_size: Images of one forward pass.
        device: Where to compute.

    Returns:
        Tables of image and text embeddings.
    """
    tables, sources = data.sources("test", max_tokens)
    model = data.backbone.load(str(device))
    normalize = PixelNormalizer(*data.backbone.image_statistics).to(device)

    def pool_images(rows: np.ndarray) -> tuple[torch.Tensor]:
        inputs = normalize(sources.pixels(rows).to(device)).to(model.dtype)
        tokens = model.model.get_image_features(pixel_values=inputs).pooler_output
        return (tokens.float().mean(dim=1).cpu(),)

    (images,) = encode_rows(len(tables.images), batch_size, "encode images", pool_images)
    rows = np.arange(len(tables.captions))
    parts = np.array_split(rows, -(-len(rows) // batch_size))
    texts = torch.cat([_pool_states(sources, part, pooling[1]) for part in parts])
    return (
        embedding_table(tables.images[_IMAGE_IDS], F.normalize(images, dim=-1)),
        embedding_table(tables.captions[_CAPTION_IDS], F.normalize(texts, dim=-1)),
    )


def _pool_states(sources: RetrievalSources, rows: np.ndarray, pooling: str) -> torch.Tensor:
    """Pool cached hidden states of texts: (N, D)."""
    mask = sources.attention_mask[rows]
    tokens = sources.cached_texts(rows, mask.shape[1])
    ends = mask.sum(dim=1) - 1
    if pooling == "mean":
        inside = (torch.arange(mask.shape[1]) < ends[:, None]).float()[..., None]
        return (tokens * inside).sum(dim=1) / inside.sum(dim=1)
    return tokens[torch.arange(len(rows)), ends - (1 if pooling == "last" else 0)]


@torch.inference_mode()
def corrupted_recalls(
    checkpoint: Checkpoint,
    data: RetrievalData,
    corruptions: Sequence[tuple[Corruption, int]],
    batch_size: int,
    device: torch.device,
) -> pd.DataFrame:
    """Measure text-to-image retrieval on corrupted test images; ranks share the corruptions.

    Args:
        checkpoint: Any stage's checkpoint.
        data: Tables, features and backbone.
        corruptions: Kind and severity (1 to 5) of each row of the result.
        batch_size: Images of one forward pass.
        device: Where to compute.

    Returns:
        corruption, severity (0 for clean images), recall_at_1, recall_at_10, its interval, n.
    """
    model, tables, sources = _restore(checkpoint, data, device)
    encoded = _encode(model, tables, sources, checkpoint, batch_size)
    groups = building_groups(tables)
    texts = encoded.text_embeds[: len(tables.captions)]
    parts = np.array_split(np.arange(len(tables.images)), -(-len(tables.images) // batch_size))
    rows = []
    # None for the clean images, which the others are compared with.
    kinds: list[tuple[Corruption | None, int]] = [(None, 0), *corruptions]
    mine = kinds[share_rows(len(kinds))]
    for kind, severity in tqdm(mine, desc="corruptions", disable=hides_bars(), leave=False):
        embeds = []
        for part in parts:
            pixels = sources.pixels(part).numpy()
            # The first row in the seed: no two batches share their draws.
            seed = severity * 10_000_000 + int(part[0])
            changed = pixels if kind is None else corrupt(pixels, kind, severity, seed)
            tokens = model.encode_pixels(torch.from_numpy(changed).to(device))
            embeds.append(model.heads.encode_image(tokens).embeds)
        ranks = retrieval_ranks(torch.cat(embeds).cpu(), texts, *groups)
        metrics = recall_metrics(ranks.text_to_image)
        rows.append(
            {
                "corruption": kind or "clean",
                "severity": severity,
                **{f"recall_at_{k}": metrics[f"recall_at_{k}"] for k in (1, 5, 10)},
                "recall_at_10_low": metrics["recall_at_10_interval"][0],
                "recall_at_10_high": metrics["recall_at_10_interval"][1],
                "n": metrics["n"],
            }
        )
    return pd.DataFrame([row for part in gather_json(rows) for row in part])
