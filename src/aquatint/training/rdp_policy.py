"""RDP in the closed loop: it sees for itself, remembers where it was, and plans chunk by chunk."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aquatint.data.increments import IncrementRule, motion_of, past_of
from aquatint.features.views import ViewEncoder
from aquatint.models.rdp import Journey, Reading, RecurrentDiffusionPolicy
from aquatint.training.imitation_policy import Sight, see
from aquatint.training.imitation_samples import pad_tokens
from aquatint.training.navigation_rollout import NavigationSimulator
from aquatint.training.rdp_evaluation import first_actions, sample_chunks


class RdpActor:
    """RDP that acts.

    Args:
        policy: Trained policy, in evaluation mode.
        spec: Specification of its checkpoint.
        encoder: Frozen tower.
        sight: How frames become features.
        seed: Of the noise that chunks start from.
    """

    def __init__(
        self,
        policy: RecurrentDiffusionPolicy,
        spec: Mapping[str, Any],
        encoder: ViewEncoder,
        sight: Sight,
        seed: int,
    ) -> None:
        self._policy, self._encoder, self._sight, self._seed = policy, encoder, sight, seed
        self._rule = IncrementRule(**spec["rule"])
        self._threshold, self._count = spec["stop_threshold"], spec["num_executed"]
        self._device = next(policy.parameters()).device

    def begin(self, simulator: NavigationSimulator, num_agents: int) -> None:
        """Read the instructions, and forget earlier episodes."""
        self._tokens = pad_tokens(simulator.tokens()).to(self._device)
        self._names = simulator.episode_ids
        self._poses: list[list[NDArray[Any]]] = [[] for _ in range(num_agents)]
        self._left: list[deque[int]] = [deque() for _ in range(num_agents)]
        self._state: Tensor | None = None

    @torch.inference_mode()
    def decide(self, simulator: NavigationSimulator, agents: list[int]) -> NDArray[np.int64]:
        """Next action of each of these agents; who has none left plans a chunk."""
        for agent, pose in zip(agents, simulator.poses(agents), strict=True):
            self._poses[agent].append(pose)
        read = self._read(simulator, agents)
        waiting = [place for place, agent in enumerate(agents) if not self._left[agent]]
        if waiting:
            self._plan(read, agents, waiting)
        return np.array([self._left[agent].popleft() for agent in agents])

    def _read(self, simulator: NavigationSimulator, agents: list[int]) -> Reading:
        rgb, depth = see(simulator, agents, self._encoder, self._sight, self._device)
        flown = [np.array(self._poses[agent]) for agent in agents]
        past = np.stack([past_of(poses, len(poses) - 1, self._rule) for poses in flown])
        motion = np.stack([motion_of(poses[-1], poses[0], self._rule) for poses in flown])
        chosen = torch.tensor(agents, device=self._device)
        journey = Journey(
            rgb,
            depth,
            torch.from_numpy(past).float().to(self._device)[:, None],
            torch.from_numpy(motion).float().to(self._device)[:, None],
            self._tokens[chosen],
        )
        state = None if self._state is None else self._state[:, chosen]
        read = self._policy.read(journey, state)
        if self._state is None:
            self._state = read.state.new_zeros(1, len(self._poses), read.state.shape[2])
        self._state[:, chosen] = read.state
        return read

    def _plan(self, read: Reading, agents: list[int], waiting: list[int]) -> None:
        rows = Reading(
            read.condition[waiting], read.progress[waiting], read.stop_progress[waiting], read.state
        )
        own = [agents[place] for place in waiting]
        names = [f"{self._names[agent]}@{len(self._poses[agent]) - 1}" for agent in own]
        chunks = sample_chunks(self._policy, rows, names, self._seed).float().cpu().numpy()
        behind = rows.stop_progress.float().cpu().numpy()
        actions = first_actions(chunks.astype(float), behind, self._threshold, self._count)
        for agent, chosen in zip(own, actions, strict=True):
            self._left[agent].extend(chosen)
