"""Trainable encoders of small images with any number of channels."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PatchEncoder(nn.Module):
    """A small vision transformer whose patches are embedded by two convolutions.

    Args:
        channels: Channels of the image.
        size_px: Edge of the image.
        patch_px: Edge of a patch, even; divides ``size_px``.
        width: Width of the tokens.
        num_blocks: Transformer blocks.
        num_heads: Heads of each.
    """

    def __init__(
        self,
        *,
        channels: int,
        size_px: int,
        patch_px: int,
        width: int,
        num_blocks: int,
        num_heads: int,
    ) -> None:
        super().__init__()
        if patch_px % 2 or size_px % patch_px:
            raise ValueError(f"patch_px {patch_px} must be even and divide size_px {size_px}.")
        half = patch_px // 2
        # Two steps: a single projection of a patch is linear in depth, and sees no edge in it.
        self.patches = nn.Sequential(
            nn.Conv2d(channels, width // 2, 2, 2), nn.GELU(),
            nn.Conv2d(width // 2, width, half, half),
        )  # fmt: skip
        self.num_tokens = (size_px // patch_px) ** 2
        self.places = nn.Parameter(0.02 * torch.randn(1, self.num_tokens, width))
        block = nn.TransformerEncoderLayer(
            width, num_heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(block, num_blocks, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)

    def forward(self, images: Tensor) -> Tensor:
        """Encode images (B, C, S, S); returns tokens (B, N, D)."""
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        return self.norm(self.blocks(tokens + self.places))


def build_vision_encoder(
    *, channels: int, size_px: int, width: int, patch_px: int, num_blocks: int, num_heads: int
) -> PatchEncoder:
    """Build the encoder of a policy's specification."""
    return PatchEncoder(
        channels=channels,
        size_px=size_px,
        patch_px=patch_px,
        width=width,
        num_blocks=num_blocks,
        num_heads=num_heads,
    )
