"""Image-text matching loss and the choice of its negatives."""

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

# Keeps every allowed negative reachable once the softmax has rounded its weight to zero.
WEIGHT_FLOOR = 1e-5


class Negatives(NamedTuple):
    """One negative image for each text and one negative text for each image of a batch.

    Attributes:
        image_index_per_text: Row of the negative image for the k-th row that has one, shape (K,).
        text_index_per_image: Row of the negative text for the k-th row that has one, shape (K,).
        has_negative: Whether the row has a negative at all, shape (B,); K of them are true.
    """

    image_index_per_text: Tensor
    text_index_per_image: Tensor
    has_negative: Tensor


class MatchPairs(NamedTuple):
    """Image-text pairs for matching: B positives, then K negative images, K negative texts.

    Attributes:
        image_index: Row of the image, shape (B + 2K,).
        text_index: Row of the text, shape (B + 2K,).
        is_match: Whether text and image belong together, shape (B + 2K,).
    """

    image_index: Tensor
    text_index: Tensor
    is_match: Tensor


def sample_hard_negatives(
    similarity: Tensor,
    ids: Tensor,
    generator: torch.Generator,
    strategy: Literal["hard", "random"] = "hard",
) -> Negatives:
    """Draw one negative image for each text and one negative text for each image.

    Rows that share an id are never negatives of each other. Where all ids of the batch are equal
    nothing can be drawn; those rows are dropped and marked in ``has_negative``.

    Args:
        similarity: Logits (cosine / temperature), image rows and text columns, shape (B, B).
        ids: Image of each row, shape (B,).
        generator: Source of randomness on the device of ``similarity``.
        strategy: ``hard`` draws with softmax(similarity) as weights, ``random`` uniformly.

    Returns:
        Negatives counted from 0 in the batch; they carry no gradient.

    Raises:
        ValueError: If ``similarity`` is not square in the number of ids, or not finite.

    References:
        Zeng et al., "Multi-Grained Vision Language Pre-Training" (X-VLM), ICML 2022,
        https://arxiv.org/abs/2111.08276. Rows without a negative are dropped, not an error.
    """
    if similarity.shape != (len(ids), len(ids)):
        raise ValueError(
            f"similarity must have shape (B, B) for B ids, got {tuple(similarity.shape)} "
            f"for {len(ids)} ids."
        )
    logits = similarity.detach().float()
    if not bool(torch.isfinite(logits).all()):
        raise ValueError("similarity must be finite to draw negatives from it.")
    is_allowed = ids[:, None] != ids[None, :]
    has_negative = is_allowed.any(dim=1)
    return Negatives(
        _draw_one_per_row(logits.T, is_allowed, generator, strategy),
        _draw_one_per_row(logits, is_allowed, generator, strategy),
        has_negative,
    )


def pair_negatives(negatives: Negatives) -> MatchPairs:
    """Return the pairs to match: every row with itself, and with its two negatives.

    Args:
        negatives: What ``sample_hard_negatives`` drew for a batch of B rows.

    Returns:
        B positives, then K texts with a negative image, then K images with a negative text.
    """
    rows = torch.arange(
        len(negatives.has_negative), device=negatives.has_negative.device, dtype=torch.int64
    )
    drawn = rows[negatives.has_negative]
    is_match = torch.zeros(len(rows) + 2 * len(drawn), dtype=torch.bool, device=rows.device)
    is_match[: len(rows)] = True
    return MatchPairs(
        torch.cat((rows, negatives.image_index_per_text, drawn)),
        torch.cat((rows, drawn, negatives.text_index_per_image)),
        is_match,
    )


def itm_loss(match_logits: Tensor, is_match: Tensor) -> Tensor:
    """Cross-entropy of matching against not matching.

    Args:
        match_logits: Logits of no match and match, in this order, shape (N, 2).
        is_match: Whether the pair belongs together, bool, shape (N,).

    Returns:
        Mean over the pairs in nats, fp32, shape (); 0 without pairs.

    Raises:
        ValueError: If there is not one pair of logits for each flag.

    References:
        Li et al., "Align before Fuse" (ALBEF), NeurIPS 2021, https://arxiv.org/abs/2107.07651.
    """
    if match_logits.shape != (len(is_match), 2):
        raise ValueError(
            f"match_logits must have shape (N, 2) for N pairs, got {tuple(match_logits.shape)} "
            f"for {len(is_match)} pairs."
        )
    # The mean of no pairs is NaN and would stop the training.
    if len(is_match) == 0:
        return match_logits.float().sum() * 0
    return F.cross_entropy(match_logits.float(), is_match.long())


def _draw_one_per_row(
    logits: Tensor,
    is_allowed: Tensor,
    generator: torch.Generator,
    strategy: Literal["hard", "random"],
) -> Tensor:
    match strategy:
        case "hard":
            weights = logits.softmax(dim=1) + WEIGHT_FLOOR
        case "random":
            weights = torch.ones_like(logits)
        case _:
            raise ValueError(f"strategy must be 'hard' or 'random', got {strategy!r}.")
    has_negative = is_allowed.any(dim=1)
    weights = (weights * is_allowed)[has_negative]
    # multinomial refuses a matrix without rows.
    if len(weights) == 0:
        return torch.zeros(0, dtype=torch.int64, device=logits.device)
    return torch.multinomial(weights, 1, generator=generator).squeeze(1)
