"""Losses of predicted against annotated masks, matched one to one."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

UNMATCHED_WEIGHT = 0.1
_EPSILON = 1e-6


def dice_scores(predicted: Tensor, target: Tensor) -> Tensor:
    """Dice of every pair of masks, 1 for equal ones.

    Args:
        predicted: Probabilities in [0, 1], shape (P, N) of P masks over N pixels.
        target: 0 or 1, shape (T, N).

    Returns:
        Shape (P, T).
    """
    target = target.to(predicted.dtype)
    total = predicted.sum(1)[:, None] + target.sum(1)[None]
    return 2 * predicted @ target.T / (total + _EPSILON)


def match_masks(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Pair predictions with targets so that the sum of ``1 - score`` is least.

    Args:
        scores: Dice of every pair, shape (P, T).

    Returns:
        Indices of predictions and of targets, each of shape (min(P, T),).
    """
    rows, columns = linear_sum_assignment((1 - scores.detach().cpu().double()).numpy())
    device = scores.device
    return torch.as_tensor(rows, device=device), torch.as_tensor(columns, device=device)


def mask_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Loss of the masks of one image: Dice and cross-entropy of pairs, silence of the rest.

    Args:
        logits: Predicted masks before the sigmoid, shape (P, H, W).
        target: Annotated masks, bool, shape (T, H, W); without any, the loss is 0.

    Returns:
        ``(1 - mean Dice) + BCE`` of the pairs plus 0.1 times the BCE of unmatched predictions
        against an empty mask, shape ().
    """
    if len(target) == 0:
        return logits.sum() * 0
    flat, wanted = logits.flatten(1).float(), target.flatten(1).float()
    scores = dice_scores(flat.sigmoid(), wanted)
    rows, columns = match_masks(scores)
    matched = F.binary_cross_entropy_with_logits(flat[rows], wanted[columns])
    loss = 1 - scores[rows, columns].mean() + matched
    is_rest = torch.ones(len(flat), dtype=torch.bool, device=flat.device)
    is_rest[rows] = False
    rest = flat[is_rest]
    if len(rest):
        # softplus(x) is the cross-entropy of a logit x against 0.
        loss = loss + UNMATCHED_WEIGHT * F.softplus(rest).mean()
    return loss
