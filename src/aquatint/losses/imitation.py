"""Losses of imitation: rare changes of action weigh more, and progress is told besides."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def inflection_weights(actions: Tensor, is_step: Tensor, weight: float) -> Tensor:
    """Weight of each step: ``weight`` where the action differs from the one before, else 1.

    The first step of an episode counts as a change. Steps behind the end weigh 0.

    Args:
        actions: Expert's actions, shape (B, T).
        is_step: Whether a step exists, shape (B, T).
        weight: Of a change, at least 1.

    References:
        Wijmans et al., "Embodied Question Answering in Photorealistic Environments with Point
        Cloud Perception", CVPR 2019, https://arxiv.org/abs/1904.03461.
    """
    changes = torch.ones_like(actions, dtype=torch.bool)
    changes[:, 1:] = actions[:, 1:] != actions[:, :-1]
    return torch.where(changes, weight, 1.0) * is_step


def inflection_cross_entropy(logits: Tensor, actions: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted cross-entropy of each episode, divided by its own sum of weights.

    Args:
        logits: Shape (B, T, K).
        actions: Expert's actions, shape (B, T).
        weights: Of the steps, 0 behind the end, shape (B, T).

    Returns:
        One loss for each episode, 0 for one without steps, shape (B,).
    """
    losses = F.cross_entropy(logits.flatten(0, 1), actions.flatten(), reduction="none")
    # An episode without steps would divide by 0 and make the whole batch NaN.
    return (losses.view_as(weights) * weights).sum(1) / weights.sum(1).clamp(min=1e-6)


def progress_error(predicted: Tensor, target: Tensor, is_step: Tensor) -> Tensor:
    """Return the mean squared error of the progress of each episode, shape (B,)."""
    squared = (predicted - target) ** 2 * is_step
    return squared.sum(1) / is_step.sum(1).clamp(min=1)


def mean_over_episodes(values: Tensor, is_step: Tensor) -> Tensor:
    """Return the mean of each episode's steps, 0 for one without any, shape (B,).

    Args:
        values: Of the steps that exist, in the order of episodes and steps, shape (R,).
        is_step: Whether a step exists, shape (B, T).
    """
    counts = is_step.sum(1)
    episode = torch.arange(len(is_step), device=values.device).repeat_interleave(counts.long())
    sums = values.new_zeros(len(is_step)).index_add(0, episode, values)
    return sums / counts.clamp(min=1)
