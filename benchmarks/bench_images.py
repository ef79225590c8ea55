"""Decode, resize and normalise photographs: stored once as uint8, against PIL and numpy.

Run with ``make bench``. The first epoch decodes, resizes to 448 px and stores; later ones read the
memory-mapped store in random order and normalise. The pixels of both ways are compared.
"""

import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import PIL
import torch
from PIL import Image

from aquatint.features.cache import FeatureStore
from aquatint.features.images import cache_pixels, load_image
from aquatint.models.backbone import IMAGENET_MEAN, IMAGENET_STD
from aquatint.models.pixels import PixelNormalizer
from aquatint.training.precision import keep_freed_blocks

NUM_IMAGES, TARGET_PX, ROUNDS, BATCH = 48, 448, 5, 16
TOUCHED_BYTES = 1 << 31


def write_images(folder: Path, edge_px: int) -> list[Path]:
    rng = np.random.default_rng(0)
    paths = []
    for number in range(NUM_IMAGES):
        # Smooth at the scale of a few pixels, as photographs are.
        small = Image.fromarray(rng.integers(0, 255, (edge_px // 8, edge_px // 8, 3), np.uint8))
        path = folder / f"{edge_px}-{number}.jpeg"
        small.resize((edge_px, edge_px), Image.Resampling.BICUBIC).save(path, quality=90)
        paths.append(path)
    return paths


def by_pil(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        small = image.convert("RGB").resize((TARGET_PX, TARGET_PX), Image.Resampling.BICUBIC)
    pixels = np.asarray(small, dtype=np.float32) / 255
    return ((pixels - IMAGENET_MEAN) / IMAGENET_STD).transpose(2, 0, 1).astype(np.float32)


def cpu_seconds(action) -> float:
    start = time.process_time()
    action()
    return time.process_time() - start


def touch_free_memory(folder: Path) -> None:
    """Use the memory that the rounds will get once, and give it back.

    A page that a virtual machine has never touched costs it several microseconds, up to a
    millisecond an image, which says something about the machine and nothing about either way.
    """
    block = bytes(1 << 24)
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(TOUCHED_BYTES // len(block)):
            file.write(block)


def measure(edge_px: int, folder: Path) -> None:
    paths = write_images(folder, edge_px)
    keys = [path.name for path in paths]
    normalize = PixelNormalizer(IMAGENET_MEAN, IMAGENET_STD)
    first, later, theirs = [], [], []
    for number in range(ROUNDS):
        store = FeatureStore(str(folder / f"store-{edge_px}-{number}"), 1)
        places: list[np.ndarray] = []

        def epoch(store: FeatureStore = store, places: list[np.ndarray] = places) -> None:
            reader = cache_pixels(store, paths, keys, TARGET_PX).open()
            order = reader.places(np.random.default_rng(0).permutation(keys).tolist())
            for start in range(0, NUM_IMAGES, BATCH):
                normalize(torch.from_numpy(reader.read(order[start : start + BATCH])))

        first.append(cpu_seconds(epoch))
        later.append(cpu_seconds(epoch))
        theirs.append(cpu_seconds(lambda: [by_pil(path) for path in paths]))
        # Its pages are those that the next round gets.
        shutil.rmtree(store.root)
    with Image.open(paths[0]) as image:
        expected = image.convert("RGB").resize((TARGET_PX, TARGET_PX), Image.Resampling.BICUBIC)
    levels = np.abs(load_image(paths[0], TARGET_PX).astype(int) - np.asarray(expected)).max()
    if levels > 2:
        raise SystemExit(f"The pixels differ from PIL's bicubic by {levels} levels.")
    each = [1e3 * statistics.median(part) / NUM_IMAGES for part in (first, later, theirs)]
    print(
        f"{edge_px} px: first epoch {each[0]:.2f} ms an image, later {each[1]:.2f}, PIL and numpy "
        f"{each[2]:.2f}: {each[2] / each[0]:.1f} and {each[2] / each[1]:.1f} times less, "
        f"pixels within {levels} levels"
    )


def main() -> None:
    torch.set_num_threads(1)
    # As every training on a CPU does.
    keep_freed_blocks()
    print(f"to {TARGET_PX} px, CPU time, Pillow {PIL.__version__}, torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        touch_free_memory(Path(folder))
        for edge_px in (512, 1024):
            measure(edge_px, Path(folder))


if __name__ == "__main__":
    main()
