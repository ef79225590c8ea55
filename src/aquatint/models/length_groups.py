"""Texts of like length together, so that little is computed for padding."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# A pass more costs about as much as these tokens, measured on a CPU with towers of two blocks.
_TOKENS_OF_A_PASS = 128


def length_groups(lengths: Sequence[int] | NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Split texts into groups of like length, as far as the padding saved is worth a pass.

    Args:
        lengths: Tokens of each of the N texts.

    Returns:
        Positions of the texts of each group; each text in one group, shorter texts first.
    """
    lengths = np.asarray(lengths, dtype=np.int64)
    return _split(np.argsort(lengths, kind="stable"), lengths)


def _split(order: NDArray[np.int64], lengths: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    if not len(order):
        return [order]
    ordered = lengths[order]
    # Padding that falls away if the first n texts are a group of their own.
    saved = np.arange(1, len(order)) * (ordered[-1] - ordered[:-1])
    if not len(saved) or saved.max() <= _TOKENS_OF_A_PASS:
        return [order]
    first = int(saved.argmax()) + 1
    return [*_split(order[:first], lengths), *_split(order[first:], lengths)]


def in_length_groups(
    lengths: NDArray[np.int64], encode: Callable[[Tensor, int], Sequence[Tensor]]
) -> list[Tensor]:
    """Encode texts group by group and return the results in the order of the texts.

    Args:
        lengths: Tokens of each of the N texts.
        encode: Positions of a group (M,) and the length of its longest text to tensors of M rows.
    """
    groups = length_groups(lengths)
    parts = [
        encode(torch.from_numpy(group), int(lengths[group].max(initial=1))) for group in groups
    ]
    back = torch.from_numpy(np.argsort(np.concatenate(groups)))
    columns = [torch.cat(column) for column in zip(*parts, strict=True)]
    return [column.index_select(0, back.to(column.device)) for column in columns]
