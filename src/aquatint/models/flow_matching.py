"""Flow matching with diffusers' Euler scheduler: straight ways between samples and noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class FlowMatching:
    """A flow from noise to samples, and how it is followed.

    At timestep t a sample is ``(1 - s) clean + s noise`` with ``s = t / num_train_timesteps``; the
    network says the velocity ``noise - clean``.

    Attributes:
        num_train_timesteps: Timesteps, counted from 1; the last is pure noise.
        num_inference_steps: Steps of the sampler.

    References:
        Lipman et al., "Flow Matching for Generative Modeling", ICLR 2023,
        https://arxiv.org/abs/2210.02747; Liu et al., "Flow Straight and Fast", ICLR 2023,
        https://arxiv.org/abs/2209.03003.
    """

    num_train_timesteps: int = 1000
    num_inference_steps: int = 10

    def scheduler(self) -> Any:  # noqa: ANN401 - diffusers, imported late
        """Build diffusers' scheduler."""
        from diffusers.schedulers.scheduling_flow_match_euler_discrete import (
            FlowMatchEulerDiscreteScheduler,
        )

        return FlowMatchEulerDiscreteScheduler(num_train_timesteps=self.num_train_timesteps)

    def add_noise(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Return clean samples (B, ...) with as much noise as their timesteps (B,) say.

        Args:
            clean: Samples.
            noise: Standard normal noise of that shape.
            timesteps: Counted from 0, as they are drawn; 0 is the first of the process.
        """
        # As the scheduler's own table, without looking each timestep up in it.
        share = ((timesteps.float() + 1) / self.num_train_timesteps).reshape(
            -1, *[1] * (clean.dim() - 1)
        )
        return (1 - share) * clean + share * noise

    def target(self, clean: Tensor, noise: Tensor) -> Tensor:
        """Return the velocity that the network is to say, shape (B, ...)."""
        return noise - clean

    def sample(
        self,
        predict: Callable[[Tensor, Tensor], Tensor],
        start: Tensor,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Follow the flow from noise to samples.

        Args:
            predict: ``(noisy, timesteps) -> velocity``, shapes (B, ...), (B,), (B, ...).
            start: Standard normal noise, shape (B, ...).
            generator: Not used; the flow is deterministic.

        Returns:
            Samples, shape (B, ...).
        """
        scheduler = self.scheduler()
        scheduler.set_timesteps(self.num_inference_steps)
        noisy = start
        for step in scheduler.timesteps:
            timesteps = torch.full((len(noisy),), float(step) - 1, device=noisy.device)
            noisy = scheduler.step(predict(noisy, timesteps), step, noisy).prev_sample
        return noisy
