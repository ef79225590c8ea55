"""Closed loop over cluttered towns: agents follow trajectories of their own to a goal."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aquatint.data.navdp_goals import MountedCamera
from aquatint.geometry.poses import to_local_frame, to_world_frame
from aquatint.world.arrays import FloatArray
from aquatint.world.render import View
from aquatint.world.scenes import Scene
from aquatint.world.town_agent import AgentState, look
from aquatint.world.town_map import HALF_EXTENT_M, TownMap
from aquatint.world.town_navdp import EPISODES_FILE, TownPathsSpec, find_town, planner_of
from aquatint.world.town_paths import PathPlanner, resample


@dataclass
class _Run:
    episode: dict[str, Any]
    # Called when somebody looks or moves: of many runs, few may be flown.
    find_place: Callable[[], tuple[Scene, PathPlanner]]
    states: list[NDArray[np.float64]]
    seen: dict[int, View] = field(default_factory=dict)
    num_collisions: int = 0
    has_stopped: bool = False

    @property
    def scene(self) -> Scene:
        return self.find_place()[0]

    @property
    def planner(self) -> PathPlanner:
        return self.find_place()[1]

    @property
    def goal(self) -> FloatArray:
        return np.array(self.episode["goal"])


class PlanningSimulator:
    """Agents over the unseen towns that ``write_paths`` wrote.

    Args:
        folder: Folder of the world.
        spec: Its specification.
        max_episodes: At most so many, evenly over the towns; 0 for all.
    """

    def __init__(self, folder: Path, spec: TownPathsSpec, max_episodes: int = 0) -> None:
        episodes = json.loads((folder / EPISODES_FILE).read_text())
        if max_episodes and len(episodes) > max_episodes:
            kept = np.linspace(0, len(episodes) - 1, max_episodes).round().astype(int)
            episodes = [episodes[place] for place in kept]
        self._spec, self._agent = spec, spec.agent
        self._episodes = {episode["episode_id"]: episode for episode in episodes}
        self._runs: list[_Run] = []

    @property
    def episode_ids(self) -> list[str]:
        """Episodes, in the order of their towns."""
        return list(self._episodes)

    @property
    def camera(self) -> MountedCamera:
        """The camera that all agents carry."""
        agent = self._agent
        focal_px, middle_px = agent.intrinsics[0, 0], agent.size_px / 2
        return MountedCamera(
            focal_px, focal_px, middle_px, middle_px, agent.size_px, agent.size_px,
            agent.altitude_m, np.radians(agent.pitch_deg),
        )  # fmt: skip

    def reset(self) -> None:
        """Begin all episodes anew."""
        self._runs = []
        for episode in self._episodes.values():
            place = functools.partial(self._place, episode["scene_number"])
            self._runs.append(_Run(episode, place, [np.array(episode["start"])]))

    @functools.lru_cache(maxsize=128)  # noqa: B019 - lives as long as the run's simulator
    def _place(self, number: int) -> tuple[Scene, PathPlanner]:
        scene, town = find_town(self._spec, number)
        return scene, planner_of(scene, town, self._agent)

    def observe(self, agents: list[int], back: int = 0) -> tuple[NDArray[np.uint8], FloatArray]:
        """Return what these agents see, or saw.

        Args:
            agents: Which.
            back: How many waypoints ago; from the start if there are not so many.

        Returns:
            Pixels (B, S, S, 3) and depth in metres (B, S, S).
        """
        runs = (self._runs[number] for number in agents)
        views = [self._look(run, max(0, len(run.states) - 1 - back)) for run in runs]
        return np.stack([view.rgb for view in views]), np.stack([view.depth_m for view in views])

    def _look(self, run: _Run, frame: int) -> View:
        """What an agent saw at one of its states, rendered once."""
        if frame not in run.seen:
            state = AgentState(*map(float, run.states[frame]))
            run.seen[frame] = look(run.scene, state, self._agent, self._agent.pitch_deg)
        return run.seen[frame]

    def goals(self, agents: list[int]) -> FloatArray:
        """Metres ahead and metres to the left of each agent's goal, shape (B, 2)."""
        runs = (self._runs[number] for number in agents)
        return np.stack(
            [to_local_frame(np.array([[*run.goal, 0.0]]), run.states[-1])[0, :2] for run in runs]
        )

    def goal_pictures(self, agents: list[int]) -> NDArray[np.uint8]:
        """What each agent would see at its goal, arriving as the expert does, (B, S, S, 3)."""
        return np.stack([self._goal_picture(self._runs[n].episode["episode_id"]) for n in agents])

    @functools.lru_cache(maxsize=1024)  # noqa: B019 - lives as long as the run's simulator
    def _goal_picture(self, episode_id: str) -> NDArray[np.uint8]:
        episode = self._episodes[episode_id]
        scene, _ = self._place(episode["scene_number"])
        before, end = np.array(episode["reference"][-2:])
        heading = float(np.arctan2(*(end - before)[::-1]))
        state = AgentState(float(end[0]), float(end[1]), heading)
        return look(scene, state, self._agent, self._agent.pitch_deg).rgb

    def expert_waypoints(self, agents: list[int], horizon: int, spacing_m: float) -> FloatArray:
        """Waypoints of the shortest way, as each agent sees them, shape (B, H, 3)."""
        found = []
        for run in (self._runs[number] for number in agents):
            state = run.states[-1]
            way = run.planner.plan(state[:2], run.goal)
            points = resample(way, spacing_m) if way is not None else state[None, :2]
            points = points[1:] if len(points) > 1 else points  # at the goal there is no way left
            points = points[np.minimum(np.arange(horizon), len(points) - 1)]
            steps = np.diff(np.concatenate([state[None, :2], points]), axis=0)
            headings = np.arctan2(steps[:, 1], steps[:, 0])
            found.append(to_local_frame(np.column_stack([points, headings]), state))
        return np.stack(found)

    def follow(self, agents: list[int], waypoints: FloatArray) -> None:
        """Let each agent follow its waypoints (B, n, 3) until something stands in the way."""
        for number, ahead in zip(agents, waypoints, strict=True):
            run = self._runs[number]
            for target in to_world_frame(ahead, run.states[-1]):
                if not run.planner.town.is_way_free(run.states[-1][:2], target[:2]):
                    run.num_collisions += 1
                    # It stays where it is, but turns: from there it may see a way out.
                    run.states.append(np.array([*run.states[-1][:2], target[2]]))
                    break
                run.states.append(target)

    def stop(self, agents: list[int]) -> None:
        """Note that these agents have ended their episodes themselves."""
        for number in agents:
            self._runs[number].has_stopped = True

    def results(self) -> list[dict[str, Any]]:
        """How each episode went: positions, reference, goal, way, stop, collisions."""
        return [
            {
                "episode_id": run.episode["episode_id"],
                "scene": f"scene_{run.episode['scene_number']:04d}",
                "instruction": "",
                "path": np.array([state[:2] for state in run.states]),
                "reference": np.array(run.episode["reference"]),
                "goal": run.goal,
                "geodesic_m": float(run.episode["geodesic_m"]),
                "has_stopped": run.has_stopped,
                "num_collisions": run.num_collisions,
                "is_detour": bool(run.episode["is_detour"]),
            }
            for run in self._runs
        ]

    def ground_map(self, episode_id: str) -> tuple[FloatArray, float]:
        """Return heights around an episode in metres (S, S) by y and x, and half their extent."""
        town: TownMap = self._place(self._episodes[episode_id]["scene_number"])[1].town
        return town.heights_m, HALF_EXTENT_M
