"""Loss terms of a training that answers with the name of a class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from aquatint.collective import weigh
from aquatint.losses.answer import (
    answer_cross_entropy,
    class_cross_entropy,
    focal_factor,
    weighted_mean,
)
from aquatint.models.answering import IGNORE_INDEX, AnsweringModel


@dataclass(frozen=True)
class AnswerLosses:
    """Weighted loss of a batch of dialogues, as the term ``answer``.

    Attributes:
        rule: ``cross_entropy`` or ``focal``.
        focal_gamma: Exponent of the focal loss.
        focal_alpha: Factor of the focal loss.
    """

    rule: Literal["cross_entropy", "focal"] = "cross_entropy"
    focal_gamma: float = 2.0
    focal_alpha: float = 0.25

    def __call__(self, model: AnsweringModel, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Return the term of a batch, normalised by the weights of its samples.

        On several ranks a batch is one rank's share, and the mean over ranks is the term of the
        whole batch.
        """
        states = model.read(batch)
        if model.head is None:
            losses = _losses_of_answers(model, states, batch)
        else:
            losses = class_cross_entropy(
                model.head(_last_prompt_states(states, batch).float()), batch["class_ids"]
            )
        if self.rule == "focal":
            losses = focal_factor(losses, self.focal_gamma, self.focal_alpha)
        weights = batch["weights"]
        counted = float(weights.sum()) if batch["is_counted"] else 0.0
        return {"answer": weigh(weighted_mean(losses, weights), counted)}


def _losses_of_answers(model: AnsweringModel, states: Tensor, batch: dict[str, Tensor]) -> Tensor:
    targets = batch["labels"][:, 1:]
    is_labelled = targets != IGNORE_INDEX
    # Logits of five answer tokens instead of all two hundred: at a vocabulary of 152,000 they
    # would cost more than the blocks.
    logits = model.answer_logits(states[:, :-1][is_labelled])
    token_losses = F.cross_entropy(logits, targets[is_labelled], reduction="none")
    owners = torch.nonzero(is_labelled)[:, 0]
    return answer_cross_entropy(token_losses, owners, len(targets))


def _last_prompt_states(states: Tensor, batch: dict[str, Tensor]) -> Tensor:
    """State of the token before the answer: it has seen the whole prompt, and no label."""
    is_answer = batch["labels"] != IGNORE_INDEX
    lengths = batch["attention_mask"].sum(1) - is_answer.sum(1)
    return states[torch.arange(len(states), device=states.device), lengths - 1]
