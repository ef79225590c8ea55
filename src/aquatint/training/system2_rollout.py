"""System 2 with a straight-line controller, beside what needs no training, in the same episodes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from aquatint.models.backbone import Backbone
from aquatint.params import RunParams
from aquatint.training.checkpoint import Checkpoint
from aquatint.training.navigation_dialogues import DialogueWriter, FrameStyle
from aquatint.training.navigation_rollout import (
    Policy,
    compare_policies,
    judge,
    roll_out,
    simple_policies,
)
from aquatint.training.point_goal_control import StraightLine
from aquatint.training.system2_actor import Guidance, System2Actor, System2Asker
from aquatint.training.system2_stage import restore_system2

MISLED = "_misled"


@dataclass(frozen=True)
class ClosedLoop:
    """The closed loop.

    Attributes:
        max_steps: Longest episode in actions.
        num_episodes: Most episodes.
        success_radius_m: Distance from the goal that counts as success.
        oracle_radius_m: The same for the nearest position of the path.
        requires_stop: Whether success needs the agent to stop by itself.
        wording: Which of an episode's instructions.
        max_forward_steps: Steps forward after which System 2 is asked again.
        batch_size: Agents of one pass.
    """

    max_steps: int
    num_episodes: int
    success_radius_m: float
    oracle_radius_m: float
    requires_stop: bool
    wording: int
    max_forward_steps: int
    batch_size: int


def ask_system2(
    backbone: Backbone,
    checkpoint: Checkpoint,
    loop: ClosedLoop,
    run: RunParams,
    *,
    is_trained: bool = True,
) -> System2Asker:
    """Return System 2 as it is asked in the loop; without its training on demand."""
    spec = checkpoint.spec
    model = restore_system2(backbone, checkpoint if is_trained else None, run)
    guidance = Guidance(
        spec["num_history"], spec["max_new_tokens"], loop.max_forward_steps, loop.batch_size
    )
    return System2Asker(model, DialogueWriter(backbone, FrameStyle(**spec["style"])), guidance)


def fly_system2(
    simulator: Any,  # noqa: ANN401 - TrajectorySimulator, of the world
    scenes: Collection[str],
    backbone: Backbone,
    checkpoint: Checkpoint,
    loop: ClosedLoop,
    run: RunParams,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Let every policy fly the same episodes, System 2 also told other episodes' instructions.

    Args:
        simulator: The world.
        scenes: Scenes of the test split.
        backbone: What System 2 was trained from.
        checkpoint: Its training.
        loop: Length, radii, how often System 2 is asked.
        run: Seed, device.

    Returns:
        Table of ``judge`` with ``policy``; summary, comparisons and how System 2 answered.
    """
    simulator.restrict(set(scenes), loop.num_episodes)
    control = straight_line(simulator)
    trained = System2Actor(ask_system2(backbone, checkpoint, loop, run), control)
    untrained = System2Actor(ask_system2(backbone, checkpoint, loop, run, is_trained=False),
                             control)  # fmt: skip
    policies: dict[str, Policy] = {
        **simple_policies(run.seed),
        "untrained": untrained,
        "system2": trained,
        f"system2{MISLED}": trained,
    }
    pairs = {"system2": "forward", "untrained": "system2", f"system2{MISLED}": "system2"}
    return fly_policies(simulator, policies, loop, pairs)


def straight_line(simulator: Any) -> StraightLine:  # noqa: ANN401
    """The controller for a simulator's agent."""
    agent = simulator.agent
    return StraightLine(agent.step_m, agent.turn_deg, agent.step_m / 2)


def fly_policies(
    simulator: Any,  # noqa: ANN401
    policies: Mapping[str, Policy],
    loop: ClosedLoop,
    pairs: Mapping[str, str],
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Let policies fly the same episodes; those named ``..._misled`` are told others' instructions.

    Returns:
        Table of ``judge`` with ``policy`` and the pixels that were named; ``compare_policies``
        with ``answers``: how often System 2 answered what, by policy.
    """
    tables, answers = [], {}
    for name, policy in policies.items():
        results = roll_out(
            simulator,
            policy,
            loop.max_steps,
            wording=loop.wording,
            is_misled=name.endswith(MISLED),
            description=f"flying {name}",
        )
        radii = (loop.success_radius_m, loop.oracle_radius_m, loop.requires_stop)
        table = judge(results, *radii).assign(policy=name)
        plans = getattr(policy, "plans", None)
        if plans is not None:
            answers[name] = _count_answers(plans)
        table["pixels"] = [
            [value for pixel in plans[i].pixels for value in pixel] if plans else []
            for i in range(len(table))
        ]
        tables.append(table)
    episodes = pd.concat(tables, ignore_index=True)
    return episodes, {**compare_policies(episodes, pairs), "answers": answers}


def _count_answers(plans: list[Any]) -> dict[str, int]:
    kinds = ("pixel", "turn", "stop", "invalid")
    return {kind: sum(plan.asked.get(kind, 0) for plan in plans) for kind in kinds}
