"""Closed loop over the towns of trajectories: agents fly the same flights, by themselves."""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from aquatint.data.json_lines import read_json_lines
from aquatint.world.arrays import FloatArray
from aquatint.world.scenes import Scene
from aquatint.world.town import CLOSED_LOOP, SET_NAME, TownWorldSpec, open_town, scene_name
from aquatint.world.town_agent import AgentState, camera_pose
from aquatint.world.town_map import HALF_EXTENT_M, TownMap
from aquatint.world.town_runs import TownRun, carry_out, expert_actions

CameraName = Literal["ahead", "down"]


class TrajectorySimulator:
    """Agents over towns that ``write_town`` wrote.

    Args:
        folder: Folder of the world.
        spec: Its specification.
    """

    def __init__(self, folder: Path, spec: TownWorldSpec) -> None:
        self._spec, self.agent = spec, spec.agent
        self._episodes: dict[str, dict[str, Any]] = {}
        for number in range(spec.num_scenes):
            scene = scene_name(number)
            meta = folder / "traj_data" / SET_NAME / scene / "meta"
            for record in read_json_lines(meta / f"{CLOSED_LOOP}.jsonl"):
                name = f"{scene}/{record['episode_index']:06d}"
                found = {"episode_id": name, "scene": scene, "number": number}
                self._episodes[name] = {**record, **found}
        self._chosen = list(self._episodes)
        self._runs: list[TownRun] = []

    def restrict(self, scenes: Collection[str], most: int | None = None) -> None:
        """Keep the episodes of these scenes, and of them at most so many: every n-th.

        Raises:
            ValueError: If none is left.
        """
        kept = [name for name, episode in self._episodes.items() if episode["scene"] in scenes]
        if not kept:
            raise ValueError(
                f"No episode lies in {', '.join(sorted(scenes)[:4])}; the simulator has "
                f"{', '.join(sorted({e['scene'] for e in self._episodes.values()})[:4])}, ... "
                "Trajectories and simulator must be of one world."
            )
        self._chosen = kept[:: max(1, -(-len(kept) // most))] if most else kept

    @property
    def episode_ids(self) -> list[str]:
        """Episodes to fly."""
        return list(self._chosen)

    def reset(self, episode_ids: list[str], wording: int = 0, *, is_misled: bool = False) -> None:
        """Begin these episodes; misled agents are told another episode's landmark."""
        told = [self._other(own) for own in episode_ids] if is_misled else episode_ids
        self._runs = [
            self._begin(self._episodes[own], self._episodes[other]["instructions"][wording])
            for own, other in zip(episode_ids, told, strict=True)
        ]

    def _other(self, episode_id: str) -> str:
        """The next episode, half the list away, that is told another landmark."""
        place, size = self._chosen.index(episode_id), len(self._chosen)
        own = self._episodes[episode_id]["landmark"]
        later = [self._chosen[(place + size // 2 + step) % size] for step in range(size)]
        return next((i for i in later if self._episodes[i]["landmark"] != own), episode_id)

    def _begin(self, episode: dict[str, Any], instruction: str) -> TownRun:
        place = functools.partial(self._place, episode["number"])
        start, goal = AgentState(**episode["start"]), np.array(episode["goal"])
        return TownRun(episode, goal, self.agent, place, [start], instruction)

    @functools.lru_cache(maxsize=64)  # noqa: B019 - lives as long as the run's simulator
    def _place(self, number: int) -> tuple[Scene, TownMap]:
        scene, town, _ = open_town(self._spec, number)
        return scene, town

    def instructions(self) -> list[str]:
        """What each agent was told."""
        return [run.instruction for run in self._runs]

    def num_frames(self, agent: int) -> int:
        """Frames that an agent has seen so far, the present one included."""
        return len(self._runs[agent].states)

    def observe_frames(
        self, requests: Sequence[tuple[int, int]], camera: CameraName
    ) -> list[tuple[NDArray[np.uint8], FloatArray]]:
        """Return frames as agents saw them, rendered when they are first asked for.

        Args:
            requests: Agent and frame, counted from 0, of each.
            camera: Which of an agent's cameras.

        Returns:
            Pixels (S, S, 3) and depth in metres (S, S) of each.
        """
        pitch = self.agent.pitch_deg if camera == "ahead" else self.agent.look_down_deg
        return [self._runs[agent].look_back(frame, pitch) for agent, frame in requests]

    def camera_pose(self, agent: int, camera: CameraName) -> FloatArray:
        """Camera to world of an agent's camera now, OpenCV's axes, shape (4, 4)."""
        pitch = self.agent.pitch_deg if camera == "ahead" else self.agent.look_down_deg
        return camera_pose(self._runs[agent].states[-1], self.agent, pitch)

    @property
    def intrinsics(self) -> FloatArray:
        """Matrix of both cameras, shape (3, 3)."""
        return self.agent.intrinsics

    def expert_actions(self, agents: list[int]) -> NDArray[np.int64]:
        """What the expert, who knows the goal, would do now, shape (B,)."""
        return expert_actions([self._runs[number] for number in agents])

    def step(self, agents: list[int], actions: NDArray[np.int64]) -> None:
        """Carry out one action of each of these agents, shape (B,)."""
        carry_out([self._runs[number] for number in agents], actions, self.agent)

    def results(self) -> list[dict[str, Any]]:
        """How each episode went: positions, reference, goal, way, stop, collisions."""
        return [
            {
                "episode_id": run.episode["episode_id"],
                "scene": run.episode["scene"],
                "instruction": run.instruction,
                "path": np.array([state.position for state in run.states]),
                "reference": np.array(run.episode["reference"]),
                "goal": np.array(run.episode["goal"]),
                "geodesic_m": float(run.episode["geodesic_m"]),
                "has_stopped": run.has_stopped,
                "num_collisions": run.num_collisions,
            }
            for run in self._runs
        ]

    def ground_map(self, episode_id: str) -> tuple[FloatArray, float]:
        """Return heights around an episode in metres (S, S) by y and x, and half their extent."""
        return self._place(self._episodes[episode_id]["number"])[1].heights_m, HALF_EXTENT_M

    def pads(self, episode_id: str) -> list[tuple[str, float, float, float]]:
        """Color, x, y and radius in metres of each pad around an episode."""
        found = open_town(self._spec, self._episodes[episode_id]["number"])[2]
        return [(pad.color, pad.x_m, pad.y_m, pad.radius_m) for pad in found]
