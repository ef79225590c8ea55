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
        draws = len(predicted) // len(batch["is_pad"])
        is_pad, weights = (batch[n].repeat_interleave(draws, 0) for n in ("is_pad", "weights"))
        if model.diffusion is not None:
            # Levels of noise weigh the error, not the normaliser: a mean over all draws is meant.
            factor = model.diffusion.loss_weights(batch["timesteps"].flatten()).sqrt()
            predicted, target = (factor[:, None, None] * values for values in (predicted, target))
        loss = action_mse(predicted, target, is_pad, constant, weights)
        counted = element_weights(batch["is_pad"], constant, batch["weights"]).sum()
        return {"action": weigh(loss, float(counted) if batch["is_counted"] else 0.0)}


def predict_target(model: VlaModel, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """What the expert predicts and what it should: actions, or the noise in them; (B, H, A).

    A diffusion predicts once for each draw of ``noise`` (B, K, H, A) at ``timesteps`` (B, K), which
    gives (B * K, H, A): what a sample is conditioned on is read once for all of them.
    """
    condition = model.look(batch)
    expert = model.action_expert.expert
    if model.diffusion is None:
        return expert(condition, batch["prior"]), batch["target"]
    draws = batch["noise"].shape[1]
    noise, timesteps = batch["noise"].flatten(0, 1), batch["timesteps"].flatten()
    clean = batch["target"].repeat_interleave(draws, 0)
    noisy = model.diffusion.add_noise(clean, noise, timesteps)
    found = expert(condition, noisy, timesteps)
    return found, model.diffusion.target(clean, noise)
