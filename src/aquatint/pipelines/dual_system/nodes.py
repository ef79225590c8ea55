"""Nodes of the dual system: remember dialogues, train backends, predict, fly, measure drift."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from aquatint.data.sources import TrajectoryFolder
from aquatint.features.cache import FeatureCache, FeatureStore
from aquatint.models.backbone import Backbone
from aquatint.params import HeldOutParams, RunParams, StageParams
from aquatint.pipelines.dual_system.params import (
    DriftParams,
    MemoryParams,
    ReportParams,
    RolloutParams,
    ShareParams,
    System1Params,
    TargetParams,
)
from aquatint.training.checkpoint import Checkpoint
from aquatint.training.state import TrainingStateFolder

if TYPE_CHECKING:
    from aquatint.training.dual_rollout import LocalLoop
    from aquatint.training.system2_rollout import ClosedLoop

BACKENDS = ("nextdit_async", "nextdit", "navdp_async")


def choose_pixel_samples(samples: pd.DataFrame, params: ShareParams) -> pd.DataFrame:
    """Keep pixel samples alone, and of them a share by id and seed."""
    from aquatint.data.navigation_samples import choose_pixels

    return choose_pixels(samples, params.percent, params.seed, params.max_held_out)


def remember_dialogues(  # noqa: PLR0913 - one argument for each catalog entry
    folder: TrajectoryFolder,
    frames: pd.DataFrame,
    samples: pd.DataFrame,
    store: FeatureStore,
    backbone: Backbone,
    system2: Checkpoint,
    params: MemoryParams,
    run: RunParams,
) -> tuple[FeatureCache, pd.DataFrame]:  # fmt: skip
    """Run the frozen System 2 once over every dialogue; the table says which sample's is which."""
    from aquatint.training.dual_memory import MemoryStyle, cache_memories
    from aquatint.training.navigation_samples import NavigationData

    style = MemoryStyle(params.max_tokens, params.dtype, params.batch_size)
    data = NavigationData(folder.root, frames, samples)
    return cache_memories(store, data, backbone, system2, style, run)


def remember_compared(
    samples: pd.DataFrame,
    further: DriftParams,
    params: MemoryParams,
    **data: Any,  # noqa: ANN401 - the other arguments of remember_dialogues
) -> FeatureCache:
    """Run another System 2 over the test dialogues that drift is measured on, and no others."""
    from aquatint.training.dual_memory import compared_samples

    chosen = compared_samples(samples, further.batch_size)
    return remember_dialogues(samples=chosen, params=params, **data)[0]


def bundle_trajectories(  # noqa: PLR0913 - one argument for each catalog entry
    folder: TrajectoryFolder,
    frames: pd.DataFrame,
    samples: pd.DataFrame,
    memories: FeatureCache,
    keys: pd.DataFrame,
    backbone: Backbone,
    targets: TargetParams,
) -> Any:  # noqa: ANN401 - TrajectoryData, whose module imports torch  # fmt: skip
    """Put tables, caches and rules together, as the library takes them."""
    from aquatint.training.trajectory_samples import PictureStyle, bundle

    style = PictureStyle(targets.edge_px, targets.max_depth_m, targets.depth_units_per_m)
    rule = targets.rule()
    return bundle(folder.root, frames, samples, memories, keys, backbone, rule, style)


def train_system1(
    states: TrainingStateFolder,
    params: System1Params,
    targets: TargetParams,
    run: RunParams,
    **data: Any,  # noqa: ANN401 - the other arguments of bundle_trajectories
) -> tuple[Checkpoint, pd.DataFrame]:
    """Train latent queries and one System 1 on remembered dialogues."""
    from aquatint.training.dual_stage import DualPlan, train_dual
    from aquatint.training.launch import launch

    names = set(StageParams.model_fields)
    plan = DualPlan(
        params.backend,
        StageParams(**params.model_dump(include=names)),
        params.num_latents,
        params.sizes(targets.edge_px),
        params.num_val,
        params.num_samples,
        params.num_frames,
    )
    system2 = data.pop("system2")
    bundled = bundle_trajectories(targets=targets, **data)
    arguments = (plan, bundled, data["backbone"], system2, run, states)
    return launch(train_dual, arguments, run, Path(states.root))


