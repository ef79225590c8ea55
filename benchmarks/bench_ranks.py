"""Exact ranks in both directions: one blocked pass against sorting, and against the product alone.

Run with ``make bench``; ``--large`` adds 50,000 images x 150,000 texts (minutes, without the sort).
Prints medians of alternating rounds and their ratios. The ranks are compared with those of the
full sort first, at a size at which that fits.
"""

import resource
import statistics
import sys
import time

import torch
from torch import Tensor

from aquatint.metrics.ranks import RetrievalRanks, retrieval_ranks
from aquatint.training.matrix_products import is_faster_by_onednn, multiply_by_onednn

WIDTH, ROUNDS, SORTED = 256, 5, 4000
TEXTS_PER_IMAGE = 3
# Of texts beside their images': a model that finds all, and one that finds nothing.
NOISES = (0.1, 10.0)


def by_sorting(images: Tensor, texts: Tensor) -> tuple[Tensor, Tensor]:
    """Ranks of the matches on the diagonal, as published evaluation code finds them."""
    similarity = images @ texts.T
    rows = torch.arange(len(images))[:, None]
    return tuple(
        (matrix.argsort(dim=1, descending=True) == rows).int().argmax(dim=1)
        for matrix in (similarity, similarity.T)
    )


def product_alone(images: Tensor, texts: Tensor, block_size: int = 512) -> None:
    for start in range(0, len(images), block_size):
        for begin in range(0, len(texts), block_size):
            images[start : start + block_size] @ texts[begin : begin + block_size].T


def embeddings(num_images: int, texts_per_image: int, noise: float) -> tuple[Tensor, ...]:
    """Images, texts at a distance of ``noise`` from theirs, and the groups of both."""
    generator = torch.Generator().manual_seed(0)
    images = torch.nn.functional.normalize(torch.randn(num_images, WIDTH, generator=generator))
    groups = torch.arange(num_images)
    owners = groups.repeat(texts_per_image)
    away = torch.randn(len(owners), WIDTH, generator=generator)
    texts = torch.nn.functional.normalize(images[owners] + noise * away)
    return images, texts, groups, owners


def cpu_seconds(action, *arguments) -> tuple[float, object]:
    start = time.process_time()
    result = action(*arguments)
    return time.process_time() - start, result


def against_sorting() -> None:
    images, texts, groups, owners = embeddings(SORTED, 1, 0.2)
    ours, theirs = [], []
    for _ in range(ROUNDS):
        seconds, ranks = cpu_seconds(retrieval_ranks, images, texts, groups, owners)
        ours.append(seconds)
        seconds, expected = cpu_seconds(by_sorting, images, texts)
        theirs.append(seconds)
    same = [(a == b).float().mean() for a, b in zip(ranks, expected, strict=True)]
    if min(same) < 0.999:
        raise SystemExit(f"The ranks differ from those of the sort: {same}.")
    show(f"{SORTED} x {SORTED}, against sorting", ours, theirs)


def against_the_product(num_images: int, noise: float, rounds: int) -> RetrievalRanks:
    images, texts, groups, owners = embeddings(num_images, TEXTS_PER_IMAGE, noise)
    ours, floor = [], []
    for _ in range(rounds):
        floor.append(cpu_seconds(product_alone, images, texts)[0])
        seconds, ranks = cpu_seconds(retrieval_ranks, images, texts, groups, owners)
        ours.append(seconds)
    first = float((ranks.text_to_image < 10).float().mean())
    show(f"{len(images)} x {len(texts)}, R@10 {first:.2f}, product alone", ours, floor)
    return ranks


def show(what: str, ours: list[float], other: list[float]) -> None:
    mine, theirs = statistics.median(ours), statistics.median(other)
    ratio = f"{theirs / mine:.1f} times less" if theirs > mine else f"{mine / theirs:.2f} of it"
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{what}: {mine:.2f} against {theirs:.2f} CPU s, {ratio}; peak {peak_gb:.2f} GB")


def main() -> None:
    torch.set_num_threads(1)
    print(f"ranks in both directions, width {WIDTH}, one thread, torch {torch.__version__}")
    for noise in NOISES:
        against_the_product(10_000, noise, ROUNDS)
    if is_faster_by_onednn():
        multiply_by_onednn()
        print("both by oneDNN, as runs multiply on this processor:")
        for noise in NOISES:
            against_the_product(10_000, noise, ROUNDS)
    if "--large" in sys.argv:
        against_the_product(50_000, 0.1, 1)
    against_sorting()


if __name__ == "__main__":
    main()
