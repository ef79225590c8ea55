"""Nodes of the inspection recipe: answer, train, evaluate, merge, export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from aquatint.features.cache import FeatureCache
from aquatint.models.backbone import Backbone
from aquatint.params import RunParams
from aquatint.pipelines.inspection.params import (
    BalanceParams,
    ClassParams,
    DecodingParams,
    PromptParams,
    SpatialMlpParams,
    TuneParams,
    ViewParams,
    plain,
)
from aquatint.training.checkpoint import Checkpoint
from aquatint.training.state import TrainingStateFolder


def bundle_inspection(
    backbone: Backbone,
    instances: pd.DataFrame,
    frames: pd.DataFrame,
    views: FeatureCache,
    prompts: pd.DataFrame | None = None,
) -> Any:  # noqa: ANN401 - InspectionData, whose module imports torch
    """Put tables, views and backbone together, as the library takes them."""
    from aquatint.training.dialogues import InspectionData

    return InspectionData(backbone, instances, frames, views, prompts)


def _decoding(params: DecodingParams) -> Any:  # noqa: ANN401 - Decoding, imported late
    from aquatint.training.answering_inference import Decoding

    return Decoding(**params.model_dump())


def answer_zero_shot(
    classes: ClassParams,
    params: DecodingParams,
    run: RunParams,
    **data: Any,  # noqa: ANN401 - the arguments of bundle_inspection
) -> pd.DataFrame:
    """Answer for the validation and the test split with the untouched backbone."""
    from aquatint.models.answering import AnsweringModel
    from aquatint.training.answering_inference import predict_splits
    from aquatint.training.precision import prepare_device

    bundle = bundle_inspection(**data)
    model = AnsweringModel(bundle.backbone.load(str(prepare_device(run))))
    return predict_splits(model, bundle, _decoding(params), list(classes.class_map))


def answer_finetune(
    checkpoint: Checkpoint,
    classes: ClassParams,
    params: DecodingParams,
    run: RunParams,
    **data: Any,  # noqa: ANN401 - the arguments of bundle_inspection
) -> pd.DataFrame:
    """Answer for the validation and the test split with the tuned model."""
    from aquatint.training.answering_inference import predict_splits
    from aquatint.training.answering_stage import restore_answering

    bundle = bundle_inspection(**data)
    model = restore_answering(bundle.backbone, checkpoint, run)
    return predict_splits(model, bundle, _decoding(params), list(classes.class_map))


def evaluate_answers(
    predictions: pd.DataFrame, instances: pd.DataFrame, classes: ClassParams
) -> dict[str, Any]:
    """Metrics of the test split, with those of the validation split under ``val``."""
    from aquatint.training.inspection_evaluation import evaluate_splits

    return evaluate_splits(predictions, instances, classes.class_map)


def probe_image_use(
    checkpoint: Checkpoint,
    classes: ClassParams,
    params: DecodingParams,
    run: RunParams,
    **data: Any,  # noqa: ANN401 - the arguments of bundle_inspection
) -> dict[str, Any]:
    """Accuracy with each object's own view, with a grey one, and with that of another object."""
    from aquatint.training.answering_inference import predict_without_images
    from aquatint.training.answering_stage import restore_answering
    from aquatint.training.image_use import evaluate_image_use

    bundle = bundle_inspection(**data)
    model = restore_answering(bundle.backbone, checkpoint, run)
    found = predict_without_images(model, bundle, _decoding(params), list(classes.class_map))
    return evaluate_image_use(found, bundle.instances)


def train_finetune(  # noqa: PLR0913 - typed parameters, which Kedro then validates
    states: TrainingStateFolder,
    classes: ClassParams,
    balance: BalanceParams,
    prompting: PromptParams,
    viewing: ViewParams,
    decoding: DecodingParams,
    params: TuneParams,
    run: RunParams,
    **data: Any,  # noqa: ANN401 - the arguments of bundle_inspection
) -> tuple[Checkpoint, pd.DataFrame]:
    """Train LoRA weights of the language model to name classes, on cached views."""
    from aquatint.training.answering_stage import train_answering
    from aquatint.training.launch import launch

    plan = tuning_plan(classes, balance, prompting, viewing, decoding, params)
    arguments = (plan, bundle_inspection(**data), run, states)
    return launch(train_answering, arguments, run, Path(states.root))


def tuning_plan(
    classes: ClassParams,
    balance: BalanceParams,
    prompting: PromptParams,
    viewing: ViewParams,
    decoding: DecodingParams,
    params: TuneParams,
) -> Any:  # noqa: ANN401 - AnsweringPlan, whose module imports torch
    """Put parameters together as the library takes them."""
    from aquatint.training.answering_losses import AnswerLosses
    from aquatint.training.answering_stage import AnsweringPlan
    from aquatint.training.balance import Balance

    rules = ("class_rule", "effective_number_beta", "condition_weights", "max_weight", "sampler")
    toggles = ("class_weighting", "condition_weighting", "oversampling")
    shown = ("kind", "margin", "min_pixels", "max_pixels", "dtype")
    return AnsweringPlan(
        params=params,
        lora=params.lora.model_dump(),
        balance=Balance(**plain(params, *rules), **plain(balance, *toggles)),
        losses=AnswerLosses(params.loss, params.focal_gamma, params.focal_alpha),
        decoding=_decoding(decoding),
        num_val=params.num_val,
        has_head=params.answer == "head",
        class_map=classes.class_map,
        style=prompting.model_dump(),
        views=plain(viewing, *shown),
    )


def merge_finetune(backbone: Backbone, checkpoint: Checkpoint, run: RunParams) -> Any:  # noqa: ANN401 - light
    """Fold the LoRA weights into the backbone, with proof that the outputs stay."""
    from aquatint.training.answering_export import merge_answering

    return merge_answering(backbone, checkpoint, run)


def export_finetune(backbone: Backbone, checkpoint: Checkpoint) -> Any:  # noqa: ANN401 - light
    """Write the LoRA weights as peft reads them."""
    from aquatint.training.answering_export import export_adapter

    return export_adapter(backbone, checkpoint)


def train_spatial_mlp(
    states: TrainingStateFolder,
    params: SpatialMlpParams,
    run: RunParams,
    **data: Any,  # noqa: ANN401 - the arguments of bundle_inspection
) -> tuple[Checkpoint, pd.DataFrame]:
    """Second mode: train a small network on frozen features, types and places."""
    from aquatint.training.spatial_stage import SpatialPlan, train_spatial

    fields = ("target", "hidden", "type_width", "dropout", "is_weighted")
    plan = SpatialPlan(params=params, **params.model_dump(include=set(fields)))
    return train_spatial(plan, bundle_inspection(**data), run, states)


def predict_spatial_mlp(
    checkpoint: Checkpoint,
    **data: Any,  # noqa: ANN401 - the arguments of bundle_inspection
) -> pd.DataFrame:
    """Answer for the test split with the second mode's network."""
    from aquatint.training.spatial_stage import predict_spatial

    return predict_spatial(checkpoint, bundle_inspection(**data), "test")


def evaluate_spatial_mlp(predictions: pd.DataFrame, instances: pd.DataFrame) -> dict[str, Any]:
    """Metrics of the second mode, beside what sees no image."""
    from aquatint.training.image_use import evaluate_spatial

    return evaluate_spatial(predictions, instances)
