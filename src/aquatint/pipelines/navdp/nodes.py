"""Nodes of the NavDP recipe: read, encode, train, sample, judge, fly, report."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd

from aquatint.data.sources import PathRecordings
from aquatint.features.cache import FeatureCache, FeatureStore
from aquatint.params import RunParams
from aquatint.pipelines.navdp.params import (
    FanParams,
    LabelParams,
    ModelParams,
    PolicyParams,
    ReadingParams,
    ReportParams,
    RolloutParams,
    SightParams,
)
from aquatint.training.checkpoint import Checkpoint
from aquatint.training.state import TrainingStateFolder


def read_path_recordings(
    recordings: PathRecordings, params: ReadingParams
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """Read paths, frames and obstacles; return them, rejects, and what was counted."""
    from aquatint.data.navdp_paths import PathReadRule, read_paths
    from aquatint.data.navdp_tables import summarise_paths

    values = params.model_dump(exclude={"splits"}) | params.splits.model_dump()
    index = Path(recordings.index_file) if recordings.index_file else None
    found = read_paths(Path(recordings.root), PathReadRule(**values), index)
    return found.paths, found.frames, found.obstacles, found.rejects, summarise_paths(found)


def encode_rgb(  # noqa: PLR0913 - one argument for each catalog entry
    recordings: PathRecordings,
    frames: pd.DataFrame,
    store: FeatureStore,
    encoder: Any,  # noqa: ANN401 - TeacherSource, whose module imports torch
    params: SightParams,
    reading: ReadingParams,
    run: RunParams,
) -> FeatureCache:
    """Run the frozen encoder once over every picture."""
    from aquatint.features.navdp import cache_rgb
    from aquatint.training.precision import prepare_device

    device = str(prepare_device(run))
    sight = build_sight(params, reading)
    root = Path(recordings.root)
    return cache_rgb(store, encoder, root, frames, sight, device, params.batch_size)


def build_sight(params: SightParams, reading: ReadingParams) -> Any:  # noqa: ANN401 - FrameSight
    """Say how frames become features."""
    from aquatint.features.navdp import FrameSight

    return FrameSight(
        params.token_grid, params.depth_px, params.picture_px, reading.min_depth_m,
        reading.max_depth_m,
    )  # fmt: skip


def fit_depth(
    recordings: PathRecordings,
    frames: pd.DataFrame,
    store: FeatureStore,
    params: SightParams,
    reading: ReadingParams,
) -> FeatureCache:
    """Bring every depth image to its range and size."""
    from aquatint.features.navdp import cache_depth

    sight = build_sight(params, reading)
    root = Path(recordings.root)
    return cache_depth(store, root, frames, sight, reading.depth_units_per_m)


def shrink_pictures(
    recordings: PathRecordings,
    frames: pd.DataFrame,
    store: FeatureStore,
    params: SightParams,
    reading: ReadingParams,
) -> FeatureCache:
    """Shrink every picture to the size in which goals are told."""
    from aquatint.features.navdp import cache_pictures

    return cache_pictures(store, Path(recordings.root), frames, build_sight(params, reading))


def bundle_paths(**data: Any) -> Any:  # noqa: ANN401 - NavDpData, whose module imports torch
    """Put tables and caches together, as the library takes them."""
    from aquatint.training.navdp_samples import NavDpData

    return NavDpData(**data)


def build_labels(params: LabelParams, model: ModelParams) -> Any:  # noqa: ANN401 - LabelRule
    """Say how frames become samples."""
    from aquatint.data.navdp_labels import CriticRule
    from aquatint.training.navdp_samples import LabelRule

    return LabelRule(
        horizon=params.predict_size,
        stride=params.sample_stride,
        memory_size=params.memory_size,
        memory_stride=params.memory_stride,
        action_scale=params.action_scale,
        max_step_m=params.max_step_m,
        end_goal_share=params.end_goal_share,
        max_rotation_rad=math.radians(params.max_rotation_deg),
        critic=CriticRule(**params.critic.model_dump()),
        num_timesteps=model.diffusion.num_train_timesteps,
    )


def build_model_spec(params: ModelParams, horizon: int) -> dict[str, Any]:
    """Sizes of the policy that data do not decide, by the names of its arguments."""
    return {
        "queries_per_frame": params.queries_per_frame,
        "width": params.token_dim,
        "num_reader_blocks": params.num_reader_blocks,
        "depth_encoder": params.depth_encoder.model_dump(exclude_none=True),
        "goal_encoder": params.goal_encoder.model_dump(exclude_none=True),
        "decoder": {
            "horizon": horizon,
            "num_blocks": params.temporal_depth,
            "num_heads": params.num_heads,
            "feedforward_width": params.feedforward_width,
            "dropout": params.dropout,
        },
        "diffusion": params.diffusion.model_dump(),
    }


def train_navdp(
    states: TrainingStateFolder,
    encoder: Any,  # noqa: ANN401 - TeacherSource, whose module imports torch
    params: PolicyParams,
    run: RunParams,
    **data: Any,  # noqa: ANN401 - the arguments of bundle_paths
) -> tuple[Checkpoint, pd.DataFrame]:
    """Train the policy and its critic."""
    from aquatint.training.launch import launch
    from aquatint.training.navdp_stage import NavDpPlan, train_policy

    plan = NavDpPlan(
        params,
        build_labels(params.labels, params.model),
        build_model_spec(params.model, params.labels.predict_size),
        params.repeat_factor,
        params.sample_percent,
        params.num_val_samples,
    )
    arguments = (plan, bundle_paths(**data), encoder, run, states)
    return launch(train_policy, arguments, run, Path(states.root))


def sample_trajectories(
    checkpoint: Checkpoint,
    params: FanParams,
    run: RunParams,
    **data: Any,  # noqa: ANN401 - the arguments of bundle_paths
) -> pd.DataFrame:
    """Sample trajectories for held-out frames by every kind of goal."""
    from aquatint.training.navdp_evaluation import FanRule, predict_fans

    return predict_fans(checkpoint, bundle_paths(**data), FanRule(**params.model_dump()), run)


def evaluate_trajectories(predictions: pd.DataFrame) -> dict[str, Any]:
    """Judge trajectories and the critic, beside straight lines."""
    from aquatint.training.navdp_evaluation import evaluate_fans

    return evaluate_fans(predictions)


def fly_planners(  # noqa: PLR0913 - one argument for each catalog entry
    town: Any,  # noqa: ANN401 - a PlannerSimulator, which the catalog builds
    encoder: Any,  # noqa: ANN401 - TeacherSource, whose module imports torch
    checkpoint: Checkpoint,
    sight: SightParams,
    reading: ReadingParams,
    params: RolloutParams,
    run: RunParams,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Let the policy and simple planners fly the same episodes."""
    from aquatint.training.navdp_planners import LoopRule
    from aquatint.training.navdp_rollout import roll_out_navdp

    labels = checkpoint.spec["rule"]
    loop = LoopRule(
        labels["horizon"], labels["max_step_m"], params.num_executed, params.max_decisions,
        params.stop_length_m, params.num_samples,
    )  # fmt: skip
    view = build_sight(sight, reading)
    return roll_out_navdp(town, encoder, checkpoint, view, loop, params.success_radius_m, run)


def render_navdp(  # noqa: PLR0913 - one argument for each catalog entry
    town: Any,  # noqa: ANN401 - a PlannerSimulator, which the catalog builds
    counts: dict[str, Any],
    metrics: dict[str, Any],
    history: pd.DataFrame,
    predictions: pd.DataFrame,
    obstacles: pd.DataFrame,
    rollout: dict[str, Any],
    episodes: pd.DataFrame,
    params: ReportParams,
) -> str:
    """Put fans, tables, curves and maps on one page."""
    from aquatint.reports.navdp import NavDpReport, render_navdp_report

    report = NavDpReport(counts, metrics, history, predictions, obstacles, rollout, episodes)
    return render_navdp_report(report, town, params.num_samples, params.seed)


def summarise_navdp(metrics: dict[str, Any], rollout: dict[str, Any]) -> str:
    """Write the tables as Markdown."""
    from aquatint.reports.navdp import summarise_navdp as summarise

    return summarise(metrics, rollout)
