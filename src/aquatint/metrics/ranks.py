"""Exact ranks in cross-modal retrieval, by counting instead of sorting."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

# Two similarities closer than this share of the largest norms are equal: fp32 sums of the same
# products differ by less, depending on the shape of the matrix product they are part of.
TIE_TOLERANCE = 2.0**-20
NO_POSITIVE = -1
# Rows are copied out of a block only where that is less work than to count all of it.
_FEW = 4
# After a block of which most had to be counted, as many are counted whole without a look first.
_UNSEEN = 7
# Rows whose positives are looked for at once: of a larger block most would be negatives.
_POSITIVE_ROWS = 64


class RetrievalRanks(NamedTuple):
    """Rank of the best positive of each query, counted from 0; -1 where none is positive.

    Attributes:
        image_to_text: Rank among all texts for each image, int64, shape (N,).
        text_to_image: Rank among all images for each text, int64, shape (M,).
    """

    image_to_text: Tensor
    text_to_image: Tensor


class _Part(NamedTuple):
    """Views of a block of one side: embeddings, bounds as a column, and where counts are added."""

    rows: slice
    embeds: Tensor
    low: Tensor
    high: Tensor
    counted: Tensor


class _Side:
    """Embeddings of one modality, sorted by group, with what is counted for each of its rows."""

    def __init__(self, embeds: Tensor, groups: Tensor) -> None:
        self.groups, self.order = torch.sort(groups.to(embeds.device), stable=True)
        self.embeds = embeds.float()[self.order]
        self.best = torch.full((len(groups),), -torch.inf, device=embeds.device)
        # Candidates strictly above the best positive plus candidates not below it.
        self.above_plus_not_below = torch.zeros(
            len(groups), dtype=torch.int64, device=embeds.device
        )
        self.num_unseen = 0

    def parts(self, block_size: int, tolerance: float) -> list[_Part]:
        """Cut into blocks, each with its bounds: not below the best positive, and above it."""
        # Without a positive nothing is to be counted, and nothing lies above infinity.
        best = torch.where(torch.isfinite(self.best), self.best, torch.inf)[:, None]
        sources = (self.embeds, best - tolerance, best + tolerance, self.above_plus_not_below)
        return [
            _Part(rows, *(source[rows] for source in sources))
            for rows in _blocks(0, len(self.groups), block_size)
        ]

    def ranks(self) -> Tensor:
        # above + ceil(ties / 2), because above_plus_not_below = 2 * above + ties.
        counted = (self.above_plus_not_below + 1) // 2
        ranks = torch.empty_like(counted)
        ranks[self.order] = torch.where(torch.isfinite(self.best), counted, NO_POSITIVE)
        return ranks.cpu()


def retrieval_ranks(
    image_embeds: Tensor,
    text_embeds: Tensor,
    image_groups: Tensor,
    text_groups: Tensor,
    block_size: int = 512,
) -> RetrievalRanks:
    """Return for every image and every text the rank of its best positive, counted from 0.

    Text and image are positives of each other if their groups are equal: the same image, or the
    same building. The rank is the number of negatives above the best positive plus half of the
    negatives that tie with it, rounded up. So a tie never counts as found first, and embeddings
    that are all equal rank in the middle instead of at the top. Ties are equal up to the rounding
    of fp32 sums.

    Every similarity is computed once and counted in both directions (those near a positive once
    more, to find the best one); memory beyond the embeddings is that of one block.

    Args:
        image_embeds: L2-normalised image embeddings, shape (N, D).
        text_embeds: L2-normalised text embeddings, on the same device, shape (M, D).
        image_groups: Group of each image, integers, shape (N,).
        text_groups: Group of each text, integers, shape (M,).
        block_size: Rows and columns of a block, which takes about 8 * block_size^2 bytes, and for
            each pair of one group in it about 40 more.

    Returns:
        Ranks on the CPU; -1 for a query without a positive.

    Raises:
        ValueError: If the shapes do not fit together or an embedding is not finite.
    """
    _check_embeds(image_embeds, text_embeds)
    _check_groups("image", image_embeds, image_groups)
    _check_groups("text", text_embeds, text_groups)
    if block_size < 1:
        raise ValueError(f"block_size must be at least 1, got {block_size}.")
    images, texts = _Side(image_embeds, image_groups), _Side(text_embeds, text_groups)
    # Both sides are sorted, so the positives of an image lie behind one another.
    starts = torch.searchsorted(texts.groups, images.groups)
    stops = torch.searchsorted(texts.groups, images.groups, right=True)
    with _full_precision(image_embeds.device):
        _find_best_positives(images, texts, (starts, stops), block_size)
        _count_candidates(images, texts, (starts, stops), block_size)
    return RetrievalRanks(images.ranks(), texts.ranks())


def ranks_after_reranking(
    base_ranks: Tensor,
    candidate_indices: Tensor,
    candidate_scores: Tensor,
    query_groups: Tensor,
    candidate_groups: Tensor,
) -> Tensor:
    """Return the ranks after the first candidates of each query were put in a new order.

    Args:
        base_ranks: Rank of the best positive before, counted from 0, -1 without one, shape (M,).
        candidate_indices: The first candidates of each query, without repeats, shape (M, K).
        candidate_scores: Their new scores, higher is better, finite, shape (M, K).
        query_groups: Group of each query, integers, shape (M,).
        candidate_groups: Group of each of all candidates, integers, shape (N,).

    Returns:
        New ranks, int64, shape (M,), ties resolved as in ``retrieval_ranks``. A query whose
        positives are not among the K candidates keeps its rank, which then is at least K.

    Raises:
        ValueError: If the shapes do not fit together or a score is not finite.
    """
    if candidate_indices.shape != candidate_scores.shape or not (
        len(base_ranks) == len(query_groups) == len(candidate_indices)
    ):
        raise ValueError(
            f"base_ranks, candidate_indices, candidate_scores and query_groups must have one row "
            f"for each query, got shapes {tuple(base_ranks.shape)}, "
            f"{tuple(candidate_indices.shape)}, {tuple(candidate_scores.shape)} and "
            f"{tuple(query_groups.shape)}."
        )
    if not bool(torch.isfinite(candidate_scores).all()):
        raise ValueError("candidate_scores must be finite; a NaN would pass for a perfect rank.")
    is_positive = candidate_groups[candidate_indices] == query_groups[:, None]
    best = candidate_scores.masked_fill(~is_positive, -torch.inf).amax(dim=1, keepdim=True)
    negatives = candidate_scores.masked_fill(is_positive, -torch.inf)
    above, not_below = (negatives > best).sum(dim=1), (negatives >= best).sum(dim=1)
    reranked = (above + not_below + 1) // 2
    # With ties the base rank may lie inside the first K although no positive was picked.
    kept = torch.where(
        base_ranks == NO_POSITIVE, base_ranks, base_ranks.clamp(min=candidate_indices.shape[1])
    )
    return torch.where(is_positive.any(dim=1), reranked, kept)


def top_candidates(
    query_embeds: Tensor, candidate_embeds: Tensor, k: int, block_size: int = 1024
) -> Tensor:
    """Return the most similar candidates of each query, best first.

    Args:
        query_embeds: L2-normalised embeddings, shape (M, D).
        candidate_embeds: L2-normalised embeddings, shape (N, D).
        k: Number of candidates to return; all N where there are fewer.
        block_size: Queries at a time; a block takes about 4 * block_size * N bytes.

    Returns:
        Rows of ``candidate_embeds``, int64 on the CPU, shape (M, min(k, N)).

    Raises:
        ValueError: If the widths differ or an embedding is not finite.
    """
    _check_embeds(query_embeds, candidate_embeds)
    kept = min(k, len(candidate_embeds))
    indices = torch.empty((len(query_embeds), kept), dtype=torch.int64)
    candidates = candidate_embeds.float().T
    with _full_precision(query_embeds.device):
        for rows in _blocks(0, len(query_embeds), block_size):
            similarity = query_embeds[rows].float() @ candidates
            indices[rows] = similarity.topk(kept, dim=1).indices.cpu()
    return indices


@contextmanager
def _full_precision(device: torch.device) -> Iterator[None]:
    # TF32 and autocast would round by far more than a tie tolerates.
    previous = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(previous)


def _find_best_positives(
    images: _Side, texts: _Side, positives: tuple[Tensor, Tensor], block_size: int
) -> None:
    starts, stops = positives
    for rows in _blocks(0, len(images.groups), min(block_size, _POSITIVE_ROWS)):
        groups = images.groups[rows]
        for columns in _blocks(int(starts[rows][0]), int(stops[rows][-1]), block_size):
            similarity = images.embeds[rows] @ texts.embeds[columns].T
            is_negative = groups[:, None] != texts.groups[None, columns]
            similarity.masked_fill_(is_negative, -torch.inf)
            images.best[rows] = torch.maximum(images.best[rows], similarity.amax(dim=1))
            texts.best[columns] = torch.maximum(texts.best[columns], similarity.amax(dim=0))


def _count_candidates(
    images: _Side, texts: _Side, positives: tuple[Tensor, Tensor], block_size: int
) -> None:
    tolerance = TIE_TOLERANCE * _largest_norm(images.embeds) * _largest_norm(texts.embeds)
    # Cut once: of a block's time a twelfth went into views.
    image_parts, text_parts = (side.parts(block_size, tolerance) for side in (images, texts))
    # Once: new memory is slow to touch.
    sizes = (min(block_size, len(side.groups)) for side in (images, texts))
    room = images.embeds.new_empty(*sizes)
    for image_part in image_parts:
        starts, stops = (bound[image_part.rows] for bound in positives)
        first, last = int(starts[0]), int(stops[-1])
        for text_part in text_parts:
            similarity = image_part.embeds @ text_part.embeds.T
            if first < text_part.rows.stop and text_part.rows.start < last:
                similarity[_pairs(starts, stops, text_part.rows)] = -torch.inf
            _count(similarity, images, image_part, room)
            _count(similarity.T, texts, text_part, room.T)


def _pairs(starts: Tensor, stops: Tensor, columns: slice) -> tuple[Tensor, Tensor]:
    """Row and column, in a block of ``columns``, of the positives from ``starts`` to ``stops``."""
    starts = starts.clamp(min=columns.start)
    counts = (stops.clamp(max=columns.stop) - starts).clamp(min=0)
    rows = torch.repeat_interleave(counts)
    # A pair's number less those of the rows before is its place among the positives of its row.
    places = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[rows]
    return rows, starts[rows] - columns.start + places


def _count(similarity: Tensor, side: _Side, part: _Part, room: Tensor) -> None:
    _, _, low, high, counted = part
    if side.num_unseen:
        side.num_unseen -= 1
    elif not similarity.is_cuda:
        # Few rows of a good model have any candidate of a block near their best positive; their
        # largest values say which, in one pass instead of four. A GPU would have to be waited for.
        near = torch.nonzero(similarity.amax(dim=1) >= low[:, 0]).flatten()
        if len(near) < len(low) // _FEW:
            if len(near):
                some = _above_plus_not_below(similarity[near], low[near], high[near], room)
                counted.index_add_(0, near, some)
            return
        side.num_unseen = _UNSEEN
    counted += _above_plus_not_below(similarity, low, high, room)


def _above_plus_not_below(similarity: Tensor, low: Tensor, high: Tensor, room: Tensor) -> Tensor:
    # Into floats, not booleans: torch compares five times as fast on a CPU, and sums them too.
    # Exact: a block that fits into memory has fewer than 2^23 columns.
    found = _corner(room, *similarity.shape)
    above = torch.gt(similarity, high, out=found).sum(dim=1)
    not_below = torch.ge(similarity, low, out=found).sum(dim=1)
    return (above + not_below).long()


def _corner(matrix: Tensor, num_rows: int, num_columns: int) -> Tensor:
    is_whole = matrix.shape == (num_rows, num_columns)
    return matrix if is_whole else matrix[:num_rows, :num_columns]


def _largest_norm(embeds: Tensor) -> float:
    return float(embeds.norm(dim=1).max()) if len(embeds) else 0.0


def _blocks(start: int, stop: int, block_size: int) -> Iterator[slice]:
    for first in range(start, stop, block_size):
        yield slice(first, min(first + block_size, stop))


def _check_embeds(left: Tensor, right: Tensor) -> None:
    if left.ndim != 2 or right.ndim != 2 or left.shape[1] != right.shape[1]:
        raise ValueError(
            f"embeddings must be matrices of one width, got shapes {tuple(left.shape)} and "
            f"{tuple(right.shape)}."
        )
    for embeds in (left, right):
        # A sum is finite only if all its terms are, and takes a tenth of the time.
        if torch.isfinite(embeds.sum()):
            continue
        num_bad = int((~torch.isfinite(embeds)).any(dim=1).sum())
        if num_bad:
            raise ValueError(
                f"{num_bad} of {len(embeds)} embeddings are not finite; a NaN would pass for a "
                "perfect rank."
            )


def _check_groups(side: str, embeds: Tensor, groups: Tensor) -> None:
    if groups.shape != embeds.shape[:1] or groups.is_floating_point():
        raise ValueError(
            f"{side}_groups must hold one integer for each of {len(embeds)} embeddings, got "
            f"{groups.dtype} of shape {tuple(groups.shape)}."
        )
