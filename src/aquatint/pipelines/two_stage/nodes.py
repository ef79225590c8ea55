"""Nodes of the two-stage recipe: train, predict, evaluate, merge, compare."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from aquatint.features.cache import FeatureCache, FeatureStore
from aquatint.models.backbone import Backbone
from aquatint.nodes.features import FeatureParams
from aquatint.params import RunParams
from aquatint.pipelines.two_stage.params import (
    AlignmentParams,
    ModelParams,
    PredictionParams,
    RefinementParams,
    RobustnessParams,
)
from aquatint.pipelines.two_stage.plans import alignment_plan, refinement_plan
from aquatint.training.checkpoint import Checkpoint
from aquatint.training.state import TrainingStateFolder

Inputs = dict[str, Any]


def bundle_data(  # noqa: PLR0913 - one argument for each catalog entry
    backbone: Backbone,
    images: pd.DataFrame,
    captions: pd.DataFrame,
    regions: pd.DataFrame,
    relations: pd.DataFrame,
    image_features: FeatureCache,
    text_features: FeatureCache,
    pixels: FeatureCache,
    store: FeatureStore | None = None,
) -> Any:  # noqa: ANN401 - RetrievalData, whose module imports torch
    """Put tables, features and backbone together, as the library takes them."""
    from aquatint.training.retrieval_data import RetrievalData
    from aquatint.training.retrieval_samples import RetrievalCaches, RetrievalTables

    return RetrievalData(
        backbone,
        RetrievalTables(images, captions, regions, relations),
        RetrievalCaches(image_features, text_features, pixels),
        store,
    )


def train_alignment(
    states: TrainingStateFolder,
    features: FeatureParams,
    model: ModelParams,
    params: AlignmentParams,
    run: RunParams,
    **data: Any,  # noqa: ANN401 - the arguments of bundle_data
) -> tuple[Checkpoint, pd.DataFrame]:
    """Stage 1: train adapters, projections and the ITM head on cached features."""
    from aquatint.training.launch import launch
    from aquatint.training.retrieval_stage import train_retrieval

    bundle = bundle_data(**data)
    plan = alignment_plan(bundle.backbone, features, model, params)
    return launch(train_retrieval, (plan, bundle, None, run, states), run, Path(states.root))


def train_refinement(
    stage1: Checkpoint,
    states: TrainingStateFolder,
    features: FeatureParams,
    model: ModelParams,
    params: RefinementParams,
    run: RunParams,
    **data: Any,  # noqa: ANN401 - the arguments of bundle_data
) -> tuple[Checkpoint, pd.DataFrame]:
    """Stage 2: carry every tensor of stage 1 over and train on all tasks; ``stage1`` is kept."""
    return _train_all_tasks("stage2", stage1, states, features, model, params, run, data)


def train_single_stage(
    states: TrainingStateFolder,
    features: FeatureParams,
    model: ModelParams,
    params: RefinementParams,
    run: RunParams,
    **data: Any,  # noqa: ANN401 - the arguments of bundle_data
) -> tuple[Checkpoint, pd.DataFrame]:
    """The baseline: stage 2's model from fresh weights, all losses at once from the start."""
    return _train_all_tasks("baseline", None, states, features, model, params, run, data)


def _train_all_tasks(  # noqa: PLR0913 - what its two callers are given
    name: str,
    parent: Checkpoint | None,
    states: TrainingStateFolder,
    features: FeatureParams,
    model: ModelParams,
    params: RefinementParams,
    run: RunParams,
    data: Inputs,
) -> tuple[Checkpoint, pd.DataFrame]:
    from aquatint.training.launch import launch
    from aquatint.training.retrieval_stage import train_retrieval

    bundle = bundle_data(**data)
    plan = refinement_plan(name, bundle.backbone, features, model, params)
    return launch(train_retrieval, (plan, bundle, parent, run, states), run, Path(states.root))


