"""A small data set in GeoText's own layout: 3 buildings x 2 images, as a test needs it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

NUM_BUILDINGS = 3
NUM_VIEWS = 2
BOXES = [[0.5, 0.5, 0.2, 0.4], None, [0.8, 0.8, 0.3, 0.2]]
SENTENCES = ["A tower in the center", None, "A car park at the lower right"]


def write_image(path: Path, seed: int = 0, size: tuple[int, int] = (24, 16), **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return path


def record(image_id: str, caption: str | list[str], folder: str = "train") -> dict[str, Any]:
    return {
        "image_id": image_id,
        "image": f"{folder}/{image_id}",
        "caption": caption,
        "sentences": list(SENTENCES),
        "bboxes": [None if box is None else list(box) for box in BOXES],
    }


def records_of_train_layout() -> list[dict[str, Any]]:
    """Training layout: two records, one caption each, for every image."""
    return [
        record(f"{building:04d}/image-{view:02d}.jpeg", f"Caption {n} of {building}/{view}.")
        for building in range(1, NUM_BUILDINGS + 1)
        for view in range(1, NUM_VIEWS + 1)
        for n in range(2)
    ]


def records_of_test_layout() -> list[dict[str, Any]]:
    """Test layout: one record with a list of captions for every image."""
    return [
        record(f"{building:04d}/image-{view:02d}.jpeg", ["First.", "Second.", "Third."])
        for building in range(1, NUM_BUILDINGS + 1)
        for view in range(1, NUM_VIEWS + 1)
    ]


def write_data_set(folder: Path, records: list[dict[str, Any]]) -> tuple[Path, Path]:
    """Write annotations, and an image for every path that stays in the image folder."""
    root = folder / "images"
    for seed, path in enumerate(sorted({entry["image"] for entry in records})):
        write_image(root / path, seed)
    return write_annotations(folder, records), root


def write_annotations(folder: Path, content: object) -> Path:
    file = folder / "train.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    return file
