"""Encoder of windows of a high-rate sensor: convolutions over time, then a small transformer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

Interpolation = Literal["linear", "nearest", "cubic"]


class SensorEncoder(nn.Module):
    """One vector for a window of force and echo.

    Args:
        num_channels: Values of one moment: force and echo samples.
        temporal_length: Moments that a window is resampled to; another length is accepted.
        interpolation: How it is resampled.
        channels: Width after each convolution; each halves the moments.
        num_heads: Heads of the transformer.
        feedforward_width: Width of its inner layer.
        num_blocks: Its blocks.
        out_width: Width of the result.
        dropout: Share of values dropped in training.
        has_checkpointing: Whether activations are computed again in the backward pass.

    References:
        Layout of the published encoder of Najongs/Insertion_VLA. Differs: GroupNorm in place of
        BatchNorm, whose statistics windows of missing sensors would shift.
    """

    def __init__(  # noqa: PLR0913 - flat arguments, each one a size
        self,
        *,
        num_channels: int = 1026,
        temporal_length: int = 650,
        interpolation: Interpolation = "linear",
        channels: Sequence[int] = (512, 1024, 1024, 1024),
        num_heads: int = 8,
        feedforward_width: int = 4096,
        num_blocks: int = 2,
        out_width: int = 3072,
        dropout: float = 0.1,
        has_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self._length, self._interpolation = temporal_length, interpolation
        self._has_checkpointing = has_checkpointing
        self.num_channels, self.out_width = num_channels, out_width
        widths = [num_channels, *channels]
        self.convolutions = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Conv1d(before, after, kernel_size=3, stride=2, padding=1),
                    nn.GroupNorm(min(8, after), after),
                    nn.GELU(),
                    nn.Dropout(dropout),
                )
                for before, after in zip(widths, widths[1:], strict=False)
            )
        )
        block = nn.TransformerEncoderLayer(
            widths[-1], num_heads, feedforward_width, dropout, "gelu", batch_first=True,
            norm_first=True,
        )  # fmt: skip
        self.transformer = nn.TransformerEncoder(block, num_blocks, enable_nested_tensor=False)
        self.head = nn.Sequential(
            nn.Linear(widths[-1], out_width),
            nn.LayerNorm(out_width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(out_width, out_width),
        )

    def forward(self, windows: Tensor) -> Tensor:
        """Encode windows.

        Args:
            windows: Normalised windows, shape (B, T, C); B may be 0.

        Returns:
            Shape (B, out_width).
        """
        if self.training and self._has_checkpointing and len(windows):
            encoded: Tensor = checkpoint(self._encode, windows, use_reentrant=False)
            return encoded
        return self._encode(windows)

    def _encode(self, windows: Tensor) -> Tensor:
        moments = self.convolutions(resample(windows, self._length, self._interpolation).mT).mT
        return self.head(self.transformer(moments).mean(dim=1))


def resample(windows: Tensor, length: int, interpolation: Interpolation) -> Tensor:
    """Bring windows to a number of moments.

    Args:
        windows: Shape (B, T, C).
        length: Moments of the result.
        interpolation: ``linear``, ``nearest`` or ``cubic`` along time.

    Returns:
        Shape (B, length, C); the windows themselves if they have that length.
    """
    if windows.shape[1] == length or not len(windows):
        return windows
    if interpolation == "nearest":
        return F.interpolate(windows.mT, size=length, mode="nearest").mT
    if interpolation == "linear":
        return F.interpolate(windows.mT, size=length, mode="linear", align_corners=True).mT
    # torch has bicubic for pictures alone: time is one side of one.
    image = windows[:, None]
    size = (length, windows.shape[2])
    return F.interpolate(image, size=size, mode="bicubic", align_corners=True)[:, 0]


class StateEncoder(nn.Module):
    """One vector for what the robot measured last: an MLP over moments, then a transformer.

    Args:
        num_values: Values of one moment.
        widths: Width after each layer of the MLP.
        num_heads: Heads of the transformer.
        num_blocks: Its blocks; 0 leaves the mean of the moments.
        out_width: Width of the result.
        dropout: Share of values dropped in training.

    References:
        Layout of the published second version: MLP 256-512-512, two blocks.
    """

    def __init__(
        self,
        num_values: int,
        *,
        widths: Sequence[int] = (256, 512, 512),
        num_heads: int = 8,
        num_blocks: int = 2,
        out_width: int = 2048,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip([num_values, *widths], widths, strict=False):
            layers += [nn.Linear(before, after), nn.LayerNorm(after), nn.GELU()]
        self.mlp = nn.Sequential(*layers)
        block = nn.TransformerEncoderLayer(
            widths[-1], num_heads, 4 * widths[-1], dropout, "gelu", batch_first=True,
            norm_first=True,
        )  # fmt: skip
        self.transformer = (
            nn.TransformerEncoder(block, num_blocks, enable_nested_tensor=False)
            if num_blocks
            else nn.Identity()
        )
        self.head = nn.Linear(widths[-1], out_width)

    def forward(self, states: Tensor) -> Tensor:
        """Encode states (B, S, V); returns (B, out_width)."""
        return self.head(self.transformer(self.mlp(states)).mean(dim=1))


def fill_missing(encoded: Tensor, has_value: Tensor, token: Tensor) -> Tensor:
    """Spread encodings of present rows over a batch, a learned token where there is none.

    Args:
        encoded: Encodings of the rows that have a value, in order, shape (M, D).
        has_value: Shape (B,), M of them true.
        token: Stands for a missing value, shape (D,).

    Returns:
        Shape (B, D).
    """
    spread = token.to(encoded.dtype).expand(len(has_value), -1).clone()
    return torch.masked_scatter(spread, has_value[:, None].expand_as(spread), encoded)
