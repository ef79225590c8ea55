"""Action experts: chunks of coming actions from a condition, by regression or by diffusion."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aquatint.models.fusion import Condition


class RegressionExpert(nn.Module):
    """Changes a prior into the coming actions; learned queries look at the condition.

    Args:
        width: Width of the condition.
        horizon: Actions of a chunk.
        action_width: Values of an action.
        num_blocks: Decoder blocks.
        num_heads: Heads of each.
        feedforward_width: Width of their inner layer.
        dropout: Share of values dropped in training.

    References:
        Published expert of Najongs/Insertion_VLA, 72.4 M parameters. Differs: the prior is what is
        known when acting (zeros or the last action); there it was the target itself. Queries
        know the summary of the condition.
    """

    def __init__(  # noqa: PLR0913 - flat arguments, each one a size
        self,
        *,
        width: int = 1024,
        horizon: int = 8,
        action_width: int = 7,
        num_blocks: int = 4,
        num_heads: int = 8,
        feedforward_width: int = 4096,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.queries = nn.Parameter(0.02 * torch.randn(1, horizon, width))
        block = nn.TransformerDecoderLayer(
            width, num_heads, feedforward_width, dropout, "gelu", batch_first=True, norm_first=True
        )
        self.decoder = nn.TransformerDecoder(block, num_blocks)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, action_width)

    def forward(self, condition: Condition, prior: Tensor) -> Tensor:
        """Predict a chunk.

        Args:
            condition: What the expert looks at.
            prior: Normalised actions to start from, shape (B, H, A).

        Returns:
            Normalised actions, shape (B, H, A).
        """
        # The summary asks too, as it does in the diffusion expert: queries that are the same for
        # every sample would have to learn what to look for from the tokens alone.
        queries = self.queries + condition.summary[:, None]
        decoded = self.decoder(queries, condition.memory, memory_key_padding_mask=condition.is_pad)
        return prior + self.head(self.norm(decoded))


@dataclass(frozen=True)
class Memory:
    """What a diffusion expert keeps of a condition, for any number of chunks and timesteps.

    Attributes:
        summary: One vector, shape (B, D).
        keys: Of the condition's further tokens, for each block, shape (B, heads, M, D / heads).
        values: The same.
        is_pad: True where such a token is padding, shape (B, M).
    """

    summary: Tensor
    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    is_pad: Tensor


class DiffusionExpert(nn.Module):
    """Finds the noise in chunks of actions.

    Action, time and summary are added for each step, as published; the steps of a chunk look at
    each other and at further tokens of the condition. Those do not look at the chunk, so that they
    are read once, however many chunks are drawn and however many steps the sampler takes.

    Args:
        width: Width of the condition.
        horizon: Actions of a chunk.
        action_width: Values of an action.
        num_blocks: Encoder blocks.
        num_heads: Heads of each.
        feedforward_width: Width of their inner layer.
        dropout: Share of values dropped in training.
        time_width: Width of the sinusoidal code of a timestep.

    References:
        Published expert of Najongs/Insertion_VLA, 57.9 M parameters. Differs: positions of the
        horizon are told apart; without them the network could not say which step comes first. The
        condition's tokens do not look at the chunk.
    """

    def __init__(  # noqa: PLR0913 - flat arguments, each one a size
        self,
        *,
        width: int = 1024,
        horizon: int = 8,
        action_width: int = 7,
        num_blocks: int = 4,
        num_heads: int = 8,
        feedforward_width: int = 4096,
        dropout: float = 0.1,
        time_width: int = 128,
    ) -> None:
        super().__init__()
        self._time_width = time_width
        self.action = nn.Linear(action_width, width)
        self.time = nn.Sequential(nn.Linear(time_width, width), nn.SiLU(), nn.Linear(width, width))
        # A name of its own, so that weights from before the condition was read once do not load.
        self.step_codes = nn.Parameter(0.02 * torch.randn(1, horizon, width))
        block = PrefixBlock(
            width, num_heads, feedforward_width, dropout, "gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(block, num_blocks, enable_nested_tensor=False)
        self.head = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, action_width)
        )

    def forward(self, condition: Condition, noisy: Tensor, timesteps: Tensor) -> Tensor:
        """Predict the noise, as ``find_noise`` does, in chunks of a condition of B samples."""
        return self.find_noise(self.remember(condition), noisy, timesteps)

    def remember(self, condition: Condition) -> Memory:
        """Read the condition's further tokens, once for all that is drawn behind it."""
        states, is_pad = condition.memory[:, 1:], condition.is_pad[:, 1:]
        kept: list[tuple[Tensor, Tensor]] = []
        for block in self.encoder.layers:
            states, key, value = block(states, ~is_pad[:, None, None])
            kept.append((key, value))
        keys, values = zip(*kept, strict=True)
        return Memory(condition.summary, keys, values, is_pad)

    def find_noise(self, memory: Memory, noisy: Tensor, timesteps: Tensor) -> Tensor:
        """Predict the noise.

        Args:
            memory: Of B samples.
            noisy: Noisy normalised actions, K chunks of each sample one after the other, shape
                (B * K, H, A).
            timesteps: Timestep of each chunk, counted from 0, shape (B * K,).

        Returns:
            Noise, shape (B * K, H, A).
        """
        (num_chunks, horizon), num_samples = noisy.shape[:2], len(memory.summary)
        draws = num_chunks // num_samples
        code = self.time(sinusoidal_code(timesteps, self._time_width).to(noisy.dtype))
        code = code + memory.summary.repeat_interleave(draws, 0)
        states = self.action(noisy) + self.step_codes + code[:, None]
        # All chunks of a sample in one row: each sees itself and what they have in common.
        states = states.reshape(num_samples, draws * horizon, -1)
        own = torch.eye(draws, dtype=torch.bool, device=noisy.device)
        own = own.repeat_interleave(horizon, 0).repeat_interleave(horizon, 1)
        common = ~memory.is_pad[:, None].expand(-1, len(own), -1)
        visible = torch.cat([common, own.expand(num_samples, -1, -1)], -1)[:, None]
        for block, *seen in zip(self.encoder.layers, memory.keys, memory.values, strict=True):
            states, _, _ = block(states, visible, seen)
        return self.head(states).view(num_chunks, horizon, -1)


