"""Matrix products of float32 on AMD processors with AVX-512: by oneDNN instead of MKL.

Torch multiplies matrices of float32 by MKL, which gives AMD's processors kernels of AVX2, half of
what they can do with AVX-512. oneDNN, which torch brings as well, asks for the instructions alone
(``benchmarks/bench_matrix_products.py``).
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# Multiplications from which on oneDNN is worth its code for one more shape. By sizes alone, so that
# the same product is always computed in the same way.
_MIN_MULTIPLICATIONS = 2**24
# The overrides last as long as this.
_LIBRARY = torch.library.Library("aten", "IMPL")


def is_faster_by_onednn() -> bool:
    """Whether this is such a processor, and this torch has what it takes."""
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return (
        capabilities.get("cpu_name", "").startswith("AMD")
        and capabilities.get("avx512_f", False)
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.library, "get_kernel")
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


@functools.cache
def multiply_by_onednn() -> None:
    """From now on multiply large matrices of float32 by oneDNN, in this process, on such a CPU.

    Linears and products of two matrices are computed so, forward and backward; batches of products
    and attention as before.
    """
    if not is_faster_by_onednn():
        return
    with warnings.catch_warnings():
        # Torch warns that both have a kernel already: it is kept, for all that is not large.
        warnings.filterwarnings("ignore", "(?s).*Overriding a previously registered kernel")
        _LIBRARY.impl("mm", _override_mm(), "CPU", with_keyset=True)
        _LIBRARY.impl("addmm", _override_addmm(), "CPU", with_keyset=True)


def _override_mm() -> Callable[..., Tensor]:
    original = torch.library.get_kernel("aten::mm", "CPU")

    def mm(keys: torch.DispatchKeySet, first: Tensor, second: Tensor) -> Tensor:
        if _is_large(first, second):
            return multiply(first, second)
        return original.call_boxed(keys, first, second)

    return mm


def _override_addmm() -> Callable[..., Tensor]:
    original = torch.library.get_kernel("aten::addmm", "CPU")

    def addmm(
        keys: torch.DispatchKeySet,
        bias: Tensor,
        first: Tensor,
        second: Tensor,
        beta: float = 1,
        alpha: float = 1,
    ) -> Tensor:
        is_linear = beta == 1 and alpha == 1 and bias.shape == second.shape[1:]
        if is_linear and bias.dtype is torch.float32 and _is_large(first, second):
            return multiply(first, second, bias)
        return original.call_boxed(keys, bias, first, second, beta=beta, alpha=alpha)

    return addmm


def _is_large(first: Tensor, second: Tensor) -> bool:
    """Whether this is a product (M, K) x (K, N) of float32 that is worth it."""
    return (
        first.dtype is torch.float32
        and second.dtype is torch.float32
        and first.dim() == second.dim() == 2
        and first.shape[1] == second.shape[0]
        and first.shape[0] * second.numel() >= _MIN_MULTIPLICATIONS
    )


def multiply(first: Tensor, second: Tensor, bias: Tensor | None = None) -> Tensor:
    """Multiply (M, K) by (K, N) and add a bias (N,), all float32, by oneDNN.

    oneDNN makes code for each shape, which takes a quarter of a millisecond and 0.6 MB. The number
    of samples or tokens, which often differs from batch to batch, is therefore filled up with zeros
    to one of eight sizes between a power of two and the next: rows of ``first`` in a forward pass
    and for the gradient of its input, columns for that of a weight, where ``first`` is a transpose.
    """
    rows = len(first)
    if first.is_contiguous():
        first = _fill_up(first)
    elif rows > second.shape[1] and bias is None:
        # oneDNN has ``first`` copied into another order; better the narrower of both.
        return multiply(second.t(), first.t()).t().contiguous()
    else:
        first, second = _fill_up(first.t()).t(), _fill_up(second)
    product = torch.ops.mkldnn._linear_pointwise(first, second.t(), bias, "none", [], "")
    return product[:rows]


def _fill_up(matrix: Tensor) -> Tensor:
    missing = _round_up(len(matrix)) - len(matrix)
    return F.pad(matrix, (0, 0, 0, missing)) if missing else matrix


def _round_up(number: int) -> int:
    """The next number that has zeros behind its first four binary digits."""
    step = 1 << max(0, number.bit_length() - 4)
    return -(-number // step) * step
