"""Terms of NavDP: noise, value, and the goal read off its pictures."""

from __future__ import annotations

from torch import Tensor


def denoising_error(predicted: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Return the mean squared error of what is predicted, samples of weight 0 counted as 0.

    Args:
        predicted: Shape (B, H, A).
        target: Noise or clean increments, shape (B, H, A).
        weights: 1 for samples to imitate, 0 for others, shape (B,).

    Returns:
        Shape (); divided by B, not by the weights' sum, so that a batch's parts add up to it.
    """
    per_sample = (predicted - target).square().flatten(1).mean(1)
    return (per_sample * weights).mean()


def squared_error(predicted: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared error, shape ()."""
    return (predicted - target).square().mean()
