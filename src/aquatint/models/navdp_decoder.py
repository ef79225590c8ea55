"""NavDP's decoder: trajectories out of noise and their value, from tokens of a condition."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from aquatint.models.diffusion import Diffusion


class TrajectoryDecoder(nn.Module):
    """A causal decoder over the steps of a trajectory that looks at tokens of a condition.

    It stands alone: whoever has condition tokens, NavDP's own or those of another model, trains it
    on what ``predict`` says or draws from it with ``sample``. Before the given tokens it puts one
    for the timestep. The critic's head judges clean trajectories and must not know the task: it
    sees neither the time nor the first ``num_task_tokens`` of the given tokens.

    Args:
        width: Width of all tokens.
        horizon: Steps of a trajectory.
        num_condition_tokens: Tokens that are given, without that of the time.
        num_task_tokens: How many of them, the first ones, say where to go.
        action_width: Values of a step: increments ahead, to the left, and of the turn.
        num_blocks: Decoder blocks.
        num_heads: Heads of each.
        feedforward_width: Width of their inner layer.
        dropout: Share of values dropped in training.
        has_critic: Whether trajectories can be judged.

    References:
        Cai et al., "NavDP: Learning Sim-to-Real Navigation Diffusion Policy with Privileged
        Information Guidance", 2025, https://arxiv.org/abs/2505.08712.
    """

    def __init__(  # noqa: PLR0913 - flat arguments, each one a size
        self,
        *,
        width: int = 384,
        horizon: int = 24,
        num_condition_tokens: int = 131,
        num_task_tokens: int = 3,
        action_width: int = 3,
        num_blocks: int = 16,
        num_heads: int = 8,
        feedforward_width: int = 1536,
        dropout: float = 0.1,
        has_critic: bool = True,
    ) -> None:
        super().__init__()
        if not 0 <= num_task_tokens <= num_condition_tokens:
            raise ValueError(
                f"num_task_tokens {num_task_tokens} exceeds num_condition_tokens "
                f"{num_condition_tokens}."
            )
        self.horizon, self.action_width, self._width = horizon, action_width, width
        self.num_condition_tokens, self._num_hidden = num_condition_tokens, 1 + num_task_tokens
        self.action = nn.Linear(action_width, width)
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.step_places = nn.Parameter(0.02 * torch.randn(1, horizon, width))
        self.condition_places = nn.Parameter(0.02 * torch.randn(1, 1 + num_condition_tokens, width))
        block = nn.TransformerDecoderLayer(
            width, num_heads, feedforward_width, dropout, "gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerDecoder(block, num_blocks)
        self.norm = nn.LayerNorm(width)
        self.action_head = nn.Linear(width, action_width)
        self.critic_head = nn.Linear(width, 1) if has_critic else None
        is_later = torch.ones(horizon, horizon, dtype=torch.bool).triu(1)
        self.register_buffer("_is_later", is_later, persistent=False)

    def predict(
        self, noisy: Tensor, timesteps: Tensor, condition: Tensor, shift: Tensor | None = None
    ) -> Tensor:
        """Say which noise is in trajectories, or what they are without it.

        Which of both, training decides by ``Diffusion.prediction_type``.

        Args:
            noisy: Increments with noise, shape (B, H, A), or (B * K, H, A) for K samples of each
                condition.
            timesteps: Of the diffusion, counted from 0, shape (B,).
            condition: Tokens, shape (B, C, D).
            shift: What is added to the token of every step, shape (B, D); nothing by default.

        Returns:
            Noise or increments, in the shape of ``noisy``.
        """
        steps = self._decode(noisy, timesteps, condition, shift, hides_task=False)
        return self.action_head(steps)

    def value(self, actions: Tensor, condition: Tensor) -> Tensor:
        """Judge clean trajectories by what is seen, whatever the task.

        Args:
            actions: Increments, shape (B, H, A), or (B * K, H, A) for K samples of each condition.
            condition: Tokens, shape (B, C, D).

        Returns:
            Values, the higher the better, shape (B,) or (B * K,).

        Raises:
            ValueError: If the decoder was built without a critic.
        """
        if self.critic_head is None:
            raise ValueError("This decoder was built with has_critic false: it judges nothing.")
        timesteps = torch.zeros(len(condition), dtype=torch.long, device=actions.device)
        steps = self._decode(actions, timesteps, condition, None, hides_task=True)
        return self.critic_head(steps.mean(1)).squeeze(-1)

    def sample(
        self,
        diffusion: Diffusion,
        condition: Tensor,
        start: Tensor,
        generator: torch.Generator | list[torch.Generator] | None = None,
    ) -> Tensor:
        """Sample several trajectories for each condition.

        Args:
            diffusion: Process and sampler.
            condition: Tokens, shape (B, C, D).
            start: Standard normal noise, shape (B, K, H, A).
            generator: Source of the fresh noise of ddpm, or one for each sample.

        Returns:
            Increments, shape (B, K, H, A).
        """
        found = diffusion.sample(
            lambda noisy, steps: self.predict(noisy, steps[:: start.shape[1]], condition),
            start.flatten(0, 1),
            generator,
        )
        return found.unflatten(0, start.shape[:2])

    def values_of(self, samples: Tensor, condition: Tensor) -> Tensor:
        """Judge several trajectories (B, K, H, A) of each condition (B, C, D), shape (B, K)."""
        return self.value(samples.flatten(0, 1), condition).unflatten(0, samples.shape[:2])

    def _decode(
        self,
        actions: Tensor,
        timesteps: Tensor,
        condition: Tensor,
        shift: Tensor | None,
        *,
        hides_task: bool,
    ) -> Tensor:
        if condition.shape[1] != self.num_condition_tokens:
            raise ValueError(
                f"The decoder was built for {self.num_condition_tokens} condition tokens, got "
                f"{condition.shape[1]}."
            )
        time = self.time(sinusoidal_code(timesteps, self._width).to(condition.dtype))
        memory = torch.cat([time[:, None], condition], 1) + self.condition_places
        if hides_task:
            # Left out instead of masked: the same numbers, and less to compute.
            memory = memory[:, self._num_hidden :]
        steps = self.action(actions) + self.step_places
        if shift is not None:
            steps = steps + shift[:, None]
        if len(steps) == len(memory):
            return self.norm(self.blocks(steps, memory, tgt_mask=self._is_later))
        return self.norm(self._decode_samples(steps, memory))

    def _decode_samples(self, steps: Tensor, memory: Tensor) -> Tensor:
        """Run the blocks on several samples (B * K, H, D) of each memory (B, C, D).

        All samples of a condition ask it at once, so that its keys and values are computed once.
        """
        for block in self.blocks.layers:
            own = block.norm1(steps)
            own = block.self_attn(own, own, own, attn_mask=self._is_later, need_weights=False)[0]
            steps = steps + block.dropout1(own)
            asking = block.norm2(steps).reshape(len(memory), -1, steps.shape[-1])
            told = block.multihead_attn(asking, memory, memory, need_weights=False)[0]
            steps = steps + block.dropout2(told.reshape(steps.shape))
            inner = block.dropout(block.activation(block.linear1(block.norm3(steps))))
            steps = steps + block.dropout3(block.linear2(inner))
        return steps


def sinusoidal_code(timesteps: Tensor, width: int) -> Tensor:
    """Return sines and cosines of timesteps (B,) at ever longer periods, shape (B, width)."""
    half = width // 2
    rates = torch.exp(-math.log(10_000) * torch.arange(half, device=timesteps.device) / half)
    angles = timesteps.float()[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], 1)
