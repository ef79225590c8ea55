"""Flights of agents over towns that are under way: what an expert would do, and one step of all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aquatint.world.arrays import FloatArray
from aquatint.world.scenes import Scene
from aquatint.world.town_agent import Action, AgentSpec, AgentState, Expert, act, look
from aquatint.world.town_map import TownMap

Frame = tuple[NDArray[np.uint8], FloatArray]


@dataclass
class TownRun:
    """An agent in an episode.

    Its town and its expert are made when somebody asks for them: of many runs, few may be flown,
    and few policies ask an expert.

    Attributes:
        episode: What the episode's record holds.
        goal: Where its expert flies to, shape (2,).
        agent: The agent.
        find_place: What there is to see, and where the agent may be.
        states: Where the agent was, the present state last.
        instruction: What it was told.
        num_collisions: How often it ran into something.
        has_stopped: Whether it ended the episode by itself.
        seen: What was rendered so far, by frame and pitch.
    """

    episode: dict[str, Any]
    goal: FloatArray
    agent: AgentSpec
    find_place: Callable[[], tuple[Scene, TownMap]]
    states: list[AgentState]
    instruction: str
    num_collisions: int = 0
    has_stopped: bool = False
    seen: dict[tuple[int, float], Frame] = field(default_factory=dict)

    @property
    def scene(self) -> Scene:
        """What there is to see."""
        return self.find_place()[0]

    @property
    def town(self) -> TownMap:
        """Where the agent may be."""
        return self.find_place()[1]

    @cached_property
    def expert(self) -> Expert:
        """Who knows the way."""
        return Expert(self.town, self.goal, self.agent)

    def look_back(self, frame: int, pitch_deg: float) -> Frame:
        """Pixels (S, S, 3) and depth in metres (S, S) of a frame, which is rendered once.

        Args:
            frame: Counted from 0.
            pitch_deg: Pitch of the camera.
        """
        if (frame, pitch_deg) not in self.seen:
            view = look(self.scene, self.states[frame], self.agent, pitch_deg)
            self.seen[frame, pitch_deg] = view.rgb, view.depth_m
        return self.seen[frame, pitch_deg]


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
