"""Dual systems in closed loop beside System 2 with a straight-line controller, and their drift."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from aquatint.metrics.paired import group_bootstrap_interval
from aquatint.models.backbone import Backbone
from aquatint.models.dual_system import Memory
from aquatint.params import RunParams
from aquatint.training.checkpoint import Checkpoint
from aquatint.training.dual_actor import DualActor, LocalPlanning
from aquatint.training.dual_evaluation import predict_trajectories, trajectory_metrics
from aquatint.training.dual_memory import COMPARED_BATCHES
from aquatint.training.dual_stage import restore_dual
from aquatint.training.navigation_rollout import Policy
from aquatint.training.shared_flights import Pilot, pilot_run
from aquatint.training.system2_rollout import (
    ClosedLoop,
    Crew,
    ask_system2,
    compare_pointed,
    fly_pointed,
    pilot,
)
from aquatint.training.trajectory_control import PurePursuit
from aquatint.training.trajectory_samples import PictureStyle, TrajectoryData, TrajectorySamples


@dataclass(frozen=True)
class LocalLoop:
    """How System 1's trajectories are followed.

    Attributes:
        look_ahead: Points between the nearest one and the one that is aimed at.
        max_local_actions: Actions after which System 1 plans anew.
        arrival_m: Distance from the last point below which a trajectory is at its end.
    """

    look_ahead: int
    max_local_actions: int
    arrival_m: float


def fly_dual(  # noqa: PLR0913 - one argument for each thing that decides a flight
    simulator: Any,  # noqa: ANN401 - TrajectorySimulator, of the world
    scenes: Collection[str],
    backbone: Backbone,
    system2: Checkpoint,
    dual: Checkpoint,
    loop: ClosedLoop,
    local: LocalLoop,
    run: RunParams,
) -> pd.DataFrame:
    """Let a dual system fly the episodes of ``fly_straight``.

    Args:
        simulator: The world.
        scenes: Scenes of the test split.
        backbone: What System 2 was trained from.
        system2: Its training.
        dual: Latent queries and the System 1 that they guide.
        loop: Length, radii, how often System 2 is asked.
        local: How trajectories are followed.
        run: Seed, device.

    Returns:
        As ``fly_pointed``; the policy has the backend's name.
    """
    simulator.restrict(set(scenes), loop.num_episodes)
    arguments = (backbone, system2, dual, loop, local, pilot_run(run))
    crew = Crew(open_dual, arguments, (dual.spec["backend"],))
    return fly_pointed(simulator, crew, loop, backbone, run, has_simple=False)


def open_dual(
    backbone: Backbone,
    system2: Checkpoint,
    dual: Checkpoint,
    loop: ClosedLoop,
    local: LocalLoop,
    run: RunParams,
) -> Pilot[pd.DataFrame]:
    """Load System 2 and a dual system when it first flies.

    Returns:
        As ``system2_rollout.pilot``.
    """

    def build(_: str, agent: Any) -> Policy:  # noqa: ANN401 - of the world
        control = PurePursuit(agent.step_m, agent.turn_deg, local.look_ahead, local.arrival_m)
        planning = LocalPlanning(
            dual.spec["num_samples"],
            dual.spec["rule"]["scale"],
            PictureStyle(**dual.spec["pictures"]),
            local.max_local_actions,
            run.seed,
        )
        asker = ask_system2(backbone, system2, loop, run)
        return DualActor(asker, restore_dual(backbone, system2, dual, run), planning, control)

    return pilot(build, loop, run.seed)


def compare_dual(
    straight: pd.DataFrame, backends: Mapping[str, pd.DataFrame]
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Compare dual systems with System 2 and its straight-line controller.

    Args:
        straight: Flights of ``fly_straight``.
        backends: Flights of ``fly_dual`` by backend, of the same episodes.

    Returns:
        All flights in one table, and ``compare_pointed`` of them.
    """
    episodes = pd.concat([straight, *backends.values()], ignore_index=True)
    return episodes, compare_pointed(episodes, dict.fromkeys(backends, "system2"))


def measure_drift(  # noqa: PLR0913 - one argument for each thing that is compared
    data: TrajectoryData,
    drifted: TrajectoryData,
    backbone: Backbone,
    system2: Checkpoint,
    further: Checkpoint,
    dual: Checkpoint,
    batch_size: int,
    run: RunParams,
) -> dict[str, Any]:  # fmt: skip
    """Say what a further training of System 2 alone does to the System 1 that knew it before.

    Args:
        data: Samples with what System 2 remembered before.
        drifted: The same samples with what it remembers after.
        backbone: What System 2 was trained from.
        system2: Its training before.
        further: After.
        dual: System 1, trained with the one before.
        batch_size: Samples of one pass.
        run: Seed, device.

    Returns:
        ``cosine`` of latents before and after, with its interval by scene and the least one;
        ``before`` and ``after``: ``trajectory_metrics`` of System 1 with either; ``n``.
    """
    found: dict[str, Any] = {}
    latents = {}
    for name, seen, checkpoint in (("before", data, system2), ("after", drifted, further)):
        model = restore_dual(backbone, checkpoint, dual, run, allows_other=True)
        most = COMPARED_BATCHES * batch_size
        samples = TrajectorySamples(
            seen, "test", model.system1.sees_pictures, 1, run.seed, most=most
        )
        latents[name] = _latents_of(model, samples, batch_size)
        table = predict_trajectories(model, samples, batch_size, dual.spec["num_samples"], run.seed)
        found[name] = trajectory_metrics(table)
    cosine = F.cosine_similarity(latents["before"], latents["after"], dim=-1).mean(1).numpy()
    scenes = np.array([row["scene"] for row in samples.rows])
    return {
        **found,
        "cosine": float(cosine.mean()),
        "cosine_interval": group_bootstrap_interval(cosine, scenes),
        "least_cosine": float(cosine.min()),
        "backend": dual.spec["backend"],
        "n": len(cosine),
    }


@torch.inference_mode()
def _latents_of(model: Any, samples: TrajectorySamples, batch_size: int) -> torch.Tensor:  # noqa: ANN401
    device = model.queries.device
    parts = []
    for start in range(0, len(samples), batch_size):
        chosen = list(range(start, min(start + batch_size, len(samples))))
        memory = Memory(*(value.to(device) for value in samples.memory(chosen)))
        parts.append(model.latents(memory).cpu())
    return torch.cat(parts)
