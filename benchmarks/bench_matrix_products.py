"""Products of float32 matrices as runs compute them on a CPU, against torch's own way.

Run with ``make bench``. Linears forward and backward; of one shape, and of a number of rows that is
new in every call, as batches of texts have. Only AMD processors with AVX-512 compute otherwise than
torch does (``training/matrix_products.py``); on others a line says so.
"""

import statistics
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor

from aquatint.training import matrix_products
from aquatint.training.precision import keep_freed_blocks

ROUNDS, MAX_DIFFERENCE = 7, 1e-5
# Rows, width in, width out: a pocket backbone, LoRA task B's tower, one of InternVL3-1B's MLPs.
SHAPES = ((2080, 96, 96), (2080, 96, 384), (2080, 384, 96), (8192, 256, 1024), (1024, 896, 4864))
NUM_ROWS = range(1501, 2501, 25)
REPEATS = len(NUM_ROWS)


def milliseconds(inputs: list[list[Tensor]], is_frozen: bool) -> float:
    """Mean CPU time of a linear and its gradients; without that of the weight if it is frozen."""
    start = time.process_time()
    for x, weight, gradient in inputs:
        wanted = [x] if is_frozen else [x, weight]
        torch.autograd.grad(F.linear(x, weight), wanted, gradient)
    return 1e3 * (time.process_time() - start) / len(inputs)


def compare(rows: Iterable[int], width_in: int, width_out: int, what: str) -> None:
    """Print both ways' times, medians of alternating rounds behind a first one."""
    weight = torch.randn(width_out, width_in, requires_grad=True)
    inputs = [
        [torch.randn(n, width_in, requires_grad=True), weight, torch.randn(n, width_out)]
        for n in rows
    ]
    check(*inputs[0])
    with torchs_own_way():
        check(*inputs[0])
    for is_frozen in (True, False):
        ours, theirs = [], []
        for _ in range(ROUNDS):
            ours.append(milliseconds(inputs, is_frozen))
            with torchs_own_way():
                theirs.append(milliseconds(inputs, is_frozen))
        mine, other = statistics.median(ours[1:]), statistics.median(theirs[1:])
        print(
            f"{what}, {width_in} to {width_out}, {'frozen' if is_frozen else 'trained'}: "
            f"{mine:.2f} ms, {other:.2f} ms torch's own way: {other / mine:.2f} times less"
        )


def torchs_own_way() -> AbstractContextManager[object]:
    """Every product is too small for oneDNN, and given to the kernel that was there before."""
    return patch.object(matrix_products, "_is_large", lambda *_: False)


def check(x: Tensor, weight: Tensor, gradient: Tensor) -> None:
    """Compare a linear and both of its gradients with double precision.

    Raises:
        SystemExit: If one is further from it than rounding explains.
    """
    found, expected = (
        products(*(part.detach().to(dtype).requires_grad_() for part in (x, weight)), gradient)
        for dtype in (torch.float32, torch.float64)
    )
    for one, other in zip(found, expected, strict=True):
        difference = float((one - other).abs().max() / other.abs().max())
        if difference > MAX_DIFFERENCE:
            raise SystemExit(f"A product for {tuple(x.shape)} differs by {difference:.1e} of it.")


def products(x: Tensor, weight: Tensor, gradient: Tensor) -> list[Tensor]:
    output = F.linear(x, weight)
    gradients = torch.autograd.grad(output, [x, weight], gradient.to(x.dtype))
    return [output.detach(), *gradients]


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    name = getattr(torch.cpu, "get_capabilities", dict)().get("cpu_name", "unknown processor")
    if not matrix_products.is_faster_by_onednn():
        print(f"{name}: torch's own products are taken; nothing measured")
        return
    matrix_products.multiply_by_onednn()
    keep_freed_blocks()
    print(f"CPU time, {name}, torch {torch.__version__}")
    for rows, width_in, width_out in SHAPES:
        compare([rows] * REPEATS, width_in, width_out, f"{rows} rows")
    compare(NUM_ROWS, 96, 384, "1,501 to 2,476 rows, each number once")


if __name__ == "__main__":
    main()
