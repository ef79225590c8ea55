"""Rows of all ranks as one tensor that gradients flow through."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from aquatint.collective import gather_parts, num_ranks, rank, sum_over_ranks


def gather_rows(rows: Tensor, counts: Sequence[int] | None = None) -> Tensor:
    """Put the rows of all ranks together, in the order of the ranks.

    Gradients flow back to the rank that a row came from, summed over all ranks.

    Args:
        rows: Rows of this rank, shape (N_rank, ...); N_rank may differ, the rest may not.
        counts: N_rank of each rank, where they are known.

    Returns:
        Rows of all ranks, shape (sum of N_rank, ...).
    """
    return rows if num_ranks() == 1 else _Gathering.apply(rows, counts)


class _Gathering(torch.autograd.Function):
    """Concatenation over ranks; torch's own differentiable ones want equal sizes."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, counts: Sequence[int] | None) -> Tensor:  # noqa: ANN401
        parts = gather_parts(rows.contiguous(), counts)
        ctx.sizes = [len(part) for part in parts]
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        return sum_over_ranks(gradients[0].contiguous()).split(ctx.sizes)[rank()], None
