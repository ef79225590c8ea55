"""Flow matching with diffusers' Euler scheduler: straight ways between samples and noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

FlowPrediction = Literal["velocity", "sample"]


@dataclass(frozen=True)
class FlowMatching:
    """A flow from noise to samples, and how it is followed.

    At timestep t a sample is ``(1 - s) clean + s noise`` with ``s = t / num_train_timesteps``; its
    velocity is ``noise - clean``.

    Attributes:
        num_train_timesteps: Timesteps, counted from 1; the last is pure noise.
        num_inference_steps: Steps of the sampler.
        prediction_type: What the network says: the ``velocity``, or what is clean, ``sample``, from
            which the sampler computes the velocity. Most of a velocity's error is the noise, which
            nothing but the noisy sample tells; a clean sample has to be found in the condition.

    References:
        Lipman et al., "Flow Matching for Generative Modeling", ICLR 2023,
        https://arxiv.org/abs/2210.02747; Liu et al., "Flow Straight and Fast", ICLR 2023,
        https://arxiv.org/abs/2209.03003. Clean samples instead of velocities: Li and He, "Back to
        Basics: Let Denoising Generative Models Denoise", 2025;
        their loss stays that of the velocity, here it is that of what is said.
    """

    num_train_timesteps: int = 1000
    num_inference_steps: int = 10
    prediction_type: FlowPrediction = "velocity"

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
        """Return what the network is to say: velocity or clean samples, shape (B, ...)."""
        return noise - clean if self.prediction_type == "velocity" else clean

    def sample(
        self,
        predict: Callable[[Tensor, Tensor], Tensor],
        start: Tensor,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Follow the flow from noise to samples.

        Args:
            predict: ``(noisy, timesteps) -> velocity``, shapes (B, ...), (B,), (B, ...); clean
                samples instead of the velocity where ``prediction_type`` says so.
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
            said = predict(noisy, timesteps)
            if self.prediction_type == "sample":
                said = (noisy - said) * (self.num_train_timesteps / float(step))
            noisy = scheduler.step(said, step, noisy).prev_sample
        return noisy
