"""Flights of agents over towns that are under way: what an expert would do, and one step of all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aquatint.world.scenes import Scene
from aquatint.world.town_agent import Action, AgentSpec, AgentState, Expert, act
from aquatint.world.town_map import TownMap


@dataclass
class TownRun:
    """An agent in an episode.

    Attributes:
        episode: What the episode's record holds.
        scene: What there is to see.
        town: Where the agent may be.
        expert: Who knows the way.
        states: Where the agent was, the present state last.
        instruction: What it was told.
        num_collisions: How often it ran into something.
        has_stopped: Whether it ended the episode by itself.
    """

    episode: dict[str, Any]
    scene: Scene
    town: TownMap
    expert: Expert
    states: list[AgentState]
    instruction: str
    num_collisions: int = 0
    has_stopped: bool = False


def expert_actions(runs: Sequence[TownRun]) -> NDArray[np.int64]:
    """What the expert, who knows the goal, would do now, shape (B,)."""
    decided = (run.expert.decide(run.states[-1]) for run in runs)
    return np.array([Action.STOP if action is None else action for action in decided])


def carry_out(runs: Sequence[TownRun], actions: NDArray[np.int64], agent: AgentSpec) -> None:
    """Carry out one action of each agent, shape (B,)."""
    for run, action in zip(runs, actions.tolist(), strict=True):
        if action == Action.STOP:
            run.has_stopped = True
            continue
        state, collided = act(run.states[-1], Action(action), run.town, agent)
        run.states.append(state)
        run.num_collisions += collided
