"""Losses of predicted maps and features, each a mean over all but the batch."""

from __future__ import annotations

from torch import Tensor


def absolute_error(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of each sample, in the unit of the maps.

    Args:
        predicted: Maps, shape (B, ...).
        target: Maps of the same shape.

    Returns:
        Shape (B,).
    """
    _check(predicted, target)
    return (predicted.float() - target.float()).abs().flatten(1).mean(1)


def squared_error(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference of each sample.

    Args:
        predicted: Features, shape (B, ...).
        target: Features of the same shape.

    Returns:
        Shape (B,).
    """
    _check(predicted, target)
    return (predicted.float() - target.float()).square().flatten(1).mean(1)


def _check(predicted: Tensor, target: Tensor) -> None:
    if predicted.shape != target.shape:
        raise ValueError(
            f"predicted {tuple(predicted.shape)} and target {tuple(target.shape)} must have one "
            "shape."
        )
