"""Action experts: chunks of coming actions from a condition, by regression or by diffusion."""

from __future__ import annotations

import math

import torch
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


class DiffusionExpert(nn.Module):
    """Finds the noise in a chunk of actions.

    Action, time and summary are added for each step, as published; further tokens of the condition
    stand before the chunk.

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
        horizon are told apart; without them the network could not say which step comes first.
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
        self.positions = nn.Parameter(0.02 * torch.randn(1, horizon, width))
        block = nn.TransformerEncoderLayer(
            width, num_heads, feedforward_width, dropout, "gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(block, num_blocks, enable_nested_tensor=False)
        self.head = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, action_width)
        )

    def forward(self, condition: Condition, noisy: Tensor, timesteps: Tensor) -> Tensor:
        """Predict the noise.

        Args:
            condition: What the expert looks at.
            noisy: Noisy normalised actions, shape (B, H, A).
            timesteps: Timestep of each sample, counted from 0, shape (B,).

        Returns:
            Noise, shape (B, H, A).
        """
        code = self.time(sinusoidal_code(timesteps, self._time_width).to(noisy.dtype))
        steps = self.action(noisy) + self.positions + (code + condition.summary)[:, None]
        before = condition.memory[:, 1:]
        chunk_pad = torch.zeros(steps.shape[:2], dtype=torch.bool, device=steps.device)
        encoded = self.encoder(
            torch.cat([before, steps], 1),
            src_key_padding_mask=torch.cat([condition.is_pad[:, 1:], chunk_pad], 1),
        )
        return self.head(encoded[:, before.shape[1] :])


def sinusoidal_code(timesteps: Tensor, width: int) -> Tensor:
    """Sines and cosines of a timestep at geometric frequencies, shape (B, width)."""
    half = width // 2
    rates = torch.exp(
        -math.log(10000) * torch.arange(half, device=timesteps.device) / max(1, half - 1)
    )
    angles = timesteps[:, None].float() * rates
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
