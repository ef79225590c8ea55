"""Closed loop: policies act in a simulator, each from the same starts in the same wind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd

from aquatint.metrics.rollouts import compare_rollouts, rollout_metrics
from aquatint.models.backbone import Backbone
from aquatint.params import RunParams
from aquatint.training.checkpoint import Checkpoint
from aquatint.training.shared_flights import (
    FlightGroup,
    Pilot,
    count_pilots,
    group_flights,
    pilot_run,
    share_flights,
)
from aquatint.training.vla_actor import Observation, VlaActor, open_actor

EXPERT, ZERO, SHUFFLED, ZEROED = "expert", "zero", "shuffled_instruction", "sensor_zeroed"


@dataclass(frozen=True)
class RunRule:
    """The closed loop.

    Attributes:
        num_runs: Episodes of each policy.
        num_executed_actions: Actions of a chunk before the policy looks again.
        probed: Policy that also acts on another instruction and without the sensor.
        dtype: Type that features were stored in while policies were trained.
    """

    num_runs: int
    num_executed_actions: int
    probed: str
    dtype: str


class Simulator(Protocol):
    """A world in which several robots act at once."""

    @property
    def num_steps(self) -> int:
        """Actions of an episode."""

    @property
    def num_views(self) -> int:
        """Pictures of an observation."""

    def reset(self, run_ids: list[int]) -> None:
        """Begin these episodes; the same number gives the same start and the same wind."""

    def observe(self, *, is_misled: bool = False, is_deaf: bool = False) -> dict[str, Any]:
        """Pictures, instructions, states and sensor rows of all robots.

        Args:
            is_misled: Whether instructions name another goal that is in sight.
            is_deaf: Whether the sensor's rows are zeros.
        """

    def states(self) -> np.ndarray:
        """Joints and pose of all robots in mm and degrees, shape (B, 12)."""

    def step(self, actions: np.ndarray) -> None:
        """Carry out one action of each robot, in mm and degrees, shape (B, 7)."""

    def expert_actions(self) -> np.ndarray:
        """What the expert, who knows the goal, would do now, shape (B, 7)."""

    def results(self) -> pd.DataFrame:
        """How the episodes ended, one row each."""


def fly(
    simulator: Simulator,
    actor: VlaActor | None,
    run_ids: list[int],
    num_executed_actions: int,
    *,
    mode: str = "own",
) -> pd.DataFrame:
    """Run episodes to their end.

    Args:
        simulator: The world.
        actor: Policy; None for the expert or for standing still, as ``mode`` says.
        run_ids: Which episodes.
        num_executed_actions: Actions of a chunk that are carried out before the policy looks again.
        mode: ``own``, ``shuffled_instruction``, ``sensor_zeroed``, ``expert`` or ``zero``.

    Returns:
        The simulator's results.
    """
    simulator.reset(run_ids)
    if actor is not None:
        actor.num_calls = 0
    last = np.full((len(run_ids), 7), np.nan)
    history: list[np.ndarray] = []
    for start in range(0, simulator.num_steps, num_executed_actions):
        chunks = None
        if actor is not None:
            seen = simulator.observe(is_misled=mode == SHUFFLED, is_deaf=mode == ZEROED)
            history.append(seen["states"])
            chunks = actor.act(_observation(seen, history, last, actor))
        for offset in range(min(num_executed_actions, simulator.num_steps - start)):
            if chunks is not None:
                last = chunks[:, offset]
            else:
                last = simulator.expert_actions() if mode == EXPERT else np.zeros_like(last)
            simulator.step(last)
            # What the robot measured while it acted: a state for every step.
            if actor is not None and offset + 1 < num_executed_actions:
                history.append(simulator.states())
    return simulator.results()


def _observation(
    seen: Mapping[str, Any], history: list[np.ndarray], last: np.ndarray, actor: VlaActor
) -> Observation:
    size = int(actor.spec["rules"]["state_window"])
    window = [history[max(0, len(history) - size + i)] for i in range(size)]
    return Observation(
        views=seen["views"],
        instructions=seen["instructions"],
        states=np.stack(window, axis=1),
        sensors=seen["sensors"],
        last_actions=last,
    )


def fly_all(
    simulator: Simulator,
    backbone: Backbone,
    checkpoints: Mapping[str, Checkpoint],
    loop: RunRule,
    run: RunParams,
) -> pd.DataFrame:
    """Let the expert, a policy that stands still, and every policy act from the same starts.

    Args:
        simulator: The world.
        backbone: What the policies see with.
        checkpoints: Policies by name.
        loop: The loop.
        run: Seed, device, threads.

    Returns:
        Results with a column ``policy``.
    """
    modes = _modes(checkpoints, loop.probed)
    # All of a policy at once: what a diffusion draws follows from all robots of a batch.
    groups = group_flights(modes, loop.num_runs, loop.num_runs)
    num_decisions = simulator.num_steps // loop.num_executed_actions
    num_pilots = count_pilots(
        run, len(modes) * loop.num_runs * num_decisions, len(checkpoints) * backbone.num_bytes
    )
    arguments = (backbone, dict(checkpoints), simulator.num_views, loop, pilot_run(run))
    parts = share_flights(open_actors, arguments, simulator, groups, num_pilots)
    runs = pd.concat(parts, ignore_index=True)
    lengths = runs[runs["policy"] == EXPERT].set_index("run_id")["path_length_m"]
    return runs.assign(expert_length_m=runs["run_id"].map(lengths))


def _modes(names: Iterable[str], probed: str) -> dict[str, tuple[str, str]]:
    """Whose actions are carried out, and in which mode, by the name under which it is told."""
    found = {EXPERT: ("", EXPERT), ZERO: ("", ZERO)}
    found |= {name: (name, "own") for name in names}
    return found | {f"{probed}, {mode}": (probed, mode) for mode in (SHUFFLED, ZEROED)}


def open_actors(
    backbone: Backbone,
    checkpoints: dict[str, Checkpoint],
    num_views: int,
    loop: RunRule,
    run: RunParams,
) -> Pilot[pd.DataFrame]:
    """Load every policy when it first acts.

    Returns:
        Lets a group act and returns the simulator's results with ``policy``.
    """
    modes = _modes(checkpoints, loop.probed)
    actors: dict[str, VlaActor] = {}

    def act(simulator: Simulator, group: FlightGroup) -> pd.DataFrame:
        name, mode = modes[group.policy]
        if name and name not in actors:
            actors[name] = open_actor(backbone, checkpoints[name], run, num_views, loop.dtype)
        actor = actors.get(name)
        runs = fly(simulator, actor, list(group.agents), loop.num_executed_actions, mode=mode)
        return runs.assign(policy=group.policy)

    return act


def no_runs() -> pd.DataFrame:
    """The table of a data set without a simulator: its columns, and no rows."""
    types = {"policy": "str", "run_id": "int64", "is_success": "bool", "final_error_m": "float64"}
    return pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in types.items()})


def evaluate_rollouts(runs: pd.DataFrame, reference: str) -> dict[str, Any]:
    """Success, errors and path lengths of every policy, and how they differ from one of them.

    Args:
        runs: Table of ``fly_all``; may be empty where there is no simulator.
        reference: Policy that the others are compared with.
    """
    if runs.empty:
        return {"policies": {}, "compared_with": reference, "differences": {}, "n": 0}
    tables = {str(name): rows for name, rows in runs.groupby("policy", sort=False)}
    return {
        "policies": {name: rollout_metrics(rows) for name, rows in tables.items()},
        "compared_with": reference,
        "differences": compare_rollouts(tables, reference),
        "n": int(runs["run_id"].nunique()),
    }
