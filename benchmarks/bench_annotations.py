"""200,000 GeoText records to checked tables and Parquet, against json and pandas without checks.

Run with ``make bench``. Parsing, every check of a record, the reject table and the tables' own
checks are measured; the files of images are not looked at. Each way runs in a process of its own.
"""

import json
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from aquatint.data import geotext
from aquatint.data.image_files import ImageFacts
from aquatint.data.tables import check_captions, check_images, check_regions, check_rejects
from aquatint.io.tables import TableDataset

NUM_RECORDS, REGIONS, CAPTIONS_PER_IMAGE, ROUNDS = 200_000, 3, 3, 3
WORDS = ("house", "road", "left", "of", "the", "red", "tall", "grey", "tree", "behind", "a")


def write_annotations(file: Path) -> None:
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, length)) for length in rng.integers(12, 40, 5000)]
    with file.open("w") as out:
        out.write("[")
        for number in range(NUM_RECORDS):
            image = number // CAPTIONS_PER_IMAGE
            name = f"{image // 54:04d}/image-{image % 54:02d}.jpeg"
            chosen = rng.integers(0, 5000, 1 + REGIONS)
            boxes = rng.uniform(0.3, 0.6, (REGIONS, 4)).round(4).tolist()
            record = {
                "image_id": name,
                "image": f"train/{name}",
                "caption": f"{texts[chosen[0]]} {number}",
                "sentences": [f"{texts[i]} {number}" for i in chosen[1:]],
                # One record in a thousand has a box that leaves the image.
                "bboxes": boxes if number % 1000 else [[2.0, 0.5, 0.1, 0.1], *boxes[1:]],
            }
            out.write(("," if number else "") + json.dumps(record))
        out.write("]")


def checked(folder: Path) -> tuple[int, int]:
    """Rows of regions and of rejects."""
    facts = ImageFacts(512, 512, "0" * 64)
    geotext._inspect_images = lambda entries, *_: dict.fromkeys(entries, facts)
    tables = geotext.read_geotext(folder / "train.json", folder, "train", "tolerant")
    checks = (check_images, check_captions, check_regions, check_rejects)
    for name, table, check in zip(tables._fields, tables, checks, strict=True):
        check(table)
        TableDataset(filepath=str(folder / f"{name}.parquet")).save(table)
    return len(tables.regions), len(tables.rejects)


def unchecked(folder: Path) -> tuple[int, int]:
    """Rows of regions; nothing is refused."""
    records = pd.DataFrame(json.loads((folder / "train.json").read_text()))
    records["caption"].to_frame().to_parquet(folder / "plain_captions.parquet")
    regions = records[["image_id", "sentences", "bboxes"]].explode(["sentences", "bboxes"])
    sides = pd.DataFrame(regions["bboxes"].tolist(), columns=["cx", "cy", "w", "h"])
    regions = pd.concat([regions.drop(columns="bboxes").reset_index(drop=True), sides], axis=1)
    regions.to_parquet(folder / "plain_regions.parquet")
    return len(regions), 0


def measured(way, folder: Path, results) -> None:
    start = time.process_time()
    counts = way(folder)
    spent = time.process_time() - start
    results.put((spent, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, counts))


def main() -> None:
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_annotations(folder / "train.json")
        size_mb = (folder / "train.json").stat().st_size / 1e6
        print(f"{NUM_RECORDS} records, {size_mb:.0f} MB, pandas {pd.__version__}")
        found: dict[str, list] = {"checked": [], "unchecked": []}
        for _ in range(ROUNDS):
            for way in (checked, unchecked):
                results = context.SimpleQueue()
                process = context.Process(target=measured, args=(way, folder, results))
                process.start()
                found[way.__name__].append(results.get())
                process.join()
        if {result[2][0] for results in found.values() for result in results} != {
            NUM_RECORDS * REGIONS
        }:
            raise SystemExit("The two ways do not find the same regions.")
    for name, results in found.items():
        seconds, peak_gb = (statistics.median(r[i] for r in results) for i in (0, 1))
        rows, rejects = results[0][2]
        print(f"{name:<10} {seconds:5.1f} CPU s, {peak_gb:.2f} GB, {rows} rows, {rejects} rejects")
    ours, theirs = (statistics.median(r[0] for r in found[n]) for n in found)
    print(f"ratio {theirs / ours:.2f}")


if __name__ == "__main__":
    sys.exit(main())
