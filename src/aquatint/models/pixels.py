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

    scale: Tensor
    shift: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        means, stds = (torch.tensor(values).view(1, 3, 1, 1) for values in (mean, std))
        self.register_buffer("scale", 1 / (255 * stds), persistent=False)
        self.register_buffer("shift", -means / stds, persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Map uint8 images (B, S, S, 3) to float32 (B, 3, S, S)."""
        planes = pixels.permute(0, 3, 1, 2)
        if planes.is_cuda:
            images = planes.to(torch.float32, memory_format=torch.contiguous_format)
            return images.mul_(self.scale).add_(self.shift)
        # Channel by channel in memory, each image in place while a cache holds it: a third of the
        # time of a copy that keeps the stored order.
        images = torch.empty(planes.shape)
        for image, plane in zip(images, planes, strict=True):
            image.copy_(plane).mul_(self.scale[0]).add_(self.shift[0])
        return images
