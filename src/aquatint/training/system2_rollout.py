"""System 2 with a straight-line controller, beside what needs no training, in the same episodes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
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
ANSWERS = ("pixel", "turn", "stop", "invalid")


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
    pairs = {"system2": "forward", "untrained": "system2", f"system2{MISLED}": "system2"}
    names = ("untrained", *SYSTEM2)
    episodes = fly_straight(simulator, scenes, backbone, checkpoint, loop, run, names)
    return episodes, compare_pointed(episodes, pairs)


def fly_straight(  # noqa: PLR0913 - the arguments of fly_system2, and who flies
    simulator: Any,  # noqa: ANN401 - TrajectorySimulator, of the world
    scenes: Collection[str],
    backbone: Backbone,
    checkpoint: Checkpoint,
    loop: ClosedLoop,
    run: RunParams,
    names: tuple[str, ...] = SYSTEM2[:1],
) -> pd.DataFrame:
    """Let System 2 with a straight-line controller fly, and what needs no training.

    Args:
        simulator: The world.
        scenes: Scenes of the test split.
        backbone: What System 2 was trained from.
        checkpoint: Its training.
        loop: Length, radii, how often System 2 is asked.
        run: Seed, device.
        names: Policies of ``open_system2``.

    Returns:
        As ``fly_pointed``.
    """
    simulator.restrict(set(scenes), loop.num_episodes)
    crew = Crew(open_system2, (backbone, checkpoint, loop, pilot_run(run)), names)
    return fly_pointed(simulator, crew, loop, backbone, run)


def open_system2(
    backbone: Backbone, checkpoint: Checkpoint, loop: ClosedLoop, run: RunParams
) -> Pilot[pd.DataFrame]:
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


def pilot(build: Callable[[str, Any], Policy], loop: ClosedLoop, seed: int) -> Pilot[pd.DataFrame]:
    """Return what lets groups fly; those named ``..._misled`` are told others' instructions.

    Args:
        build: From a policy's name and the simulator's agent to the policy.
        loop: Length and radii.
        seed: Of chance.

    Returns:
        What gives a table of ``judge`` with ``policy``, the ``pixels`` that were named, and how
        often System 2 answered what, ``num_<kind>``; nothing there for policies without it.
    """
    policies = dict(simple_policies(seed))

    def fly(simulator: Any, group: FlightGroup) -> pd.DataFrame:  # noqa: ANN401 - of the world
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
        for kind in ANSWERS:
            counts = [plan.asked.get(kind, 0) for plan in own] or [pd.NA for _ in results]
            table[f"num_{kind}"] = pd.array(counts, "Int64")
        return table

    return fly


class Crew(NamedTuple):
    """Who flies with a System 2.

    Attributes:
        open_pilot: From ``arguments`` to ``pilot``; a module's own function.
        arguments: What it takes.
        names: Policies that it knows.
    """

    open_pilot: Callable[..., Pilot[pd.DataFrame]]
    arguments: tuple[object, ...]
    names: tuple[str, ...]


def fly_pointed(
    simulator: Any,  # noqa: ANN401 - TrajectorySimulator, of the world
    crew: Crew,
    loop: ClosedLoop,
    backbone: Backbone,
    run: RunParams,
    *,
    has_simple: bool = True,
) -> pd.DataFrame:
    """Let policies with a System 2 fly the same episodes.

    Args:
        simulator: The world, restricted to its episodes.
        crew: Who flies.
        loop: Length, radii, agents of one pass.
        backbone: What System 2 was trained from.
        run: Seed, device.
        has_simple: Whether those that need no training fly, too.

    Returns:
        Tables of ``pilot``, one policy after the other.
    """
    num_episodes = len(simulator.episode_ids)
    simple = simple_policies(run.seed) if has_simple else ()
    groups = group_flights((*simple, *crew.names), num_episodes, _GROUP)
    num_names = len(crew.names)
    num_pilots = count_pilots(
        run, num_names * num_episodes * loop.max_steps, num_names * backbone.num_bytes
    )
    flown = share_flights(crew.open_pilot, crew.arguments, simulator, groups, num_pilots)
    return pd.concat(flown, ignore_index=True)


def compare_pointed(episodes: pd.DataFrame, pairs: Mapping[str, str]) -> dict[str, Any]:
    """Summarise flights and compare policies on the same episodes.

    Args:
        episodes: Tables of ``fly_pointed``.
        pairs: Policy to the one that it is compared with.

    Returns:
        ``compare_policies`` with ``answers``: how often System 2 answered what, by policy.
    """
    asked = episodes.dropna(subset=[f"num_{kind}" for kind in ANSWERS])
    answers = {
        str(name): {kind: int(rows[f"num_{kind}"].sum()) for kind in ANSWERS}
        for name, rows in asked.groupby("policy", sort=False)
    }
    return {**compare_policies(episodes, pairs), "answers": answers}
