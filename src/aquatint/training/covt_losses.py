"""Loss terms of visual thoughts: the next token, and what each anchor's tokens shall hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from aquatint.collective import weigh
from aquatint.losses.answer import answer_cross_entropy
from aquatint.losses.maps import absolute_error, squared_error
from aquatint.losses.masks import mask_loss
from aquatint.models.answering import IGNORE_INDEX
from aquatint.models.visual_thought import VisualThoughtModel


@dataclass(frozen=True)
class ThoughtLosses:
    """All terms of a batch, unweighted.

    Every sample counts alike: the next-token term is the mean over samples of each one's mean over
    its tokens, and a sample without an anchor adds 0 to that anchor's term. So the terms of an
    accumulation window are those of one large batch, however it is cut.

    Attributes:
        names: Anchors.
    """

    names: Sequence[str]

    def __call__(self, model: VisualThoughtModel, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Return ``next_token`` in nats and one term for each anchor."""
        states = model.read(batch)
        count = len(batch["input_ids"])
        terms = {"next_token": next_token_losses(model, states, batch).mean()}
        for name in self.names:
            # Of no sample, or beyond the step that ends them: a zero that knows the graph, so that
            # all ranks still reduce the same terms.
            terms[name] = states.sum() * 0
            if f"rows_{name}" in batch:
                terms[name] = anchor_losses(model, name, states, batch).sum() / count
        counted = float(count) if batch["is_counted"] else 0.0
        return {name: weigh(term, counted) for name, term in terms.items()}


def next_token_losses(
    model: VisualThoughtModel, states: Tensor, batch: dict[str, Tensor]
) -> Tensor:
    """Mean cross-entropy of each sample's labelled tokens in nats, by ``token_weights``, (B,)."""
    targets = batch["labels"][:, 1:]
    is_labelled = targets != IGNORE_INDEX
    # Logits where a label asks for them: at 152,000 tokens they are most of the work otherwise.
    logits = model.logits(states[:, :-1][is_labelled])
    losses = F.cross_entropy(logits, targets[is_labelled], reduction="none")
    owners = torch.nonzero(is_labelled)[:, 0]
    weights = batch["token_weights"][:, 1:][is_labelled]
    return answer_cross_entropy(losses, owners, len(targets), weights)


def anchor_losses(
    model: VisualThoughtModel, name: str, states: Tensor, batch: dict[str, Tensor]
) -> Tensor:
    """Loss of each sample that has the anchor, shape (k,).

    Args:
        model: Model with the anchor's head.
        name: Anchor.
        states: Hidden states, shape (B, T, D).
        batch: Batch of ``ThoughtSamples``.
    """
    rows, places = batch[f"rows_{name}"], batch[f"places_{name}"]
    held = states[rows[:, None], places]
    target = batch[f"target_{name}"]
    predicted = model.predict(name, held, batch[f"context_{name}"])
    match name:
        case "sam":
            # Empty masks fill the places of objects that are not there.
            kept = [masks[masks.flatten(1).any(1)] for masks in target]
            pairs = zip(predicted, kept, strict=True)
            return torch.stack([mask_loss(logits, masks) for logits, masks in pairs])
        case "depth" | "pidinet":
            return absolute_error(predicted, target)
        case _:
            return squared_error(predicted, target)
