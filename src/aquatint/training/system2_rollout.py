"""System 2 with a straight-line controller, beside what needs no training, in the same episodes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

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
from aquatint.training.shared_flights import (
    FlightGroup,
    Pilot,
    count_pilots,
    group_flights,
    pilot_run,
    share_flights,
)
from aquatint.training.system2_actor import Guidance, System2Actor, System2Asker
from aquatint.training.system2_stage import restore_system2

MISLED = "_misled"
# Agents that fly at once; small enough that processes end together.
_GROUP = 16
SYSTEM2 = ("system2", f"system2{MISLED}")


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
    pairs = {"system2": "forward", "untrained": "system2", f"system2{MISLED}": "system2"}
    arguments = (backbone, checkpoint, loop, pilot_run(run))
    return fly_pointed(simulator, open_system2, arguments, ("untrained", *SYSTEM2), loop, pairs,
                       backbone, run)  # fmt: skip


def open_system2(
    backbone: Backbone, checkpoint: Checkpoint, loop: ClosedLoop, run: RunParams
) -> Pilot[Flown]:
    """Load System 2 before and after its training, each when it first flies.

    Returns:
        As ``pilot``.
    """

    def build(name: str, agent: Any) -> Policy:  # noqa: ANN401 - of the world
        is_trained = name != "untrained"
        asker = ask_system2(backbone, checkpoint, loop, run, is_trained=is_trained)
        return System2Actor(asker, straight_line(agent))

    return pilot(build, loop, run.seed)


def straight_line(agent: Any) -> StraightLine:  # noqa: ANN401 - AgentSpec, of the world
    """The controller for a simulator's agent."""
    return StraightLine(agent.step_m, agent.turn_deg, agent.step_m / 2)


class Flown(NamedTuple):
    """What became of a group.

    Attributes:
        episodes: Table of ``judge`` with ``policy`` and the pixels that were named.
        answers: How often System 2 answered what; None for policies without it.
    """

    episodes: pd.DataFrame
    answers: dict[str, int] | None


def pilot(build: Callable[[str, Any], Policy], loop: ClosedLoop, seed: int) -> Pilot[Flown]:
    """Return what lets groups fly; those named ``..._misled`` are told others' instructions.

    Args:
        build: From a policy's name and the simulator's agent to the policy.
        loop: Length and radii.
        seed: Of chance.
    """
    policies = dict(simple_policies(seed))

    def fly(simulator: Any, group: FlightGroup) -> Flown:  # noqa: ANN401 - of the world
        name = group.policy.removesuffix(MISLED)
        if name not in policies:
            policies[name] = build(name, simulator.agent)
        results = roll_out(
            simulator,
            policies[name],
            loop.max_steps,
            wording=loop.wording,
            is_misled=name != group.policy,
            agents=group.agents,
        )
        radii = (loop.success_radius_m, loop.oracle_radius_m, loop.requires_stop)
        table = judge(results, *radii).assign(policy=group.policy)
        plans = getattr(policies[name], "plans", None)
        own = [plans[agent] for agent in group.agents] if plans else []
        pixels = [[value for pixel in plan.pixels for value in pixel] for plan in own]
        table["pixels"] = pixels or [[] for _ in results]
        return Flown(table, _count_answers(own) if plans else None)

    return fly


def fly_pointed(  # noqa: PLR0913 - the world, who flies in it, by which rules, and where
    simulator: Any,  # noqa: ANN401 - TrajectorySimulator, of the world
    open_pilot: Callable[..., Pilot[Flown]],
    arguments: tuple[object, ...],
    names: Sequence[str],
    loop: ClosedLoop,
    pairs: Mapping[str, str],
    backbone: Backbone,
    run: RunParams,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Let policies with a System 2, and those that need no training, fly the same episodes.

    Args:
        simulator: The world, restricted to its episodes.
        open_pilot: From ``arguments`` to ``pilot``; a module's own function.
        arguments: What it takes.
        names: Policies with a System 2.
        loop: Length, radii, agents of one pass.
        pairs: Policy to the one that it is compared with.
        backbone: What System 2 was trained from.
        run: Seed, device.

    Returns:
        Table of ``judge`` with ``policy`` and the pixels that were named; ``compare_policies``
        with ``answers``: how often System 2 answered what, by policy.
    """
    num_episodes = len(simulator.episode_ids)
    every = (*simple_policies(run.seed), *names)
    groups = group_flights(every, num_episodes, _GROUP)
    num_pilots = count_pilots(
        run, len(names) * num_episodes * loop.max_steps, len(names) * backbone.num_bytes
    )
    flown = share_flights(open_pilot, arguments, simulator, groups, num_pilots)
    episodes = pd.concat([found.episodes for found in flown], ignore_index=True)
    answers: dict[str, dict[str, int]] = {}
    for group, found in zip(groups, flown, strict=True):
        if found.answers is not None:
            so_far = answers.get(group.policy, dict.fromkeys(found.answers, 0))
            answers[group.policy] = {kind: so_far[kind] + n for kind, n in found.answers.items()}
    return episodes, {**compare_policies(episodes, pairs), "answers": answers}


def _count_answers(plans: list[Any]) -> dict[str, int]:
    kinds = ("pixel", "turn", "stop", "invalid")
    return {kind: sum(plan.asked.get(kind, 0) for plan in plans) for kind in kinds}
