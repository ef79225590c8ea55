"""Loss terms of action experts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from aquatint.collective import weigh
from aquatint.losses.action import action_mse, element_weights
from aquatint.training.vla_model import VlaModel


@dataclass(frozen=True)
class ActionLosses:
    """Weighted squared error of a batch, as the term ``action``.

    Attributes:
        is_constant: Which values of an action never vary.
    """

    is_constant: tuple[bool, ...]

    def __call__(self, model: VlaModel, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Return the term, normalised by the weights of the batch's valid elements."""
        predicted, target = predict_target(model, batch)
        constant = torch.tensor(self.is_constant, device=predicted.device)
        loss = action_mse(predicted, target, batch["is_pad"], constant, batch["weights"])
        counted = element_weights(batch["is_pad"], constant, batch["weights"]).sum()
        return {"action": weigh(loss, float(counted) if batch["is_counted"] else 0.0)}


def predict_target(model: VlaModel, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """What the expert predicts and what it should: actions, or the noise in them; (B, H, A)."""
    condition = model.look(batch)
    expert = model.action_expert.expert
    if model.diffusion is None:
        return expert(condition, batch["prior"]), batch["target"]
    noisy = model.diffusion.add_noise(batch["target"], batch["noise"], batch["timesteps"])
    return expert(condition, noisy, batch["timesteps"]), batch["noise"]
