"""Nodes of System 2: trajectories to samples, training, answers, flights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from aquatint.data.sources import TrajectoryFolder
from aquatint.models.backbone import Backbone
from aquatint.params import HeldOutParams, PointedLoopParams, RunParams
from aquatint.pipelines.system2.params import (
    GoalParams,
    ReadingParams,
    ReportParams,
    SamplingParams,
    System2Params,
)
from aquatint.training.checkpoint import Checkpoint
from aquatint.training.state import TrainingStateFolder


def read_sets(
    folder: TrajectoryFolder, params: ReadingParams
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Read all flights of the sets; return flights, frames and rejects."""
    from aquatint.data import navigation_sets
    from aquatint.data.trajectories import ReadRule

    rule = ReadRule(
        params.mode, params.max_rejected_fraction, params.camera_axes, params.decodes_frames
    )
    return navigation_sets.read_sets(Path(folder.root), chosen_sets(params), rule)


def chosen_sets(params: ReadingParams) -> list[Any]:
    """The sets that the parameters name."""
    from aquatint.data.navigation_sets import parse_sets
    from aquatint.data.trajectory_names import PUBLISHED_NAMES

    return parse_sets(params.names, (*PUBLISHED_NAMES, *params.further_names))


def find_goals(
    folder: TrajectoryFolder,
    flights: pd.DataFrame,
    frames: pd.DataFrame,
    reading: ReadingParams,
    params: GoalParams,
) -> pd.DataFrame:
    """Label every frame with its pixel goal, or read the goals that the sets hold."""
    from aquatint.data.goal_tables import DepthCamera
    from aquatint.data.navigation_sets import label_sets, read_goals
    from aquatint.data.pixel_goals import GoalRule

    chosen, root = chosen_sets(reading), Path(folder.root)
    if params.source == "columns":
        return read_goals(root, chosen, flights)
    camera = DepthCamera(params.horizontal_fov_deg, params.depth_units_per_m)
    rule = GoalRule(params.depth_tolerance_m, params.min_offset, params.max_depth_m,
                    chosen[0].height_cm / 100, params.min_distance_m)  # fmt: skip
    return label_sets(root, chosen, flights, frames, camera, rule)


def build_samples(
    flights: pd.DataFrame,
    frames: pd.DataFrame,
    goals: pd.DataFrame,
    rejects: pd.DataFrame,
    reading: ReadingParams,
    params: SamplingParams,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Split scenes and draw pixel, turn and stop samples; count them."""
    from aquatint.data.navigation_samples import SampleRule, draw_samples, summarise_samples

    kept = params.model_dump(exclude={"val_share", "test_share", "seed"})
    shares = (params.val_share, params.test_share)
    samples, skipped = draw_samples(
        flights, frames, goals, chosen_sets(reading), SampleRule(**kept), shares, params.seed
    )
    return samples, summarise_samples(samples, skipped, len(rejects))


def train_system2(  # noqa: PLR0913 - one argument for each catalog entry
    folder: TrajectoryFolder,
    frames: pd.DataFrame,
    samples: pd.DataFrame,
    backbone: Backbone,
    states: TrainingStateFolder,
    sampling: SamplingParams,
    params: System2Params,
    run: RunParams,
) -> tuple[Checkpoint, pd.DataFrame]:
    """Train the chosen parts of the backbone on one process or several."""
    from aquatint.training.launch import launch
    from aquatint.training.navigation_samples import NavigationData
    from aquatint.training.precision import share_on_cpu
    from aquatint.training.system2_stage import System2Plan
    from aquatint.training.system2_stage import train_system2 as train

    plan = System2Plan.from_params(params, sampling.num_history)
    data = NavigationData(folder.root, frames, samples)
    run = share_on_cpu(run, params.cpu_processes)
    return launch(train, (plan, data, backbone, run, states), run, Path(states.root))


def answer_samples(  # noqa: PLR0913 - one argument for each catalog entry
    folder: TrajectoryFolder,
    frames: pd.DataFrame,
    samples: pd.DataFrame,
    backbone: Backbone,
    checkpoint: Checkpoint,
    params: HeldOutParams,
    run: RunParams,
) -> pd.DataFrame:
    """Let System 2 answer held-out samples: as they are, misled, blind, and untrained."""
    from aquatint.training.navigation_samples import NavigationData
    from aquatint.training.system2_evaluation import answer_in_all_ways

    data = NavigationData(folder.root, frames, samples)
    chosen = data.of_split("test").thinned(params.num_samples)
    return answer_in_all_ways(chosen, backbone, checkpoint, params.batch_size, run)


def evaluate_system2(predictions: pd.DataFrame, samples: pd.DataFrame) -> dict[str, Any]:
    """Judge kinds of answers, turns and pixels, beside what needs no model."""
    from aquatint.training.system2_evaluation import evaluate_answers

    return evaluate_answers(predictions, samples)


def fly_system2(
    town: Any,  # noqa: ANN401 - a simulator, which the catalog builds
    samples: pd.DataFrame,
    backbone: Backbone,
    checkpoint: Checkpoint,
    params: PointedLoopParams,
    run: RunParams,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Let System 2 with a straight-line controller, and what needs no training, fly."""
    from aquatint.training.system2_rollout import ClosedLoop
    from aquatint.training.system2_rollout import fly_system2 as fly

    scenes = sorted(set(samples.loc[samples["split"] == "test", "scene"]))
    loop = ClosedLoop(**params.model_dump())
    return fly(town, scenes, backbone, checkpoint, loop, run)


def render_system2(  # noqa: PLR0913 - one argument for each catalog entry
    town: Any,  # noqa: ANN401 - a simulator, which the catalog builds
    folder: TrajectoryFolder,
    frames: pd.DataFrame,
    predictions: pd.DataFrame,
    history: pd.DataFrame,
    episodes: pd.DataFrame,
    params: ReportParams,
    **results: Any,  # noqa: ANN401 - counts, metrics and summary of the closed loop
) -> str:
    """Put tables, frames, maps and curves on one page."""
    from aquatint.reports.system2 import System2Report, render_system2_report

    report = System2Report(
        root=Path(folder.root),
        frames=frames,
        predictions=predictions,
        history=history,
        episodes=episodes,
        **results,
    )
    return render_system2_report(report, town, params.num_samples, params.seed)


def summarise_system2(metrics: dict[str, Any], rollout: dict[str, Any]) -> str:
    """Write the tables as Markdown."""
    from aquatint.reports.system2 import summarise_system2 as summarise

    return summarise(metrics, rollout)
