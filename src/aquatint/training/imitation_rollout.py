"""Every policy of the recipe, and what needs no training, in the same episodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from aquatint.features.frozen import Encoding
from aquatint.features.views import ViewEncoder
from aquatint.metrics.paired import group_bootstrap_interval
from aquatint.models.backbone import Backbone
from aquatint.params import RunParams
from aquatint.training.checkpoint import Checkpoint
from aquatint.training.imitation_policy import ImitationActor, Sight
from aquatint.training.imitation_stage import restore_policy
from aquatint.training.navigation_rollout import (
    NavigationSimulator,
    Policy,
    compare_policies,
    judge,
    roll_out,
    simple_policies,
)
from aquatint.training.precision import prepare_device
from aquatint.training.rdp_policy import RdpActor
from aquatint.training.rdp_stage import KIND as RDP
from aquatint.training.rdp_stage import restore_rdp
from aquatint.training.shared_flights import (
    FlightGroup,
    Pilot,
    count_pilots,
    group_flights,
    pilot_run,
    share_flights,
)

_MISLED = "_misled"
# Agents of a pass: large enough for whole batches, small enough that processes end together.
_GROUP = 40


def _check_words(simulator: NavigationSimulator, name: str, checkpoint: Checkpoint) -> None:
    """A policy that learnt other numbers for words would read nonsense, and nobody would see."""
    learnt = checkpoint.weights["vectors.weight"].numpy()[1:]
    spoken = simulator.word_vectors()[1:]
    if learnt.shape != spoken.shape or not np.allclose(learnt, spoken, atol=1e-5):
        raise ValueError(
            f"{name} was trained with {len(learnt)} word vectors that are not the {len(spoken)} of "
            "the simulator: its instructions would be read with wrong numbers. Train and fly with "
            "one vocabulary, or run the step-by-step evaluation alone (--tags=train)."
        )


def _actor(
    checkpoint: Checkpoint, encoder: ViewEncoder, sight: Sight, seed: int, device: torch.device
) -> Policy:
    if checkpoint.spec["kind"] == RDP:
        return RdpActor(restore_rdp(checkpoint, device), checkpoint.spec, encoder, sight, seed)
    return ImitationActor(restore_policy(checkpoint, device), encoder, sight, device)


@dataclass(frozen=True)
class Loop:
    """The closed loop.

    Attributes:
        max_steps: Longest episode in actions.
        success_radius_m: Distance from the goal that counts as success.
        oracle_radius_m: The same for the nearest position of the path.
        requires_stop: Whether success needs the agent to stop by itself.
        wording: Which of an episode's instructions; None for each in its turn.
    """

    max_steps: int
    success_radius_m: float
    oracle_radius_m: float
    requires_stop: bool
    wording: int | None


def roll_out_all(
    simulator: NavigationSimulator,
    backbone: Backbone,
    checkpoints: Mapping[str, Checkpoint],
    sight: Sight,
    loop: Loop,
    run: RunParams,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Let every policy fly the same episodes, also told other episodes' instructions.

    Args:
        simulator: The world.
        backbone: Frozen tower.
        checkpoints: Trained policies by name; the later ones are compared with the first.
        sight: How frames become features.
        loop: Length and radii.
        run: Seed, device, threads.

    Returns:
        Table of ``judge`` with ``policy`` and ``wording``; summary and comparisons, as
        ``compare_policies`` gives, and ``wordings``, what the own
        instruction is worth against another's, by wording.
    """
    for name, checkpoint in checkpoints.items():
        _check_words(simulator, name, checkpoint)
    pairs: dict[str, str] = {}
    for name in checkpoints:
        pairs |= {name: "forward", f"{name}{_MISLED}": name}
    num_episodes = len(simulator.episode_ids)
    groups = group_flights([*simple_policies(run.seed), *pairs], num_episodes, _GROUP)
    num_pilots = count_pilots(run, len(pairs) * num_episodes * loop.max_steps, backbone.num_bytes)
    arguments = (backbone, dict(checkpoints), sight, loop, pilot_run(run))
    tables = share_flights(open_imitation, arguments, simulator, groups, num_pilots)
    episodes = pd.concat(tables, ignore_index=True)
    found = compare_policies(episodes, pairs)
    return episodes, {**found, "wordings": _by_wording(episodes, list(checkpoints))}


def open_imitation(
    backbone: Backbone,
    checkpoints: dict[str, Checkpoint],
    sight: Sight,
    loop: Loop,
    run: RunParams,
) -> Pilot[pd.DataFrame]:
    """Load every policy.

    Returns:
        Flies a group and returns its table of ``judge`` with ``policy`` and ``wording``.
    """
    device = prepare_device(run)
    encoder = ViewEncoder(backbone, Encoding(_GROUP, "float32", str(device)))
    policies: dict[str, Policy] = dict(simple_policies(run.seed))
    for name, checkpoint in checkpoints.items():
        actor = _actor(checkpoint, encoder, sight, run.seed, device)
        policies |= {name: actor, f"{name}{_MISLED}": actor}

    def fly(simulator: NavigationSimulator, group: FlightGroup) -> pd.DataFrame:
        results = roll_out(
            simulator,
            policies[group.policy],
            loop.max_steps,
            wording=loop.wording,
            is_misled=group.policy.endswith(_MISLED),
            agents=group.agents,
        )
        told = {"policy": group.policy, "wording": [row["wording"] for row in results]}
        radii = (loop.success_radius_m, loop.oracle_radius_m, loop.requires_stop)
        return judge(results, *radii).assign(**told)

    return fly


def _by_wording(episodes: pd.DataFrame, names: list[str]) -> dict[str, Any]:
    """What an own instruction is worth against another episode's, by policy and wording.

    Returns:
        For each policy, for ``all`` and each wording: ``n``; ``success`` and ``error_m``, each with
        ``own``, ``other``, their mean ``difference`` on the same episodes and its ``interval`` by
        town.
    """
    found: dict[str, Any] = {}
    for name in names:
        own, other = (
            episodes[episodes["policy"] == told].set_index("episode_id").sort_index()
            for told in (name, f"{name}{_MISLED}")
        )
        parts = {"all": own.index == own.index}
        parts |= {str(w): (own["wording"] == w).to_numpy() for w in sorted(own["wording"].unique())}
        found[name] = {
            wording: {
                "n": int(chosen.sum()),
                "success": _paired(own[chosen], other[chosen], "success"),
                "error_m": _paired(own[chosen], other[chosen], "navigation_error_m"),
            }
            for wording, chosen in parts.items()
        }
    return found


def _paired(own: pd.DataFrame, other: pd.DataFrame, metric: str) -> dict[str, Any]:
    difference = (own[metric] - other[metric]).to_numpy(float)
    return {
        "own": float(own[metric].mean()),
        "other": float(other[metric].mean()),
        "difference": float(difference.mean()),
        "interval": group_bootstrap_interval(difference, own["scene"].to_numpy()),
    }
