"""A small network on a frozen view's features, the type of the object and where it lies."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SpatialMlp(nn.Module):
    """Concatenate, two hidden layers, one logit for each answer.

    Args:
        feature_width: Width of the pooled features.
        num_types: Types of objects.
        type_width: Width of a type's embedding.
        num_spatial: Spatial numbers.
        hidden: Widths of both hidden layers.
        num_answers: Answers.
        dropout: Dropout after each hidden layer.

    References:
        pratham-2097/clip-model, stage2_conditional (2025): 512 + 32 + 9 into 256, 128, 2, which is
        175,106 parameters. Here the features are those of the recipe's own vision tower.
    """

    def __init__(  # noqa: PLR0913 - flat sizes of one network
        self,
        *,
        feature_width: int,
        num_types: int,
        type_width: int,
        num_spatial: int,
        hidden: tuple[int, int],
        num_answers: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.types = nn.Embedding(num_types, type_width)
        first, second = hidden
        self.layers = nn.Sequential(
            nn.Linear(feature_width + type_width + num_spatial, first),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(first, second),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(second, num_answers),
        )

    def forward(self, features: Tensor, type_ids: Tensor, spatial: Tensor) -> Tensor:
        """Return logits.

        Args:
            features: L2-normalised pooled features, shape (B, D).
            type_ids: Type of each object, shape (B,).
            spatial: Spatial numbers, shape (B, S).

        Returns:
            One logit for each answer, shape (B, K).
        """
        return self.layers(torch.cat([features, self.types(type_ids), spatial], dim=1))
