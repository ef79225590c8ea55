"""Small frozen encoders: what the embedded world has in place of published vision models.

They see pixels and are never trained: colors, contrasts and edges at several scales, and random
projections of them. A head reads masks, depth and edges off their maps with kernels that the
language model must choose from what it saw.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

MAP_PX = 48
NUM_LAYERS = 4
_GRID = 6
_FEATURE_WIDTH = 32
_SEEDS = {"dino": 11, "siglip": 12, "metaclip": 13}
_LUMA = (0.299, 0.587, 0.114)


def color_maps(images: Tensor) -> Tensor:
    """Colors, their contrasts and their distance from the image's usual color.

    Args:
        images: uint8, shape (B, S, S, 3).

    Returns:
        Ten channels of about unit size, shape (B, 10, 48, 48).
    """
    rgb = _small(images)
    red, green, blue = rgb.unbind(1)
    opponents = torch.stack([red - green, blue - (red + green) / 2], 1)
    spread = (rgb.amax(1) - rgb.amin(1))[:, None]
    usual = rgb.flatten(2).median(-1).values[..., None, None]
    distance = (rgb - usual).norm(dim=1, keepdim=True)
    blurred = F.avg_pool2d(rgb, 9, 1, 4, count_include_pad=False)
    return torch.cat([rgb - 0.5, opponents, spread, distance, blurred - 0.5], 1) * 2


def layered_maps(images: Tensor) -> Tensor:
    """Color maps with places, ever coarser, as the layers of a deep encoder are.

    Returns:
        Shape (B, 4, 16, 24, 24).
    """
    from aquatint.models.anchor_heads import with_places

    maps = F.avg_pool2d(color_maps(images), 2)
    layers = []
    for level in range(NUM_LAYERS):
        if level:
            size = 2 * level + 1
            maps = F.avg_pool2d(maps, size, 1, level, count_include_pad=False)
        layers.append(with_places(maps))
    return torch.stack(layers, 1)


def edge_maps(images: Tensor) -> Tensor:
    """Strength of changes of brightness and color at three scales, and a constant.

    Returns:
        Twelve channels, shape (B, 12, 48, 48).
    """
    rgb = _small(images)
    weights = torch.tensor(_LUMA, device=rgb.device)[None, :, None, None]
    luma = (rgb * weights).sum(1, keepdim=True)
    usual = rgb.flatten(2).median(-1).values[..., None, None]
    distance = (rgb - usual).norm(dim=1, keepdim=True)
    channels = [torch.ones_like(luma)]
    for size in (1, 3, 5):
        for image in (luma, distance, rgb):
            smooth = F.avg_pool2d(image, size, 1, size // 2, count_include_pad=False)
            channels.append(4 * _gradient(smooth).amax(1, keepdim=True))
    channels += [luma - 0.5, distance]
    return torch.cat(channels, 1)


def grid_features(images: Tensor, name: str) -> Tensor:
    """Random projections of what stands in each cell of a grid, and of the whole.

    Args:
        images: uint8, shape (B, S, S, 3).
        name: ``dino``, ``siglip`` or ``metaclip``: each has a projection of its own.

    Returns:
        The whole first, then cells row by row; unit variance, shape (B, 37, 32).
    """
    maps = torch.cat([color_maps(images), edge_maps(images)[:, 1:]], 1)
    size = MAP_PX // _GRID
    mean = F.avg_pool2d(maps, size)
    spread = (F.avg_pool2d(maps**2, size) - mean**2).clamp(min=0).sqrt()
    cells = torch.cat([mean, spread], 1).flatten(2).transpose(1, 2)
    whole = torch.cat([cells.mean(1, keepdim=True), cells], 1)
    generator = torch.Generator().manual_seed(_SEEDS[name])
    weights = torch.randn(whole.shape[-1], _FEATURE_WIDTH, generator=generator)
    projected = torch.tanh(whole @ weights.to(whole.device))
    return F.layer_norm(projected, (_FEATURE_WIDTH,))


def _small(images: Tensor) -> Tensor:
    pixels = images.permute(0, 3, 1, 2).float() / 255
    return F.interpolate(pixels, (MAP_PX, MAP_PX), mode="area")


def _gradient(image: Tensor) -> Tensor:
    """Length of the change to the next pixels, same shape."""
    padded = F.pad(image, (0, 1, 0, 1), mode="replicate")
    across = padded[..., :-1, 1:] - image
    down = padded[..., 1:, :-1] - image
    return (across**2 + down**2 + 1e-12).sqrt()
