"""Stage 1 from cached features against the frozen backbone in every step, and the cache's rates.

Run with ``make bench``. The pocket backbone, and one whose tower is twelve times as deep: an epoch
from the cache must cost the same for both. Both ways take the same steps; the losses of the first
step are compared. Then the cache is written and read in random order, against a plain file.
"""

import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from aquatint.features.cache import FeatureStore, build_cache
from aquatint.features.frozen import Encoding, cache_image_tokens
from aquatint.models.backbone import Backbone, encode_image_tokens
from aquatint.models.dual_encoder import DualEncoder
from aquatint.models.pixels import PixelNormalizer
from aquatint.models.pocket import internvl_config, random_internvl, train_tokenizer

NUM_IMAGES, BATCH, ROUNDS, EPOCHS = 256, 64, 3, 3
# Token features of 64 x 1,024 in 32 bits: a quarter of a megabyte a row, as large models have.
NUM_ROWS, ROW_SHAPE, READ_AT_ONCE = 2048, (64, 1024), 64
# Even, so that either is read first as often.
RATE_ROUNDS = 4


class Epoch(NamedTuple):
    """CPU seconds of an epoch, and its first loss."""

    seconds: float
    first_loss: float


def build_backbone(folder: Path, num_blocks: int) -> Backbone:
    """Write a random backbone of pocket width."""
    tokenizer = train_tokenizer(["a red house in the centre"], 400)
    config = internvl_config(
        width=96, num_blocks=2, image_size_px=96, patch_size_px=12, tokenizer=tokenizer
    )
    config.vision_config.num_hidden_layers = num_blocks
    random_internvl(config, 0).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return Backbone(str(folder), f"bench-{num_blocks}", "pocket")


def measure_training(backbone: Backbone, store: FeatureStore, name: str) -> float:
    """Print an epoch's cost both ways; return that from the cache."""
    images = np.random.default_rng(0).integers(0, 255, (NUM_IMAGES, 96, 96, 3), dtype=np.uint8)
    keys = [str(i) for i in range(NUM_IMAGES)]
    pixels = build_cache(store, {"bench": 1}, keys, lambda rows: images[list(rows)])
    start = time.process_time()
    cache = cache_image_tokens(store, backbone, pixels, keys, 8, Encoding(64, "float32", "cpu"))
    building = time.process_time() - start
    reader, model = cache.open(), backbone.load()
    places = reader.places(keys)
    normalize = PixelNormalizer(*backbone.image_statistics)
    heads = DualEncoder(vision_width=96, text_width=96, is_enhanced=False).eval()

    def epoch(read: Callable[[slice], torch.Tensor]) -> Epoch:
        start, first = time.process_time(), 0.0
        for begin in range(0, NUM_IMAGES, BATCH):
            loss = heads.encode_image(read(slice(begin, begin + BATCH))).embeds.pow(3).sum()
            loss.backward()
            first = first or float(loss.detach())
        return Epoch(time.process_time() - start, first)

    def cached(rows: slice) -> torch.Tensor:
        return torch.from_numpy(reader.read(places[rows]))

    @torch.no_grad()
    def live(rows: slice) -> torch.Tensor:
        return encode_image_tokens(model, normalize(torch.from_numpy(images[rows])))

    results = [(epoch(cached), epoch(live)) for _ in range(ROUNDS)]
    difference = abs(results[0][0].first_loss - results[0][1].first_loss)
    if difference > 1e-3 * abs(results[0][1].first_loss):
        raise SystemExit(f"The first losses differ by {difference:.1e}.")
    ours, theirs = (statistics.median(one[way].seconds for one in results) for way in (0, 1))
    size = 1e-6 * sum(p.numel() for p in model.model.vision_tower.parameters())
    print(
        f"{name}, tower of {size:.1f} M: an epoch of {NUM_IMAGES} images {1e3 * ours:.0f} ms from "
        f"the cache, {1e3 * theirs:.0f} ms live: {theirs / ours:.1f} times; {EPOCHS} epochs with "
        f"the cache's building {EPOCHS * theirs / (building + EPOCHS * ours):.1f} times"
    )
    return ours


def measure_rates(folder: Path) -> None:
    """Print how fast the cache is written and read, beside a plain file."""
    rows = np.random.default_rng(0).standard_normal((NUM_ROWS, *ROW_SHAPE)).astype(np.float32)
    keys, size = [str(i) for i in range(NUM_ROWS)], 1e-6 * rows.nbytes
    order = np.random.default_rng(1).permutation(NUM_ROWS)
    seconds: dict[str, list[float]] = {"write": [], "plain": [], "read": [], "mapped": []}
    for number in range(RATE_ROUNDS):
        store = FeatureStore(str(folder / f"rates-{number}"), 2)
        start = time.perf_counter()
        cache = build_cache(store, {"rates": 1}, keys, lambda chosen: rows[list(chosen)])
        seconds["write"].append(time.perf_counter() - start)
        plain = folder / "plain.npy"
        start = time.perf_counter()
        with plain.open("wb") as file:
            np.save(file, rows)
            file.flush()
            os.fsync(file.fileno())
        seconds["plain"].append(time.perf_counter() - start)
        reader, mapped = cache.open(), np.load(plain, mmap_mode="r")
        places = reader.places(keys)
        chosen = [order[i : i + READ_AT_ONCE] for i in range(0, NUM_ROWS, READ_AT_ONCE)]
        reads = {
            "read": lambda part, reader=reader, places=places: reader.read(places[part]),
            "mapped": lambda part, mapped=mapped: mapped[part],
        }
        totals = set()
        for name in sorted(reads, reverse=bool(number % 2)):
            start = time.perf_counter()
            totals.add(sum(float(reads[name](part).sum()) for part in chosen))
            seconds[name].append(time.perf_counter() - start)
        if len(totals) > 1:
            raise SystemExit("The cache gives other values than the file.")
        plain.unlink()
        shutil.rmtree(store.root)
    rate = {name: size / statistics.median(part) for name, part in seconds.items()}
    print(
        f"{size:.0f} MB in rows of {size / NUM_ROWS:.2f} MB: written at {rate['write']:.0f} MB/s, "
        f"checksums and sync included (a plain file and sync {rate['plain']:.0f}); read in random "
        f"order at {rate['read']:.0f} MB/s (a mapped plain file {rate['mapped']:.0f})"
    )


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root)
        store = FeatureStore(str(folder / "store"), 1)
        pocket = measure_training(build_backbone(folder / "2", 2), store, "2 blocks")
        deep = measure_training(build_backbone(folder / "24", 24), store, "24 blocks")
        print(f"an epoch from the cache of the deeper one costs {deep / pocket:.2f} of the other")
        measure_rates(folder)


if __name__ == "__main__":
    main()