def embed_zero_shot(
    features: FeatureParams,
    params: PredictionParams,
    model: ModelParams,
    run: RunParams,
    **data: Any,  # noqa: ANN401 - the arguments of bundle_data
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Embed the test split with the untouched backbone: projected image tokens, text states."""
    from aquatint.training.launch import launch
    from aquatint.training.precision import prepare_device
    from aquatint.training.retrieval_predictions import predict_zero_shot

    bundle = bundle_data(**data)
    pooling = model.vision_pooling, model.text_pooling
    arguments = (bundle, features.max_tokens, pooling, params.batch_size, prepare_device(run))
    return launch(predict_zero_shot, arguments, run, bundle.caches.scratch)


def embed_test(
    checkpoint: Checkpoint,
    params: PredictionParams,
    run: RunParams,
    **data: Any,  # noqa: ANN401 - the arguments of bundle_data
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Embed the test split with a trained model and score the nearest images by matching."""
    found = _predict(checkpoint, params, run, data)
    return found.image_embeds, found.text_embeds, found.match_scores


def predict_test_tasks(
    checkpoint: Checkpoint,
    params: PredictionParams,
    run: RunParams,
    **data: Any,  # noqa: ANN401 - the arguments of bundle_data
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Embed the test split, and predict the boxes of sentences and the relations of boxes."""
    found = _predict(checkpoint, params, run, data)
    return (
        found.image_embeds,
        found.text_embeds,
        found.match_scores,
        found.boxes,
        found.relations,
    )


def _predict(checkpoint: Checkpoint, params: PredictionParams, run: RunParams, data: Inputs) -> Any:  # noqa: ANN401 - Predictions, whose module imports torch
    from aquatint.training.launch import launch
    from aquatint.training.precision import prepare_device
    from aquatint.training.retrieval_predictions import predict_test

    bundle = bundle_data(**data)
    device = prepare_device(run)
    arguments = (checkpoint, bundle, params.batch_size, params.rerank_top_k, device)
    return launch(predict_test, arguments, run, bundle.caches.scratch)


def evaluate_embeds(
    image_embeds: pd.DataFrame, text_embeds: pd.DataFrame
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Metrics and ranks of retrieval."""
    from aquatint.training.retrieval_evaluation import evaluate_retrieval

    return evaluate_retrieval(image_embeds, text_embeds)


def evaluate_alignment(
    image_embeds: pd.DataFrame, text_embeds: pd.DataFrame, match_scores: pd.DataFrame
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Metrics and ranks of retrieval, re-ranking included."""
    from aquatint.training.retrieval_evaluation import evaluate_reranking

    metrics, ranks = evaluate_embeds(image_embeds, text_embeds)
    return {
        **metrics,
        "reranked": evaluate_reranking(image_embeds, text_embeds, match_scores),
    }, ranks


def evaluate_tasks(
    image_embeds: pd.DataFrame,
    text_embeds: pd.DataFrame,
    match_scores: pd.DataFrame,
    boxes: pd.DataFrame,
    relations: pd.DataFrame,
    regions: pd.DataFrame,
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Metrics of all tasks, and the ranks of retrieval."""
    from aquatint.training.retrieval_evaluation import evaluate_boxes, evaluate_relations

    metrics, ranks = evaluate_alignment(image_embeds, text_embeds, match_scores)
    train_regions = regions[regions["split"] == "train"]
    tasks = {
        "bbox": evaluate_boxes(boxes, train_regions),
        "spatial": evaluate_relations(relations),
    }
    return {**metrics, **tasks}, ranks


def merge_stage2_lora(backbone: Backbone, checkpoint: Checkpoint) -> Any:  # noqa: ANN401 - light
    """Fold stage 2's LoRA weights into the backbone, with proof that the outputs stay."""
    from aquatint.training.merge import merge_checkpoint

    return merge_checkpoint(backbone, checkpoint)


def evaluate_robustness(
    checkpoint: Checkpoint,
    params: RobustnessParams,
    run: RunParams,
    **data: Any,  # noqa: ANN401 - the arguments of bundle_data
) -> pd.DataFrame:
    """Recall of text to image with corrupted test images, by corruption and severity."""
    from aquatint.training.launch import launch
    from aquatint.training.precision import prepare_device
    from aquatint.training.retrieval_predictions import corrupted_recalls

    grid = [(kind, level) for kind in params.corruptions for level in params.severities]
    bundle = bundle_data(**data)
    arguments = (checkpoint, bundle, grid, params.batch_size, prepare_device(run))
    return launch(corrupted_recalls, arguments, run, bundle.caches.scratch)
