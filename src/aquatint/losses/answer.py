"""Losses of answers: a mean over the tokens of each, then a weighted mean over samples."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def answer_cross_entropy(
    token_losses: Tensor, owners: Tensor, num_samples: int, token_weights: Tensor | None = None
) -> Tensor:
    """Return the mean token loss of each sample, weighted if weights are given.

    A mean over all tokens of a batch would weight long class names more.

    Args:
        token_losses: Cross-entropy of each answer token in nats, shape (N,).
        owners: Sample of each token, shape (N,).
        num_samples: Samples; one without tokens costs 0.
        token_weights: Weight of each token, above 0, shape (N,); all alike by default.

    Returns:
        Loss of each sample, shape (num_samples,).
    """
    weights = torch.ones_like(token_losses) if token_weights is None else token_weights
    zeros = torch.zeros(num_samples, dtype=token_losses.dtype, device=token_losses.device)
    sums = zeros.index_add(0, owners, token_losses * weights)
    totals = zeros.index_add(0, owners, weights)
    return sums / torch.where(totals > 0, totals, torch.ones_like(totals))


def focal_factor(losses: Tensor, gamma: float, alpha: float) -> Tensor:
    """Scale losses down where the model is already right.

    Args:
        losses: Cross-entropy of each sample in nats, shape (B,).
        gamma: How fast; 0 leaves them as they are, up to ``alpha``.
        alpha: Factor on all of them.

    Returns:
        ``alpha * (1 - p) ** gamma * loss`` with ``p = exp(-loss)``, shape (B,).

    References:
        Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017,
        https://arxiv.org/abs/1708.02002. Here p is the geometric mean over an answer's tokens.
    """
    return alpha * (1 - torch.exp(-losses)) ** gamma * losses


def weighted_mean(losses: Tensor, weights: Tensor) -> Tensor:
    """Return sum(weight * loss) / sum(weight), shape (); 0 for weights that are all 0.

    Args:
        losses: Loss of each sample, shape (B,).
        weights: Weight of each sample, 0 or above, shape (B,).

    Raises:
        ValueError: If the shapes differ.
    """
    if losses.shape != weights.shape:
        raise ValueError(f"losses {tuple(losses.shape)} need as many weights, "
                         f"got {tuple(weights.shape)}.")  # fmt: skip
    total = weights.sum()
    return (losses * weights).sum() / torch.where(total > 0, total, torch.ones_like(total))


def class_cross_entropy(logits: Tensor, class_ids: Tensor) -> Tensor:
    """Return the cross-entropy of each sample in nats; logits (B, K), classes (B,)."""
    return F.cross_entropy(logits.float(), class_ids, reduction="none")
