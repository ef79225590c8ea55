"""Denoising diffusion with diffusers' schedulers: noise for training, samplers for acting."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

SamplerName = Literal["ddim", "ddpm"]
PredictionType = Literal["epsilon", "sample"]


@dataclass(frozen=True)
class Diffusion:
    """A diffusion process and how it is reversed.

    Values must lie in [-1, 1]: predicted clean samples are clipped there.

    Attributes:
        num_train_timesteps: Timesteps of the process, counted from 0.
        sampler: ``ddim`` without fresh noise, or ``ddpm`` over all timesteps.
        num_inference_steps: Steps of ddim.
        clip_sample: Whether predicted clean samples are clipped to [-1, 1].
        num_draws: Noise levels at which a training step shows each of its samples.
        min_snr_gamma: Signal-to-noise ratio above which a noise level counts less, in proportion:
            where the answer is all but seen, nothing is learnt about its condition. None weighs all
            alike.
        prediction_type: What the network says: ``epsilon``, the noise, or ``sample``, what is
            clean. Of few timesteps the first hold hardly anything but noise, and a clean sample
            computed from it has many times the network's error.
        num_averaged: Samples whose mean a policy of chunks acts on.

    References:
        Ho et al., "Denoising Diffusion Probabilistic Models", NeurIPS 2020,
        https://arxiv.org/abs/2006.11239. Song et al., "Denoising Diffusion Implicit Models", ICLR
        2021, https://arxiv.org/abs/2010.02502. Cosine schedule: Nichol and Dhariwal, ICML 2021,
        https://arxiv.org/abs/2102.09672. Weights: Hang et al., "Efficient Diffusion Training via
        Min-SNR Weighting Strategy", ICCV 2023, https://arxiv.org/abs/2303.09556. DDIM starts at the
        last timestep, where it was trained to see pure noise, and takes the noise again from a
        clipped sample.
    """

    num_train_timesteps: int = 100
    sampler: SamplerName = "ddim"
    num_inference_steps: int = 10
    clip_sample: bool = True
    num_draws: int = 1
    min_snr_gamma: float | None = None
    prediction_type: PredictionType = "epsilon"
    num_averaged: int = 1

    def scheduler(self) -> Any:  # noqa: ANN401 - diffusers, imported late
        """Build diffusers' scheduler of the sampler."""
        common: dict[str, Any] = {
            "num_train_timesteps": self.num_train_timesteps,
            "beta_schedule": "squaredcos_cap_v2",
            "prediction_type": self.prediction_type,
            "clip_sample": self.clip_sample,
            "timestep_spacing": "trailing",
        }
        if self.sampler == "ddim":
            from diffusers.schedulers.scheduling_ddim import DDIMScheduler

            return DDIMScheduler(**common)
        from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

        return DDPMScheduler(**common)

    @property
    def timesteps(self) -> list[int]:
        """Timesteps of the sampler in the order in which it takes them."""
        scheduler = self.scheduler()
        scheduler.set_timesteps(self._num_steps)
        return [int(step) for step in scheduler.timesteps]

    @property
    def _num_steps(self) -> int:
        return self.num_inference_steps if self.sampler == "ddim" else self.num_train_timesteps

    def add_noise(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Return clean samples (B, ...) with as much noise as their timesteps (B,) say."""
        return self.scheduler().add_noise(clean, noise, timesteps)

    def loss_weights(self, timesteps: Tensor) -> Tensor:
        """Weight of the squared error of what is predicted at each timestep, same shape."""
        if self.min_snr_gamma is None:
            return torch.ones_like(timesteps, dtype=torch.float32)
        kept = self.scheduler().alphas_cumprod.to(timesteps.device)[timesteps]
        ratio = kept / (1 - kept)
        if self.prediction_type == "sample":
            return ratio.clamp(max=self.min_snr_gamma)
        return (self.min_snr_gamma / ratio).clamp(max=1.0)

    def target(self, clean: Tensor, noise: Tensor) -> Tensor:
        """Return what the network is to say: the noise, or the clean samples, shape (B, ...)."""
        return noise if self.prediction_type == "epsilon" else clean

    def sample(
        self,
        predict_noise: Callable[[Tensor, Tensor], Tensor],
        start: Tensor,
        generator: torch.Generator | list[torch.Generator] | None = None,
    ) -> Tensor:
        """Turn noise into samples.

        Args:
            predict_noise: ``(noisy, timesteps) -> noise``, shapes (B, ...), (B,), (B, ...); clean
                samples instead of noise where ``prediction_type`` says so.
            start: Standard normal noise, shape (B, ...).
            generator: Source of the fresh noise of ddpm, or one for each sample.

        Returns:
            Samples, shape (B, ...).
        """
        scheduler = self.scheduler()
        scheduler.set_timesteps(self._num_steps)
        noisy = start * scheduler.init_noise_sigma
        options: dict[str, Any] = (
            {"eta": 0.0, "use_clipped_model_output": self.clip_sample}
            if self.sampler == "ddim"
            else {"generator": generator}
        )
        for step in scheduler.timesteps:
            timesteps = torch.full((len(noisy),), int(step), device=noisy.device)
            noise = predict_noise(noisy, timesteps)
            noisy = scheduler.step(noise, step, noisy, **options).prev_sample
        return noisy
