"""Nodes of the stages: train, hand over, merge, predict, evaluate, export, fly."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pandas as pd

from aquatint.data.sources import RobotRecordings
from aquatint.features.cache import FeatureCache
from aquatint.models.backbone import Backbone
from aquatint.params import RunParams
from aquatint.pipelines.vla.ingest import frame_style
from aquatint.pipelines.vla.params import (
    ArchitectureParams,
    FrameParams,
    PredictionParams,
    RolloutParams,
    SampleParams,
    TrainParams,
)
from aquatint.training.checkpoint import Checkpoint
from aquatint.training.state import TrainingStateFolder

logger = logging.getLogger(__name__)


def bundle_vla(  # noqa: PLR0913 - one argument for each catalog entry
    backbone: Backbone,
    episodes: pd.DataFrame,
    frames: FeatureCache,
    prompts: FeatureCache,
    windows: FeatureCache,
    normaliser: dict[str, Any],
    viewing: FrameParams,
    architecture: ArchitectureParams,
    sampling: SampleParams,
) -> Any:  # noqa: ANN401 - VlaData, whose module imports torch
    """Put steps, caches, scales and backbone together, as the library takes them."""
    from aquatint.training.vla_data import ChunkRules, VlaData

    rules = ChunkRules(horizon=architecture.expert.horizon, **sampling.model_dump(mode="python"))
    style = frame_style(viewing)
    return VlaData(backbone, episodes, frames, prompts, windows, normaliser, style, rules)


def _train(  # noqa: PLR0913 - what the three trainings share
    stage: str,
    states: TrainingStateFolder,
    architecture: ArchitectureParams,
    params: TrainParams,
    run: RunParams,
    data: Any,  # noqa: ANN401 - VlaData
    *,
    parent: Checkpoint | None = None,
) -> tuple[Checkpoint, pd.DataFrame]:
    from aquatint.training.launch import launch
    from aquatint.training.vla_stage import VlaPlan, train_vla

    mode = data.normaliser["action"]["mode"]
    if (
        architecture.kind == "diffusion"
        and architecture.diffusion.clip_sample
        and mode != "min_max"
    ):
        raise ValueError(
            f"clip_sample cuts samples to [-1, 1], but data.normaliser.action is {mode}: most "
            "actions would be cut. Take min_max, or clip_sample: false."
        )
    policy = policy_of(data, architecture, sees=stage != "state_only")
    groups = (["sensor"] if policy["sensor"] else []) + (
        ["vl"] if params.finetune_vl != "none" else []
    )
    opening = {
        "mode": params.finetune_vl,
        "lora": params.lora.model_dump(),
        "num_blocks": params.num_blocks,
    }
    plan = VlaPlan(stage, params.stage(tuple(groups)), policy, opening, params.num_val)
    arguments = (plan, data, run, states, parent)
    return launch(train_vla, arguments, run, Path(states.root))


def policy_of(data: Any, architecture: ArchitectureParams, *, sees: bool) -> dict[str, Any]:  # noqa: ANN401
    """Arguments of the policy, its widths read from backbone and scales."""
    from aquatint.features.robot_frames import num_positions

    width = int(data.backbone.load_config().text_config.hidden_size) if sees else 0
    scales = data.normaliser["action"]["names"], data.normaliser["state"]["names"]
    places = num_positions(data.steps, data.style)
    return architecture.policy(width, len(scales[0]), len(scales[1]), places)


def train_stage1(
    states: TrainingStateFolder,
    architecture: ArchitectureParams,
    params: TrainParams,
    run: RunParams,
    viewing: FrameParams,
    sampling: SampleParams,
    **data: Any,  # noqa: ANN401 - the arguments of bundle_vla
) -> tuple[Checkpoint, pd.DataFrame]:
    """Train sensor encoder and action expert on cached features; the backbone stays frozen."""
    if params.finetune_vl != "none":
        logger.warning(
            "Stage 1 should use finetune-vl=none: finetune_vl %s is not used.", params.finetune_vl
        )
        params = params.model_copy(update={"finetune_vl": "none"})
    bundle = bundle_vla(**data, viewing=viewing, architecture=architecture, sampling=sampling)
    return _train("stage1", states, architecture, params, run, bundle)


def check_handover(
    stage1: Checkpoint,
    backbone: Backbone,
    episodes: pd.DataFrame,
    normaliser: dict[str, Any],
    architecture: ArchitectureParams,
    viewing: FrameParams,
) -> dict[str, Any]:
    """Compare the stage-1 checkpoint with what stage 2 builds, tensor by tensor."""
    from aquatint.features.robot_frames import num_positions
    from aquatint.training.vla_stage import compare_handover

    width = int(backbone.load_config().text_config.hidden_size)
    widths = (len(normaliser[kind]["names"]) for kind in ("action", "state"))
    action_width, state_width = widths
    places = num_positions(episodes, frame_style(viewing))
    policy = architecture.policy(width, action_width, state_width, places)
    return compare_handover(stage1, policy)


def train_stage2(  # noqa: PLR0913 - one argument for each catalog entry
    states: TrainingStateFolder,
    stage1: Checkpoint,
    handover: dict[str, Any],
    architecture: ArchitectureParams,
    params: TrainParams,
    run: RunParams,
    viewing: FrameParams,
    sampling: SampleParams,
    **data: Any,  # noqa: ANN401 - the arguments of bundle_vla
) -> tuple[Checkpoint, pd.DataFrame]:
    """Train the language model's LoRA weights with sensor encoder and action expert of stage 1."""
    if handover["stage1"] != stage1.digest:
        raise ValueError(
            "Stage 2 begins with a checkpoint that check_handover did not see; run --tags=stage2."
        )
    bundle = bundle_vla(**data, viewing=viewing, architecture=architecture, sampling=sampling)
    return _train("stage2", states, architecture, params, run, bundle, parent=stage1)


