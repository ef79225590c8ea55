"""New tokens of a vocabulary: rows of their own beside an embedding that never changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_NOISE = 0.02


def add_tokens(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[str]) -> list[int]:
    """Add tokens to a tokenizer, unless it has them, and return their ids in order.

    Raises:
        ValueError: If their ids are not consecutive: some were there before under other numbers.
    """
    known = set(tokenizer.get_vocab())
    tokenizer.add_tokens([token for token in tokens if token not in known], special_tokens=True)
    ids = [int(tokenizer.convert_tokens_to_ids(token)) for token in tokens]
    if ids != list(range(ids[0], ids[0] + len(ids))):
        raise ValueError(
            f"The tokens {', '.join(tokens)} must have consecutive ids, got {ids}. The tokenizer "
            "has some of them under other numbers; start from one that has none or all."
        )
    return ids


class TokenRows(nn.Module):
    """Rows of new tokens, trained while all others stay as they are, to the bit.

    A mask on the gradient of the whole embedding would not do: weight decay shrinks rows that have
    no gradient.

    Args:
        backbone: Model with a frozen embedding; the rows of ``first_id`` and on may lie in it.
        first_id: Id of the first new token.
        count: New tokens.
        seed: Decides the noise by which fresh rows differ from each other.
    """

    def __init__(self, backbone: PreTrainedModel, first_id: int, count: int, seed: int) -> None:
        super().__init__()
        self.first_id, self.count = first_id, count
        embedding = backbone.get_input_embeddings().weight
        head = backbone.get_output_embeddings().weight
        is_tied = head is embedding or head.data_ptr() == embedding.data_ptr()
        generator = torch.Generator().manual_seed(seed)
        self.embedding = nn.Parameter(_start(embedding, first_id, count, generator))
        # A tied model has one matrix for reading and for writing, also for what is new.
        self.head = None if is_tied else nn.Parameter(_start(head, first_id, count, generator))

    def embed(self, backbone: PreTrainedModel, input_ids: Tensor) -> Tensor:
        """Embed token ids (B, T), shape (B, T, D)."""
        old = backbone.get_input_embeddings()
        is_new = (input_ids >= self.first_id) & (input_ids < self.first_id + self.count)
        found = old(input_ids.masked_fill(is_new, 0))
        rows = self.embedding.to(found.dtype)
        places = (input_ids - self.first_id).clamp(0, self.count - 1)
        return torch.where(is_new[..., None], nn.functional.embedding(places, rows), found)

    def logits(self, backbone: PreTrainedModel, states: Tensor) -> Tensor:
        """Next-token logits in float32 of hidden states (N, D), shape (N, V)."""
        rows = self.embedding if self.head is None else self.head
        old = backbone.lm_head(states).float()
        new = states.float() @ rows.T.float()
        last = self.first_id + self.count
        parts = [old[:, : self.first_id], new]
        # Published vocabularies are padded: there are rows behind the last token.
        if old.shape[1] > last:
            parts.append(old[:, last:])
        return torch.cat(parts, 1)

    def write_into(self, backbone: PreTrainedModel) -> None:
        """Put the rows where ids will look for them, growing the vocabulary if need be."""
        last = self.first_id + self.count
        if backbone.get_input_embeddings().weight.shape[0] < last:
            backbone.resize_token_embeddings(last, mean_resizing=False)
        with torch.no_grad():
            for module, rows in (
                (backbone.get_input_embeddings(), self.embedding),
                (backbone.get_output_embeddings(), self.head),
            ):
                if rows is not None:
                    module.weight[self.first_id : last] = rows.to(module.weight.dtype)


def _start(weight: Tensor, first_id: int, count: int, generator: torch.Generator) -> Tensor:
    """The rows that are there; fresh ones are the mean of the old, told apart by a little noise."""
    there = weight[first_id : first_id + count].detach().float().cpu()
    old = weight[:first_id].detach().float()
    noise = torch.randn(count, weight.shape[1], generator=generator)
    rows = old.mean(0).cpu() + _NOISE * old.std(0).cpu() * noise
    # Rows that nobody ever wrote to, the padding of a vocabulary, count as fresh.
    is_trained = len(there) == count and not _is_padding(there)
    return there.clone() if is_trained else rows


def _is_padding(rows: Tensor) -> bool:
    """Whether rows are alike, as those of a vocabulary that is padded to a round size."""
    spread = (rows - rows.mean(0)).norm(dim=1).max()
    return bool(spread < 1e-3 * rows.norm(dim=1).mean().clamp(min=1e-6))
