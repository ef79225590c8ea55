"""Loss of action chunks: squared errors over what is no padding and can vary."""

from __future__ import annotations

import torch
from torch import Tensor


def action_mse(
    predicted: Tensor, target: Tensor, is_pad: Tensor, is_constant: Tensor, weights: Tensor
) -> Tensor:
    """Weighted mean of squared errors over valid elements.

    Args:
        predicted: Normalised actions, or noise, shape (B, H, A).
        target: The same as it should be, shape (B, H, A).
        is_pad: True for steps beyond an episode's end, shape (B, H).
        is_constant: True for dimensions that never vary, shape (A,); they teach nothing.
        weights: Weight of each sample, shape (B,).

    Returns:
        Shape (); 0 with a gradient of 0 where nothing is valid.

    References:
        Masked by valid elements as LeRobot does since huggingface/lerobot#3442: divided by all
        elements, chunks at an episode's end would count for less.
    """
    counted = element_weights(is_pad, is_constant, weights)
    # Before the difference: a padded target may be anything, and 0 times infinity is NaN.
    errors = predicted.float() - torch.where(
        counted > 0, target.float(), predicted.detach().float()
    )
    # sum / count, not mean: the mean of an empty selection is NaN and kills training.
    return (errors**2 * counted).sum() / counted.sum().clamp(min=1e-9)


def element_weights(is_pad: Tensor, is_constant: Tensor, weights: Tensor) -> Tensor:
    """Weight of every element, 0 for padding and constant dimensions, shape (B, H, A)."""
    return (~is_pad)[..., None] * (~is_constant) * weights[:, None, None]
