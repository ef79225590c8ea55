"""Trainable encoders of small images with any number of channels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
            nn.Conv2d(channels, width // 4, 2, 2), nn.GELU(),
            nn.Conv2d(width // 4, width, half, half),
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


class DinoEncoder(nn.Module):
    """A DINOv2 for images with any number of channels, and a projection of its patch tokens.

    Args:
        channels: Channels of the image.
        size_px: Edge of the image, a multiple of the patch.
        width: Width of the tokens.
        config: Arguments of transformers' ``Dinov2Config``.
    """

    def __init__(
        self, *, channels: int, size_px: int, width: int, config: Mapping[str, Any]
    ) -> None:
        super().__init__()
        from transformers import Dinov2Config, Dinov2Model

        self.model = Dinov2Model(Dinov2Config(**{**config, "num_channels": channels}))
        # No loss reaches the token that stands for a masked patch.
        self.model.embeddings.mask_token = None
        patch_px = self.model.config.patch_size
        if size_px % patch_px:
            raise ValueError(f"patch_size {patch_px} of the DINOv2 must divide size_px {size_px}.")
        self.num_tokens = (size_px // patch_px) ** 2
        self.project = nn.Linear(self.model.config.hidden_size, width)

    def forward(self, images: Tensor) -> Tensor:
        """Encode images (B, C, S, S); returns tokens (B, N, D)."""
        return self.project(self.model(images).last_hidden_state[:, 1:])

    def start_from(self, published: Mapping[str, Tensor]) -> None:
        """Copy the weights of a DINOv2 for pictures; every channel starts from the mean of three.

        Args:
            published: State of a ``Dinov2Model`` with the same sizes.
        """
        own = self.model.state_dict()
        name = "embeddings.patch_embeddings.projection.weight"
        weights = {key: value for key, value in published.items() if key in own}
        channels = own[name].shape[1]
        weights[name] = published[name].mean(1, keepdim=True).repeat(1, channels, 1, 1)
        weights[name] *= published[name].shape[1] / channels
        self.model.load_state_dict(weights, strict=True)


VisionEncoder = PatchEncoder | DinoEncoder


def build_vision_encoder(
    *,
    channels: int,
    size_px: int,
    width: int,
    kind: str,
    **sizes: Any,  # noqa: ANN401
) -> VisionEncoder:
    """Build the encoder of a policy's specification.

    Args:
        channels: Channels of the image.
        size_px: Edge of the image.
        width: Width of the tokens.
        kind: ``patches`` or ``dinov2``.
        **sizes: Further arguments of ``PatchEncoder`` or ``DinoEncoder``.
    """
    if kind == "patches":
        return PatchEncoder(channels=channels, size_px=size_px, width=width, **sizes)
    if kind == "dinov2":
        return DinoEncoder(channels=channels, size_px=size_px, width=width, **sizes)
    raise ValueError(f"An encoder must be of kind patches or dinov2, got {kind!r}.")
