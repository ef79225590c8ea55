"""Embed the patches of 64 images: one matrix product against transformers' Conv3d.

Run with ``make bench``. Forward and backward at the pocket's size and at the published one; both
ways are compared.
"""

import statistics
import time
from collections.abc import Callable

import torch
import transformers
from torch import Tensor, nn

from aquatint.models.qwen_vl import PatchProjection

ROUNDS = 5
# Patches, edge of a patch, width: 64 images of 96 px; one of 448 px for Qwen2.5-VL.
SIZES = ((4096, 12, 96), (1024, 14, 1280))


def cpu_seconds(embed: Callable[[Tensor], Tensor], patches: Tensor) -> float:
    start = time.process_time()
    embed(patches).square().mean().backward()
    return time.process_time() - start


def measure(num_patches: int, edge_px: int, width: int) -> None:
    kernel = (2, edge_px, edge_px)
    convolution = nn.Conv3d(3, width, kernel, kernel, bias=False)
    product = PatchProjection(convolution)
    patches = torch.randn(num_patches, 3 * 2 * edge_px**2)

    def theirs(rows: Tensor) -> Tensor:
        return convolution(rows.view(-1, 3, *kernel)).view(-1, width)

    difference = float((theirs(patches) - product(patches)).detach().abs().max())
    if difference > 1e-4:
        raise SystemExit(f"The embeddings differ by {difference:.1e}.")
    rounds = [
        (cpu_seconds(product, patches), cpu_seconds(theirs, patches)) for _ in range(ROUNDS + 1)
    ]
    ours, others = (1e3 * statistics.median(part) for part in zip(*rounds[1:], strict=True))
    print(
        f"{num_patches} patches of {edge_px} px, width {width}: product {ours:.0f} ms, Conv3d "
        f"{others:.0f} ms: {others / ours:.1f} times less, within {difference:.1e}"
    )


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(f"CPU time, torch {torch.__version__}, transformers {transformers.__version__}")
    for size in SIZES:
        measure(*size)


if __name__ == "__main__":
    main()
