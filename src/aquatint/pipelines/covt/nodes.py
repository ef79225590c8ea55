"""Nodes of the covt recipe: train, merge, write, decode, evaluate."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pandas as pd

from aquatint.features.cache import FeatureCache
from aquatint.models.backbone import Backbone
from aquatint.params import RunParams
from aquatint.pipelines.covt.params import (
    MergeParams,
    PixelParams,
    TrainParams,
    VisualModelParams,
    WritingParams,
)
from aquatint.training.checkpoint import Checkpoint
from aquatint.training.state import TrainingStateFolder

logger = logging.getLogger(__name__)


def _plan(
    stage: str, visual_models: VisualModelParams, pixels: PixelParams, params: TrainParams
) -> Any:  # noqa: ANN401 - ThoughtPlan, imported late
    from aquatint.training.covt_curriculum import Curriculum
    from aquatint.training.covt_stage import ThoughtPlan

    used = {"next_token", *visual_models.names} if params.curriculum else {"next_token"}
    weights = {name: weight for name, weight in params.loss_weights.items() if name in used}
    missing = sorted(used - set(weights))
    if missing:
        raise ValueError(f"loss_weights of {stage} needs {', '.join(missing)}.")
    return ThoughtPlan(
        stage=stage,
        params=params.model_copy(update={"loss_weights": weights}),
        lora=params.lora.model_dump(),
        num_tokens=visual_models.pairs,
        curriculum=Curriculum(**params.curriculum.model_dump()) if params.curriculum else None,
        image_px=pixels.image_px,
        num_context_turns=params.num_context_turns,
        sees_images=stage != "text_only",
        norm_axis=params.norm_axis,
        answer_weight=params.answer_weight,
    )


def _train(
    plan: Any,  # noqa: ANN401 - ThoughtPlan
    data: dict[str, Any],
    parent: Checkpoint | None,
    run: RunParams,
    states: TrainingStateFolder,
) -> tuple[Checkpoint, pd.DataFrame]:
    from aquatint.training.covt_samples import ThoughtData
    from aquatint.training.covt_stage import train_thoughts
    from aquatint.training.launch import launch

    arguments = (plan, ThoughtData(**data), parent, run, states)
    return launch(train_thoughts, arguments, run, Path(states.root))


def train_text_only(
    states: TrainingStateFolder,
    visual_models: VisualModelParams,
    seen: PixelParams,
    params: TrainParams,
    run: RunParams,
    **data: Any,  # noqa: ANN401 - the arguments of ThoughtData
) -> tuple[Checkpoint, pd.DataFrame]:
    """Train the same weights on questions without their images."""
    return _train(_plan("text_only", visual_models, seen, params), data, None, run, states)


def train_understanding(
    states: TrainingStateFolder,
    visual_models: VisualModelParams,
    seen: PixelParams,
    params: TrainParams,
    run: RunParams,
    **data: Any,  # noqa: ANN401 - the arguments of ThoughtData
) -> tuple[Checkpoint, pd.DataFrame]:
    """Stage 1: learn what anchors hold, their spans given behind the image."""
    return _train(_plan("stage1", visual_models, seen, params), data, None, run, states)


def train_thinking(
    states: TrainingStateFolder,
    stage1: Checkpoint,
    visual_models: VisualModelParams,
    seen: PixelParams,
    params: TrainParams,
    run: RunParams,
    **data: Any,  # noqa: ANN401 - the arguments of ThoughtData
) -> tuple[Checkpoint, pd.DataFrame]:
    """Stages 2 to 4: write spans, think in them, think in some of them."""
    return _train(_plan("stage234", visual_models, seen, params), data, stage1, run, states)


def merge_stage(
    backbone: Backbone, checkpoint: Checkpoint, params: MergeParams, run: RunParams
) -> Any:  # noqa: ANN401 - light
    """Fold a stage into its backbone, with proof that the outputs stay."""
    from aquatint.training.covt_merge import merge_thoughts

    return merge_thoughts(backbone, checkpoint, run, with_heads=params.with_heads)


def answer_questions(  # noqa: PLR0913 - one argument for each catalog entry
    turns: pd.DataFrame,
    pixels: FeatureCache,
    backbone: Backbone,
    text_only: Checkpoint,
    stage1: Backbone,
    stage234: Backbone,
    visual_models: VisualModelParams,
    seen: PixelParams,
    params: WritingParams,
    run: RunParams,
) -> pd.DataFrame:
    """Let every model answer the held-out questions, the trained one in every manner."""
    from aquatint.training.covt_answers import Examined, answer_all

    examined = Examined(backbone, text_only, stage1, stage234)
    sizes = (visual_models.pairs, seen.image_px)
    held_out = turns[turns["split"] == params.split].reset_index(drop=True)
    return answer_all(examined, held_out, pixels, sizes, _writing(params), run)


def _writing(params: WritingParams) -> Any:  # noqa: ANN401 - Writing, imported late
    from aquatint.training.covt_inference import Writing

    return Writing(params.max_new_tokens, params.batch_size, params.num_context_turns)


def decode_anchors(  # noqa: PLR0913 - one argument for each catalog entry
    turns: pd.DataFrame,
    images: pd.DataFrame,
    predictions: pd.DataFrame,
    pixels: FeatureCache,
    anchors: Any,  # noqa: ANN401 - AnchorTargets
    backbone: Backbone,
    checkpoint: Checkpoint,
    params: WritingParams,
    run: RunParams,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Decode thoughts to maps; return their errors, beside predictors that see no image."""
    from aquatint.training.covt_anchor_evaluation import Decoding, evaluate_anchors

    decoding = Decoding(_writing(params), params.split, params.num_constant_steps, params.num_maps)
    models = (backbone, checkpoint)
    return evaluate_anchors(models, (turns, images, predictions), pixels, anchors, decoding, run)


def evaluate_thoughts(
    predictions: pd.DataFrame,
    anchor_errors: pd.DataFrame,
    turns: pd.DataFrame,
    params: WritingParams,
) -> dict[str, Any]:
    """Accuracies, emission, anchors, ablations and costs; warns if thoughts have gone."""
    from aquatint.training.covt_evaluation import evaluate

    metrics = evaluate(predictions, anchor_errors, turns)
    emission = metrics["emission"]["thinking"]["emission_score"]
    if emission < params.min_emission:
        logger.warning(
            "ONLY %.1f %% OF RESPONSES HOLD A VISUAL THOUGHT when the model is made to begin one, "
            "min_emission is %.1f %%. It answers directly: look at the stages' samples and at "
            "covt.stage234.train.curriculum.",
            100 * emission,
            100 * params.min_emission,
        )
    return metrics
