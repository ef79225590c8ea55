"""Texts to padded token ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class TextEncoder:
    """Token ids of texts, padded on the right, with the end-of-text token always in place.

    Args:
        tokenizer: The backbone's tokenizer.
        max_tokens: Longer texts are cut before their end-of-text token.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, max_tokens: int) -> None:
        self._tokenizer, self._max_tokens = tokenizer, max_tokens

    def __call__(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return input_ids and attention_mask of shape (N, max_tokens).

        Raises:
            ValueError: If a text is empty.
        """
        rows = self._tokenizer(list(texts), add_special_tokens=False)["input_ids"] if texts else []
        empty = [i for i, row in enumerate(rows) if not row]
        if empty:
            raise ValueError(f"A text must have at least one token; text {empty[0]} has none.")
        eos, pad = self._tokenizer.eos_token_id, self._tokenizer.pad_token_id
        ids = torch.full((len(rows), self._max_tokens), pad, dtype=torch.long)
        mask = torch.zeros((len(rows), self._max_tokens), dtype=torch.long)
        for i, row in enumerate(rows):
            kept = [*row[: self._max_tokens - 1], eos]
            ids[i, : len(kept)] = torch.tensor(kept)
            mask[i, : len(kept)] = 1
        return ids, mask