def train_state_only(
    states: TrainingStateFolder,
    architecture: ArchitectureParams,
    params: TrainParams,
    run: RunParams,
    viewing: FrameParams,
    sampling: SampleParams,
    **data: Any,  # noqa: ANN401 - the arguments of bundle_vla
) -> tuple[Checkpoint, pd.DataFrame]:
    """Train the same expert on the robot's state alone: what needs neither eyes nor words."""
    bundle = bundle_vla(**data, viewing=viewing, architecture=architecture, sampling=sampling)
    return _train("state_only", states, architecture, params, run, bundle)


def predict_policy(
    checkpoint: Checkpoint,
    architecture: ArchitectureParams,
    params: PredictionParams,
    run: RunParams,
    viewing: FrameParams,
    sampling: SampleParams,
    **data: Any,  # noqa: ANN401 - the arguments of bundle_vla
) -> pd.DataFrame:
    """Predict chunks for steps of the validation and the test split."""
    from aquatint.training.vla_predict import predict_chunks

    bundle = bundle_vla(**data, viewing=viewing, architecture=architecture, sampling=sampling)
    splits = ("val", "test")
    return predict_chunks(checkpoint, bundle, run, splits, params.stride, params.batch_size)


def evaluate_policy(
    predictions: pd.DataFrame, episodes: pd.DataFrame, normaliser: dict[str, Any]
) -> dict[str, Any]:
    """Errors of predicted chunks, beside policies that need no model."""
    from aquatint.training.vla_evaluation import evaluate_chunks

    return evaluate_chunks(predictions, episodes, normaliser)


def probe_policy(
    checkpoint: Checkpoint,
    architecture: ArchitectureParams,
    params: PredictionParams,
    run: RunParams,
    viewing: FrameParams,
    sampling: SampleParams,
    **data: Any,  # noqa: ANN401 - the arguments of bundle_vla
) -> dict[str, Any]:
    """Errors without the sensor, on a random prior, and the spread of a diffusion's samples."""
    from aquatint.training.vla_evaluation import probe_policy as probe

    bundle = bundle_vla(**data, viewing=viewing, architecture=architecture, sampling=sampling)
    return probe(checkpoint, bundle, run, params.stride, params.batch_size)


def merge_policy(backbone: Backbone, checkpoint: Checkpoint, run: RunParams) -> Any:  # noqa: ANN401 - light
    """Fold what stage 2 trained in the backbone into it, with proof that outputs stay."""
    from aquatint.training.vla_merge import merge_vla

    return merge_vla(backbone, checkpoint, run)


def export_policy(
    checkpoint: Checkpoint,
    merged: Backbone,
    episodes: pd.DataFrame,
    viewing: FrameParams,
    params: RolloutParams,
) -> Any:  # noqa: ANN401 - PolicyExport, imported late
    """Write a policy that select_action runs on one robot."""
    from aquatint.training.vla_export import export_policy as export

    num_views = len(viewing.views) or len(episodes["views"].iloc[0])
    settings = {
        "num_views": num_views,
        "dtype": viewing.dtype,
        "num_executed_actions": params.num_executed_actions,
    }
    return export(checkpoint, merged, settings)


def write_checkpoints(
    stage1: Checkpoint,
    stage1_history: pd.DataFrame,
    stage2: Checkpoint,
    stage2_history: pd.DataFrame,
) -> tuple[Any, Any, dict[str, Any]]:
    """Arrange both checkpoints by the source's keys, and list what they hold."""
    from aquatint.training.vla_export import inspect_checkpoint, source_checkpoint

    exports = [source_checkpoint(stage1, stage1_history), source_checkpoint(stage2, stage2_history)]
    listed = {
        checkpoint.lineage["stage"]: inspect_checkpoint(checkpoint, export.content)
        for checkpoint, export in zip((stage1, stage2), exports, strict=True)
    }
    return exports[0], exports[1], listed


def measure_policy(
    policy: str,
    recordings: RobotRecordings,
    episodes: pd.DataFrame,
    params: PredictionParams,
    run: RunParams,
) -> dict[str, Any]:
    """Run the exported policy on one recorded observation and time its decision."""
    from aquatint.training.vla_latency import measure_export

    return measure_export(
        Path(policy), Path(recordings.root), episodes, run, params.latency_repeats
    )


def fly_policies(  # noqa: PLR0913 - one argument for each catalog entry
    simulator: Any,  # noqa: ANN401 - None where there is none
    backbone: Backbone,
    state_only: Checkpoint,
    stage1: Checkpoint,
    stage2: Checkpoint,
    viewing: FrameParams,
    params: RolloutParams,
    run: RunParams,
) -> pd.DataFrame:
    """Fly expert, baselines and both stages from the same starts, in the same wind."""
    from aquatint.training.vla_rollout import RunRule, fly_all, no_runs

    if simulator is None:
        return no_runs()
    checkpoints = {"state_only": state_only, "stage1": stage1, "stage2": stage2}
    loop = RunRule(params.num_runs, params.num_executed_actions, "stage2", viewing.dtype)
    return fly_all(simulator, backbone, checkpoints, loop, run)


def evaluate_flights(runs: pd.DataFrame) -> dict[str, Any]:
    """Success, final errors and path lengths of every policy, with intervals."""
    from aquatint.training.vla_rollout import evaluate_rollouts

    return evaluate_rollouts(runs, "stage2")
