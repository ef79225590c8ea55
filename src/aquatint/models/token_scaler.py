"""Cached tokens of a frozen backbone, centred and scaled place by place."""

from __future__ import annotations

import torch
from torch import Tensor, nn

# Of the mean deviation: below it a channel is noise, and dividing by less would magnify it.
_FLOOR = 0.05
_FEWEST = 8


class TokenScaler(nn.Module):
    """Takes from every token what tokens of its place have in common.

    In a sentence from a template, the hidden state behind the word that matters differs from
    sentence to sentence by a hundredth of its norm; a policy that sees it raw learns the sentence's
    length long before its meaning. No parameters: statistics of the train split are buffers, set
    before stage 1 and kept in every checkpoint.

    Args:
        num_positions: Places of tokens.
        width: Channels.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, num_positions: int, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(num_positions, width))
        self.register_buffer("std", torch.ones(num_positions, width))

    def fit(self, tokens: Tensor, is_pad: Tensor) -> None:
        """Take the statistics of tokens (N, T, D), padding (N, T) left out.

        A place that few samples have takes the statistics of all tokens.
        """
        is_real = (~is_pad).to(tokens.dtype)[..., None]
        counts = is_real.sum(0).clamp(min=1)
        mean = (tokens * is_real).sum(0) / counts
        std = (((tokens - mean).square() * is_real).sum(0) / counts).sqrt()
        std = std + _FLOOR * std.mean(-1, keepdim=True)
        every = tokens[~is_pad]
        is_rare = is_real.sum(0) < _FEWEST
        mean = torch.where(is_rare, every.mean(0), mean)
        std = torch.where(is_rare, every.std(0), std).clamp(min=1e-3)
        self.mean[: len(mean)] = mean.to(self.mean)
        self.std[: len(std)] = std.to(self.std)
        self.mean[len(mean) :] = every.mean(0).to(self.mean)
        self.std[len(std) :] = every.std(0).clamp(min=1e-3).to(self.std)

    def forward(self, tokens: Tensor) -> Tensor:
        """Scale tokens of shape (B, T, D).

        Raises:
            ValueError: If there are more of them than places.
        """
        if tokens.shape[1] > len(self.mean):
            raise ValueError(
                f"The fusion knows {len(self.mean)} places of tokens, got {tokens.shape[1]}."
            )
        return (tokens - self.mean[: tokens.shape[1]]) / self.std[: tokens.shape[1]]
