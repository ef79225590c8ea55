"""From stored uint8 images to what a vision tower takes; the one place that normalises."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PixelNormalizer(nn.Module):
    """Scale to [0, 1], subtract the mean and divide by the deviation of each channel.

    Args:
        mean: Channel means, in [0, 1].
        std: Channel standard deviations.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Map uint8 images (B, S, S, 3) to float32 (B, 3, S, S)."""
        return (pixels.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std
