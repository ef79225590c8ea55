"""Metrics of cross-modal retrieval, computed from saved predictions and nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch

from aquatint.metrics.boxes import bbox_metrics
from aquatint.metrics.ranks import RetrievalRanks, ranks_after_reranking, retrieval_ranks
from aquatint.metrics.retrieval import RECALL_KS, chance_recall, recall_metrics, retrieval_metrics
from aquatint.metrics.spatial import spatial_metrics
from aquatint.training.retrieval_inference import embedding_matrix

_BOX = ["cx", "cy", "w", "h"]
# The published protocol counts any image of the right building; the strict one only the image.
LEVELS = {"building": "building_id", "image": "image_id"}


def evaluate_retrieval(
    image_embeds: pd.DataFrame, text_embeds: pd.DataFrame
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Rank every image for every caption and the reverse.

    Args:
        image_embeds: image_id, building_id and the embedding of each image.
        text_embeds: caption_id, image_id, building_id and the embedding of each caption.

    Returns:
        Metrics at building level (the published protocol), with the same at image level under
        ``image_level`` and chance beside each recall; and the rank of every query.
    """
    images, texts = embedding_matrix(image_embeds), embedding_matrix(text_embeds)
    by_level, tables = {}, []
    for level, column in LEVELS.items():
        groups = _number(image_embeds[column], text_embeds[column])
        ranks = retrieval_ranks(images, texts, *groups)
        by_level[level] = {**retrieval_metrics(ranks), "level": level}
        _add_chance(by_level[level], *groups)
        tables.append(_rank_table(ranks, image_embeds, text_embeds).assign(level=level))
    metrics = {**by_level["building"], "image_level": by_level["image"]}
    return metrics, pd.concat(tables, ignore_index=True)


def _number(image_names: pd.Series, text_names: pd.Series) -> tuple[torch.Tensor, torch.Tensor]:
    codes = {name: code for code, name in enumerate(dict.fromkeys(image_names))}
    return (
        torch.tensor([codes[name] for name in image_names]),
        torch.tensor([codes.get(name, -1) for name in text_names]),
    )


def _add_chance(
    metrics: dict[str, Any], image_groups: torch.Tensor, text_groups: torch.Tensor
) -> None:
    """Put the expected recall of a random ranking beside each recall."""
    sides = {
        "text_to_image": (text_groups, image_groups),
        "image_to_text": (image_groups, text_groups),
    }
    for direction, (queries, candidates) in sides.items():
        values, counts = torch.unique(candidates, return_counts=True)
        positives = dict(zip(values.tolist(), counts.tolist(), strict=True))
        num_positives = np.array([positives.get(group, 0) for group in queries.tolist()])
        for k in RECALL_KS:
            metrics[direction][f"chance_at_{k}"] = chance_recall(len(candidates), num_positives, k)
    chances = [metrics[d][f"chance_at_{k}"] for d in sides for k in RECALL_KS]
    metrics["chance_r_mean"] = None if None in chances else sum(chances) / len(chances)


def _rank_table(
    ranks: RetrievalRanks, image_embeds: pd.DataFrame, text_embeds: pd.DataFrame
) -> pd.DataFrame:
    sides = (
        ("image_to_text", image_embeds["image_id"], ranks.image_to_text),
        ("text_to_image", text_embeds["caption_id"], ranks.text_to_image),
    )
    return pd.concat(
        [
            pd.DataFrame({"direction": direction, "query_id": ids, "rank": values.numpy()})
            for direction, ids, values in sides
        ],
        ignore_index=True,
    )


def evaluate_reranking(
    image_embeds: pd.DataFrame, text_embeds: pd.DataFrame, match_scores: pd.DataFrame
) -> dict[str, Any] | None:
    """Metrics of text to image after the ITM head re-ordered each caption's nearest images.

    Args:
        image_embeds: As for ``evaluate_retrieval``.
        text_embeds: As for ``evaluate_retrieval``.
        match_scores: caption_id, image_id, candidate (counted from 0) and score.

    Returns:
        Recalls at building level with the number of candidates; None without scores.
    """
    if match_scores.empty:
        return None
    rows = {image_id: row for row, image_id in enumerate(image_embeds["image_id"])}
    top_k = int(match_scores["candidate"].max()) + 1
    ordered = match_scores.sort_values(["query", "candidate"], kind="stable")
    candidates = torch.tensor([rows[name] for name in ordered["image_id"]]).view(-1, top_k)
    scores = torch.tensor(ordered["score"].to_numpy(np.float32)).view(-1, top_k)
    groups = _number(image_embeds["building_id"], text_embeds["building_id"])
    base = retrieval_ranks(embedding_matrix(image_embeds), embedding_matrix(text_embeds), *groups)
    ranks = ranks_after_reranking(base.text_to_image, candidates, scores, groups[1], groups[0])
    return {"text_to_image": recall_metrics(ranks), "top_k": top_k}


def evaluate_boxes(boxes: pd.DataFrame, train_regions: pd.DataFrame) -> dict[str, Any]:
    """Metrics of predicted boxes, with the mean box of the training split as baseline.

    Args:
        boxes: Predicted and target boxes as ``predicted_cx``, ..., ``target_cx``, ...
        train_regions: Regions of the training split.
    """
    predicted, target = (
        torch.tensor(boxes[[f"{side}_{name}" for name in _BOX]].to_numpy(np.float32)).view(-1, 4)
        for side in ("predicted", "target")
    )
    mean = train_regions.loc[train_regions["has_box"], _BOX].mean().to_numpy(np.float32)
    baseline = torch.tensor(mean).expand_as(target)
    return {**bbox_metrics(predicted, target), "mean_box_baseline": bbox_metrics(baseline, target)}


def evaluate_relations(relations: pd.DataFrame) -> dict[str, Any]:
    """Metrics of predicted relations: joint, horizontal and vertical.

    Args:
        relations: ``horizontal``, ``vertical`` and the same with ``predicted_`` before them.
    """
    columns = {
        f"{axis}_{side}": relations[name].to_numpy(np.int64)
        for axis in ("horizontal", "vertical")
        for side, name in (("predicted", f"predicted_{axis}"), ("target", axis))
    }
    return spatial_metrics(**columns)
