"""A trained policy in the closed loop: it sees for itself and remembers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aquatint.features.flights import depth_grid, resized
from aquatint.features.views import ViewEncoder
from aquatint.models.imitation import NO_ACTION, ImitationPolicy, Observed
from aquatint.training.imitation_samples import pad_tokens
from aquatint.training.navigation_rollout import NavigationSimulator


@dataclass(frozen=True)
class Sight:
    """How frames become features; the same as for recordings.

    Attributes:
        edge_px: Edge of pictures as the tower sees them.
        depth_grid: Fields along an edge of a depth image.
        max_depth_m: Range of depth.
    """

    edge_px: int
    depth_grid: int
    max_depth_m: float


def see(
    simulator: NavigationSimulator,
    agents: list[int],
    encoder: ViewEncoder,
    sight: Sight,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """Features of what these agents see now, of pictures (B, 1, N, D) and depth (B, 1, M, E)."""
    pixels, depth_m = simulator.observe(agents)
    pictures = encoder(resized(pixels, sight.edge_px)).astype(np.float32)
    grid = depth_grid(depth_m, sight.depth_grid, sight.max_depth_m)
    return (
        torch.from_numpy(pictures)[:, None].to(device),
        torch.from_numpy(grid)[:, None].to(device),
    )


class ImitationActor:
    """A policy that acts.

    Args:
        policy: Trained policy, in evaluation mode.
        encoder: Frozen tower.
        sight: How frames become features.
        device: Where the policy computes.
    """

    def __init__(
        self, policy: ImitationPolicy, encoder: ViewEncoder, sight: Sight, device: torch.device
    ) -> None:
        self._policy, self._encoder, self._sight = policy, encoder, sight
        self._device = device
        self._states: tuple[Tensor, ...] | None = None
        self._tokens = torch.zeros(0, 0, dtype=torch.long)
        self._last = torch.zeros(0, dtype=torch.long)

    def begin(self, simulator: NavigationSimulator, num_agents: int) -> None:
        """Read the instructions, and forget earlier episodes."""
        self._tokens = pad_tokens(simulator.tokens()).to(self._device)
        self._last = torch.full((num_agents,), NO_ACTION, device=self._device)
        self._states = None

    @torch.inference_mode()
    def decide(self, simulator: NavigationSimulator, agents: list[int]) -> NDArray[np.int64]:
        """The most likely action of each of these agents."""
        rgb, depth = see(simulator, agents, self._encoder, self._sight, self._device)
        chosen = torch.tensor(agents, device=self._device)
        seen = Observed(rgb, depth, self._last[chosen][:, None], self._tokens[chosen])
        decided = self._policy(seen, self._states_of(chosen))
        actions = decided.logits[:, 0].argmax(-1)
        self._keep(chosen, decided.states)
        self._last[chosen] = actions
        return actions.cpu().numpy()

    def _states_of(self, chosen: Tensor) -> tuple[Tensor, ...] | None:
        if self._states is None:
            return None
        return tuple(state[:, chosen] for state in self._states)

    def _keep(self, chosen: Tensor, states: tuple[Tensor, ...]) -> None:
        if self._states is None:
            size = len(self._last)
            self._states = tuple(s.new_zeros(s.shape[0], size, s.shape[2]) for s in states)
        for whole, part in zip(self._states, states, strict=True):
            whole[:, chosen] = part
