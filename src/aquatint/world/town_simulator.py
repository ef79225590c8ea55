"""Closed loop over towns: several agents act at once, each in an episode of its own."""

from __future__ import annotations

import functools
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aquatint.world.arrays import FloatArray
from aquatint.world.scenes import Scene, make_scene
from aquatint.world.town_agent import AgentState, look
from aquatint.world.town_map import TownMap
from aquatint.world.town_records import (
    UNKNOWN,
    TownRecordsSpec,
    raw_root,
    town_seed,
    words_of,
)
from aquatint.world.town_runs import TownRun, carry_out, expert_actions


class TownSimulator:
    """Agents over towns that ``write_records`` wrote.

    Args:
        folder: Folder of the world.
        spec: Its specification.
        split: Which episodes: ``val_seen`` or ``val_unseen``.
        max_episodes: At most so many, evenly over the towns; 0 for all.
    """

    def __init__(
        self, folder: Path, spec: TownRecordsSpec, split: str, max_episodes: int = 0
    ) -> None:
        path = raw_root(folder) / split / f"{split}.json.gz"
        content = json.loads(gzip.decompress(path.read_bytes()))
        self._spec, self._agent = spec, spec.agent
        listed = content["episodes"]
        if max_episodes and len(listed) > max_episodes:
            kept = np.linspace(0, len(listed) - 1, max_episodes).round().astype(int)
            listed = [listed[place] for place in kept]
        self._episodes = {episode["episode_id"]: episode for episode in listed}
        words = content["instruction_vocab"]["word_list"]
        self._numbers = {word: number for number, word in enumerate(words)}
        self._vectors_file = raw_root(folder) / "embeddings.json.gz"
        self._runs: list[TownRun] = []
        self._wordings: list[int] = []

    @property
    def episode_ids(self) -> list[str]:
        """Episodes of the split."""
        return list(self._episodes)

    def reset(
        self, episode_ids: list[str], wording: int | None = 0, *, is_misled: bool = False
    ) -> None:
        """Begin these episodes.

        Args:
            episode_ids: Which.
            wording: Which of an episode's instructions; None for each in its turn.
            is_misled: Whether each agent is told the instruction of another episode.
        """
        told = [self._other(own) for own in episode_ids] if is_misled else episode_ids
        self._wordings = [
            place % len(self._episodes[own]["instructions"]) if wording is None else wording
            for place, own in enumerate(episode_ids)
        ]
        self._runs = [
            self._begin(self._episodes[own], self._episodes[other]["instructions"][number])
            for own, other, number in zip(episode_ids, told, self._wordings, strict=True)
        ]

    def _other(self, episode_id: str) -> str:
        """The next episode, half the list away, that is told another landmark."""
        ids = self.episode_ids
        place = ids.index(episode_id)
        own = self._episodes[episode_id]["landmark"]
        later = [ids[(place + len(ids) // 2 + step) % len(ids)] for step in range(len(ids))]
        return next((i for i in later if self._episodes[i]["landmark"] != own), episode_id)

    def _begin(self, episode: dict[str, Any], instruction: str) -> TownRun:
        place = functools.partial(self._place, episode["scene_number"])
        goal = np.array(episode["goals"][0]["position"])
        x, y = episode["start_position"]
        start = AgentState(x, y, episode["start_heading_rad"])
        return TownRun(episode, goal, self._agent, place, [start], instruction)

    @functools.lru_cache(maxsize=64)  # noqa: B019 - lives as long as the run's simulator
    def _place(self, number: int) -> tuple[Scene, TownMap]:
        scene, agent = make_scene(town_seed(self._spec, number)), self._spec.agent
        return scene, TownMap(scene, agent.altitude_m, agent.clearance_m, agent.radius_m)

    def word_vectors(self) -> FloatArray:
        """The frozen vector of each word, in the order of the tokens' numbers, shape (V, W)."""
        return np.array(json.loads(gzip.decompress(self._vectors_file.read_bytes())), np.float32)

    def tokens(self) -> list[list[int]]:
        """Numbers of the words of each agent's instruction."""
        return [
            [self._numbers.get(word, UNKNOWN) for word in words_of(run.instruction)]
            for run in self._runs
        ]

    def observe(self, agents: list[int]) -> tuple[NDArray[np.uint8], FloatArray]:
        """Return what these agents see: pixels (B, S, S, 3) and depth in metres (B, S, S)."""
        views = [
            look(run.scene, run.states[-1], self._agent, self._agent.pitch_deg)
            for run in (self._runs[number] for number in agents)
        ]
        return np.stack([view.rgb for view in views]), np.stack([view.depth_m for view in views])

    def poses(self, agents: list[int]) -> FloatArray:
        """World x, y and heading of these agents, shape (B, 3)."""
        states = (self._runs[number].states[-1] for number in agents)
        return np.array([(state.x_m, state.y_m, state.heading_rad) for state in states])

    def expert_actions(self, agents: list[int]) -> NDArray[np.int64]:
        """What the expert, who knows the goal, would do now, shape (B,)."""
        return expert_actions([self._runs[number] for number in agents])

    def step(self, agents: list[int], actions: NDArray[np.int64]) -> None:
        """Carry out one action of each of these agents, shape (B,)."""
        carry_out([self._runs[number] for number in agents], actions, self._agent)

    def results(self) -> list[dict[str, Any]]:
        """How each episode went: positions, reference, goal, way, stop, collisions."""
        return [
            {
                "episode_id": run.episode["episode_id"],
                "scene": f"scene_{run.episode['scene_number']:04d}",
                "instruction": run.instruction,
                "wording": wording,
                "path": np.array([state.position for state in run.states]),
                "reference": np.array(run.episode["reference_path"]),
                "goal": np.array(run.episode["goals"][0]["position"]),
                "geodesic_m": float(run.episode["info"]["geodesic_distance"]),
                "has_stopped": run.has_stopped,
                "num_collisions": run.num_collisions,
            }
            for run, wording in zip(self._runs, self._wordings, strict=True)
        ]

    def ground_map(self, episode_id: str) -> tuple[FloatArray, float]:
        """Return heights around an episode in metres (S, S) by y and x, and half their extent."""
        from aquatint.world.town_map import HALF_EXTENT_M

        town = self._place(self._episodes[episode_id]["scene_number"])[1]
        return town.heights_m, HALF_EXTENT_M
