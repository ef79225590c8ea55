"""Closed loop: policies act in a simulator, each from the same starts in the same wind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import pandas as pd
from tqdm import tqdm

from aquatint.collective import hides_bars
from aquatint.metrics.rollouts import compare_rollouts, rollout_metrics
from aquatint.training.vla_actor import Observation, VlaActor

EXPERT, ZERO, SHUFFLED, ZEROED = "expert", "zero", "shuffled_instruction", "sensor_zeroed"


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
    actors: Mapping[str, VlaActor],
    num_runs: int,
    num_executed_actions: int,
    probed: str,
) -> pd.DataFrame:
    """Let the expert, a policy that stands still, and every actor act from the same starts.

    Args:
        simulator: The world.
        actors: Policies by name.
        num_runs: Episodes of each.
        num_executed_actions: Actions of a chunk before the policy looks again.
        probed: Policy that also acts on another instruction and without the sensor.

    Returns:
        Results with a column ``policy``.
    """
    plan: list[tuple[str, VlaActor | None, str]] = [(EXPERT, None, EXPERT), (ZERO, None, ZERO)]
    plan += [(name, actor, "own") for name, actor in actors.items()]
    plan += [(f"{probed}, {mode}", actors[probed], mode) for mode in (SHUFFLED, ZEROED)]
    parts = []
    for name, actor, mode in tqdm(plan, desc="flying", disable=hides_bars(), leave=False):
        runs = fly(simulator, actor, list(range(num_runs)), num_executed_actions, mode=mode)
        parts.append(runs.assign(policy=name))
    runs = pd.concat(parts, ignore_index=True)
    lengths = runs[runs["policy"] == EXPERT].set_index("run_id")["path_length_m"]
    return runs.assign(expert_length_m=runs["run_id"].map(lengths))


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
