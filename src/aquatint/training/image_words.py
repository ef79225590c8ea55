"""What lies in the area of each image token: how a small model learns to see in minutes.

Captions alone say what an image shows and leave open where. A model of a million weights then reads
the usual words off the text for thousands of steps before it looks. Told what lies in each area, as
a detector's grid is, its image tokens come to lie beside the words' own embeddings, where attention
from a word finds them.

What a question asks for is found the same way. A question in front of the image is seen by every
image token; told which of them is meant, they learn to compare what they hold with what is asked
for, and the answer behind them has one marked token to look at, not several.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

UNKNOWN = -1
# Most words lie in few areas: a fresh reader says no, with a probability of 0.95.
_FIRST_BIAS = -3.0


@dataclass(frozen=True)
class ImageWords:
    """Words, and where they lie in each image.

    Attributes:
        words: The words.
        targets: 1 where a word lies in an image token's area, 0 where not, ``UNKNOWN`` for images
            of which nothing is known; int8, shape (N, tokens, words).
    """

    words: tuple[str, ...]
    targets: np.ndarray


class WordReader(nn.Module):
    """Read words off image tokens by their likeness to the words' embeddings.

    Args:
        word_ids: Id of each word's first token.
    """

    ids: Tensor

    def __init__(self, word_ids: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("ids", torch.tensor(list(word_ids)), persistent=False)
        self.bias = nn.Parameter(torch.full((len(word_ids),), _FIRST_BIAS))

    def loss(self, features: Tensor, embeddings: Tensor, targets: Tensor) -> Tensor:
        """Binary cross-entropy in nats, summed over words, mean over the tokens that are known.

        Args:
            features: Image tokens as the language model takes them, shape (B, tokens, D).
            embeddings: Of the whole vocabulary, shape (V, D).
            targets: As ``ImageWords.targets``, shape (B, tokens, words).

        Returns:
            A scalar; 0, with a gradient of 0, if nothing is known of any image.
        """
        logits = features @ embeddings[self.ids].T + self.bias
        losses = F.binary_cross_entropy_with_logits(
            logits, targets.clamp(min=0).to(logits.dtype), reduction="none"
        ).sum(-1)
        is_known = (targets != UNKNOWN).all(-1)
        return (losses * is_known).sum() / is_known.sum().clamp(min=1)


class AskedReader(nn.Module):
    """Read off image tokens, early in the language model, which of them a question asks for.

    Args:
        width: Width of the language model.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(width)
        self.head = nn.Linear(width, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.constant_(self.head.bias, _FIRST_BIAS)

    def loss(self, states: Tensor, cells: Tensor) -> Tensor:
        """Binary cross-entropy in nats, summed over image tokens, mean over questions.

        Args:
            states: Hidden states of the image tokens behind each question, shape (B, tokens, D).
            cells: Number of the image token that is asked for, shape (B,), counted from 0.
        """
        logits = self.head(self.norm(states))[..., 0]
        targets = F.one_hot(cells, states.shape[1]).to(logits.dtype)
        losses = F.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(-1)
        return losses.mean()


def first_token_ids(words: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Id of each word's first token, as it stands behind a space.

    Raises:
        ValueError: If two words begin with the same token, so that one could not be told from the
            other.
    """
    ids = [tokenizer(f" {word}")["input_ids"][0] for word in words]
    if len(set(ids)) < len(ids):
        same = [word for word, i in zip(words, ids, strict=True) if ids.count(i) > 1]
        raise ValueError(
            f"The words {', '.join(same)} share a first token: raise vocab_size, or name others."
        )
    return ids