class PrefixBlock(nn.TransformerEncoderLayer):
    """A transformer block that first normalises, with keys and values of a prefix beside its own.

    All its weights are used in ``forward``, which FSDP2 needs.
    """

    def forward(  # type: ignore[override] # another mask, and what is seen besides
        self, states: Tensor, visible: Tensor, seen: Sequence[Tensor] = ()
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Attend, add, and run the inner layer.

        Args:
            states: Shape (B, T, D).
            visible: Which keys a query sees, those of ``seen`` first, shape (B, 1, T or 1, S + T).
            seen: Keys and values of a prefix, each of shape (B, heads, S, D / heads); or none.

        Returns:
            New states, and the keys and values of ``states``.
        """
        attention = self.self_attn
        found = F.linear(self.norm1(states), attention.in_proj_weight, attention.in_proj_bias)
        query, key, value = (
            part.unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)
            for part in found.chunk(3, -1)
        )
        keys, values = key, value
        if seen:
            keys, values = torch.cat([seen[0], key], 2), torch.cat([seen[1], value], 2)
        dropout = attention.dropout if self.training else 0.0
        found = F.scaled_dot_product_attention(query, keys, values, visible, dropout)
        states = states + self.dropout1(attention.out_proj(found.transpose(1, 2).flatten(2)))
        inner = self.linear1(self.norm2(states))
        states = states + self.dropout2(self.linear2(self.dropout(self.activation(inner))))
        return states, key, value


def sinusoidal_code(timesteps: Tensor, width: int) -> Tensor:
    """Sines and cosines of a timestep at geometric frequencies, shape (B, width)."""
    half = width // 2
    rates = torch.exp(
        -math.log(10000) * torch.arange(half, device=timesteps.device) / max(1, half - 1)
    )
    angles = timesteps[:, None].float() * rates
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
