"""Nodes of the imitation recipe: read, encode, train, follow, roll out, report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from aquatint.data.sources import FlightRecordings
from aquatint.features.cache import FeatureCache, FeatureStore
from aquatint.models.backbone import Backbone
from aquatint.params import RunParams
from aquatint.pipelines.cma.params import (
    PolicyParams,
    RdpParams,
    ReadingParams,
    ReportParams,
    SightParams,
    TownLoopParams,
)
from aquatint.training.checkpoint import Checkpoint
from aquatint.training.state import TrainingStateFolder

POLICIES = ("cma", "seq2seq", "rdp")


def read_recordings(
    recordings: FlightRecordings, params: ReadingParams
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """Read flights, steps and instructions; return them, rejects, and what was counted."""
    from aquatint.data.flight_records import RecordRule, read_records
    from aquatint.data.flight_summary import summarise_records

    found = read_records(Path(recordings.root), RecordRule(**params.model_dump()))
    return (
        found.records, found.steps, found.instructions, found.rejects, summarise_records(found)
    )  # fmt: skip


def encode_pictures(
    recordings: FlightRecordings,
    records: pd.DataFrame,
    store: FeatureStore,
    backbone: Backbone,
    params: SightParams,
    run: RunParams,
) -> FeatureCache:
    """Run the frozen vision tower once over every frame."""
    from aquatint.features.flights import cache_pictures
    from aquatint.features.frozen import Encoding
    from aquatint.training.precision import prepare_device

    encoding = Encoding(params.batch_size, params.dtype, str(prepare_device(run)))
    return cache_pictures(store, backbone, Path(recordings.root), records, params.edge_px, encoding)


def reduce_depth(
    recordings: FlightRecordings, records: pd.DataFrame, store: FeatureStore, params: SightParams
) -> FeatureCache:
    """Reduce every depth image to a grid of distances."""
    from aquatint.features.flights import cache_depth

    return cache_depth(
        store, Path(recordings.root), records, params.depth_grid, params.max_depth_m,
        params.depth_units_per_m,
    )  # fmt: skip


def bundle_flights(
    records: pd.DataFrame,
    steps: pd.DataFrame,
    instructions: pd.DataFrame,
    pictures: FeatureCache,
    depth: FeatureCache,
    recordings: FlightRecordings,
) -> Any:  # noqa: ANN401 - ImitationData, whose module imports torch
    """Put tables, caches and word vectors together, as the library takes them."""
    import torch

    from aquatint.data.flight_summary import read_vectors
    from aquatint.training.imitation_samples import ImitationData

    vectors = torch.from_numpy(read_vectors(Path(recordings.embeddings_file), instructions))
    return ImitationData(records, steps, instructions, pictures, depth, vectors)


def train_policy(
    states: TrainingStateFolder,
    backbone: Backbone,
    params: PolicyParams,
    run: RunParams,
    kind: str,
    **data: Any,  # noqa: ANN401 - the arguments of bundle_flights
) -> tuple[Checkpoint, pd.DataFrame]:
    """Train one policy on recorded flights."""
    from aquatint.training.imitation_stage import ImitationPlan, train_imitation
    from aquatint.training.launch import launch

    plan = ImitationPlan(
        "cma" if kind == "cma" else "seq2seq",
        params,
        params.inflection_weight,
        params.last_action_dropout,
        params.hidden,
    )
    arguments = (plan, bundle_flights(**data), backbone, run, states)
    return launch(train_imitation, arguments, run, Path(states.root))


def train_cma(
    states: TrainingStateFolder,
    backbone: Backbone,
    params: PolicyParams,
    run: RunParams,
    **data: Any,  # noqa: ANN401 - the arguments of bundle_flights
) -> tuple[Checkpoint, pd.DataFrame]:
    """Train the policy with attention over words and places."""
    return train_policy(states, backbone, params, run, "cma", **data)


def train_seq2seq(
    states: TrainingStateFolder,
    backbone: Backbone,
    params: PolicyParams,
    run: RunParams,
    **data: Any,  # noqa: ANN401 - the arguments of bundle_flights
) -> tuple[Checkpoint, pd.DataFrame]:
    """Train the plain policy."""
    return train_policy(states, backbone, params, run, "seq2seq", **data)


def train_rdp(
    states: TrainingStateFolder,
    backbone: Backbone,
    params: RdpParams,
    run: RunParams,
    **data: Any,  # noqa: ANN401 - the arguments of bundle_flights
) -> tuple[Checkpoint, pd.DataFrame]:
    """Train the policy that diffuses increments."""
    from aquatint.data.increments import IncrementRule
    from aquatint.training.launch import launch
    from aquatint.training.rdp_stage import RdpPlan
    from aquatint.training.rdp_stage import train_rdp as train

    model = params.model.model_dump()
    model["decoder"]["horizon"] = params.increments.horizon
    plan = RdpPlan(
        params,
        IncrementRule(**params.increments.model_dump()),
        model,
        params.untold_share,
        params.last_action_dropout,
        params.stop_threshold,
        params.num_executed,
        params.num_val_samples,
    )
    arguments = (plan, bundle_flights(**data), backbone, run, states)
    return launch(train, arguments, run, Path(states.root))


def follow_rdp(
    checkpoint: Checkpoint,
    params: RdpParams,
    run: RunParams,
    **data: Any,  # noqa: ANN401 - the arguments of bundle_flights
) -> pd.DataFrame:
    """Let RDP plan at every step of held-out flights, with own and with exchanged instructions."""
    from aquatint.training.rdp_stage import follow_rdp_both

    return follow_rdp_both(checkpoint, bundle_flights(**data), "test", params.batch_size, run)


def evaluate_chunks(predictions: pd.DataFrame) -> dict[str, Any]:
    """Judge actions and progress as ``evaluate_steps`` does, and the way of each chunk."""
    from aquatint.training.rdp_evaluation import chunk_metrics

    return {**evaluate_steps(predictions), "chunks": chunk_metrics(predictions)}


def follow_flights(
    checkpoint: Checkpoint,
    params: PolicyParams,
    run: RunParams,
    **data: Any,  # noqa: ANN401 - the arguments of bundle_flights
) -> pd.DataFrame:
    """Let a policy follow held-out flights, with their own and with exchanged instructions."""
    from aquatint.training.imitation_stage import follow_both

    return follow_both(checkpoint, bundle_flights(**data), "test", params.batch_size, run)


def evaluate_steps(predictions: pd.DataFrame) -> dict[str, Any]:
    """Judge actions and progress step by step, beside what needs no model."""
    from aquatint.training.imitation_evaluation import evaluate_predictions

    return evaluate_predictions(predictions)


def roll_out_policies(  # noqa: PLR0913 - one argument for each catalog entry
    town: Any,  # noqa: ANN401 - a NavigationSimulator, which the catalog builds
    backbone: Backbone,
    cma: Checkpoint,
    seq2seq: Checkpoint,
    rdp: Checkpoint,
    sight: SightParams,
    params: TownLoopParams,
    run: RunParams,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Let every policy and what needs no training fly the same episodes."""
    from aquatint.training.imitation_policy import Sight
    from aquatint.training.imitation_rollout import Loop, roll_out_all

    loop = Loop(params.max_steps, params.success_radius_m, params.oracle_radius_m,
                params.requires_stop, params.wording)  # fmt: skip
    view = Sight(sight.edge_px, sight.depth_grid, sight.max_depth_m)
    checkpoints = {"cma": cma, "seq2seq": seq2seq, "rdp": rdp}
    return roll_out_all(town, backbone, checkpoints, view, loop, run)


def render_imitation(
    town: Any,  # noqa: ANN401 - a NavigationSimulator, which the catalog builds
    counts: dict[str, Any],
    rollout: dict[str, Any],
    episodes: pd.DataFrame,
    params: ReportParams,
    **results: Any,  # noqa: ANN401 - metrics and history of each policy
) -> str:
    """Put curves, tables and maps on one page."""
    from aquatint.reports.imitation import ImitationReport, render_imitation_report

    report = ImitationReport(
        counts,
        {name: results[f"{name}_metrics"] for name in POLICIES},
        {name: results[f"{name}_history"] for name in POLICIES},
        rollout,
        episodes,
    )
    return render_imitation_report(report, town, params.num_samples, params.seed)


def summarise_imitation(rollout: dict[str, Any], **metrics: dict[str, Any]) -> str:
    """Write the tables as Markdown."""
    from aquatint.reports.imitation import summarise_imitation as summarise

    return summarise({name: metrics[f"{name}_metrics"] for name in POLICIES}, rollout)
