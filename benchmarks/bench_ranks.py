"""Exact ranks in both directions: one blocked pass against sorting the full matrix.

Run with ``make bench``. Prints medians of alternating rounds and their ratio; the ranks of both
ways are compared first, up to the tolerance that ties are counted with.
"""

import statistics
import time

import torch

from aquatint.metrics.ranks import retrieval_ranks

NUM_IMAGES, TEXTS_PER_IMAGE, WIDTH, ROUNDS = 4000, 1, 256, 5


def by_sorting(images: torch.Tensor, texts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    similarity = images @ texts.T
    rows = torch.arange(len(images))[:, None]
    return tuple(
        (matrix.argsort(dim=1, descending=True) == rows).int().argmax(dim=1)
        for matrix in (similarity, similarity.T)
    )


def main() -> None:
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    images = torch.nn.functional.normalize(torch.randn(NUM_IMAGES, WIDTH, generator=generator))
    noise = torch.randn(NUM_IMAGES, WIDTH, generator=generator)
    texts = torch.nn.functional.normalize(images + 0.2 * noise)
    groups = torch.arange(NUM_IMAGES)
    ours, theirs = [], []
    for _ in range(ROUNDS):
        start = time.process_time()
        ranks = retrieval_ranks(images, texts, groups, groups)
        ours.append(time.process_time() - start)
        start = time.process_time()
        sorted_ranks = by_sorting(images, texts)
        theirs.append(time.process_time() - start)
    same = (ranks.image_to_text == sorted_ranks[0]).float().mean()
    print(f"ranks, {NUM_IMAGES} x {NUM_IMAGES} x {WIDTH}, one thread, torch {torch.__version__}")
    print(f"equal ranks {same:.4f} (ties within rounding count as ties)")
    print(f"one blocked pass {statistics.median(ours):.2f} CPU s")
    print(f"full argsort     {statistics.median(theirs):.2f} CPU s")
    print(f"ratio            {statistics.median(theirs) / statistics.median(ours):.1f}")


if __name__ == "__main__":
    main()