def predict_ways(
    checkpoint: Checkpoint,
    params: HeldOutParams,
    targets: TargetParams,
    run: RunParams,
    **data: Any,  # noqa: ANN401 - the other arguments of bundle_trajectories
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Sample trajectories on held-out frames; return them, and the loss by share of noise."""
    from aquatint.training.dual_evaluation import predict_test

    system2 = data.pop("system2")
    return predict_test(
        bundle_trajectories(targets=targets, **data),
        data["backbone"],
        system2,
        checkpoint,
        params.num_samples,
        params.batch_size,
        run,
    )


def evaluate_ways(
    folder: TrajectoryFolder,
    frames: pd.DataFrame,
    samples: pd.DataFrame,
    predictions: pd.DataFrame,
    losses: pd.DataFrame,
    targets: TargetParams,
) -> dict[str, Any]:
    """Judge trajectories, beside the mean way of the train split and standing still."""
    from aquatint.training.dual_evaluation import evaluate_trajectories
    from aquatint.training.navigation_samples import NavigationData

    data = NavigationData(folder.root, frames, samples)
    return evaluate_trajectories(predictions, losses, data, targets.rule())


def train_system2_further(  # noqa: PLR0913 - one argument for each catalog entry
    folder: TrajectoryFolder,
    frames: pd.DataFrame,
    samples: pd.DataFrame,
    backbone: Backbone,
    states: TrainingStateFolder,
    system2: Checkpoint,
    params: DriftParams,
    run: RunParams,
) -> tuple[Checkpoint, pd.DataFrame]:  # fmt: skip
    """Train System 2 alone for some more steps, as it was trained before."""
    from aquatint.training.launch import launch
    from aquatint.training.navigation_samples import NavigationData
    from aquatint.training.system2_stage import train_further

    data = NavigationData(folder.root, frames, samples)
    arguments = (data, backbone, system2, params.max_steps, run, states)
    return launch(train_further, arguments, run, Path(states.root))


def measure_drift(
    further: Checkpoint,
    drifted: FeatureCache,
    dual: Checkpoint,
    params: DriftParams,
    targets: TargetParams,
    run: RunParams,
    **data: Any,  # noqa: ANN401 - the other arguments of bundle_trajectories
) -> dict[str, Any]:
    """Compare latents, and System 1's trajectories, before and after."""
    from aquatint.training import dual_rollout

    system2 = data.pop("system2")
    before = bundle_trajectories(targets=targets, **data)
    after = bundle_trajectories(targets=targets, **{**data, "memories": drifted})
    return dual_rollout.measure_drift(
        before, after, data["backbone"], system2, further, dual, params.batch_size, run
    )


def fly_straight(
    town: Any,  # noqa: ANN401 - a simulator, which the catalog builds
    samples: pd.DataFrame,
    backbone: Backbone,
    system2: Checkpoint,
    params: RolloutParams,
    run: RunParams,
) -> pd.DataFrame:
    """Let System 2 with a straight-line controller fly, and what needs no training."""
    from aquatint.training.system2_rollout import fly_straight as fly

    loop, _ = _loops(params)
    return fly(town, _test_scenes(samples), backbone, system2, loop, run)


def fly_backend(  # noqa: PLR0913 - one argument for each catalog entry
    town: Any,  # noqa: ANN401 - a simulator, which the catalog builds
    samples: pd.DataFrame,
    backbone: Backbone,
    system2: Checkpoint,
    checkpoint: Checkpoint,
    params: RolloutParams,
    run: RunParams,
) -> pd.DataFrame:
    """Let a dual system fly the same episodes."""
    from aquatint.training.dual_rollout import fly_dual

    scenes = _test_scenes(samples)
    return fly_dual(town, scenes, backbone, system2, checkpoint, *_loops(params), run)


def compare_flights(
    straight: pd.DataFrame, **backends: pd.DataFrame
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Compare every dual system with System 2 and a straight line, on the same episodes."""
    from aquatint.training.dual_rollout import compare_dual

    return compare_dual(straight, backends)


def _test_scenes(samples: pd.DataFrame) -> list[str]:
    return sorted(set(samples.loc[samples["split"] == "test", "scene"]))


def _loops(params: RolloutParams) -> tuple[ClosedLoop, LocalLoop]:
    from aquatint.training.dual_rollout import LocalLoop
    from aquatint.training.system2_rollout import ClosedLoop

    local = LocalLoop(params.look_ahead, params.max_local_actions, params.arrival_m)
    kept = params.model_dump(exclude={"look_ahead", "max_local_actions", "arrival_m"})
    return ClosedLoop(**kept), local


def render_dual_system(
    town: Any,  # noqa: ANN401 - a simulator, which the catalog builds
    rollout: dict[str, Any],
    episodes: pd.DataFrame,
    drift: dict[str, Any],
    params: ReportParams,
    **results: Any,  # noqa: ANN401 - metrics, history and predictions of each backend
) -> str:
    """Put tables, maps, trajectories and curves on one page."""
    from aquatint.reports.dual_system import DualReport, render_dual_report

    report = DualReport(
        {name: results[f"{name}_metrics"] for name in BACKENDS},
        {name: results[f"{name}_history"] for name in BACKENDS},
        {name: results[f"{name}_predictions"] for name in BACKENDS},
        rollout,
        episodes,
        drift,
    )
    return render_dual_report(report, town, params.num_samples, params.seed)


def summarise_dual_system(
    rollout: dict[str, Any], drift: dict[str, Any], **metrics: dict[str, Any]
) -> str:
    """Write the tables as Markdown."""
    from aquatint.reports.dual_system import summarise_dual

    return summarise_dual({name: metrics[f"{name}_metrics"] for name in BACKENDS}, rollout, drift)
