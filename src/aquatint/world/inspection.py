"""Writes inspected slopes as a Roboflow YOLO export, with photographs to predict on beside it."""

import hashlib
import json
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from aquatint.world.arrays import Bytes, FloatArray, Rng
from aquatint.world.inspection_paint import paint_inspection
from aquatint.world.inspection_scenes import CLASSES, LOOKS, Structure, make_inspection_scene
from aquatint.world.whole_folders import is_written, write_whole

logger = logging.getLogger(__name__)

FORMAT_VERSION = 1
WORLD_FILE, DATA_FILE, DETECTIONS_FILE = "world.json", "data.yaml", "detections.json"
SPLITS = ("train", "valid", "test")
# Shares of the published export; split by exported file there, so photographs leak.
_SPLIT_SHARES = (0.752, 0.162, 0.086)
_BOX_LINE_SHARE = 0.15
_CRLF_EVERY, _EMPTY_EVERY = 7, 145
_JPEG_QUALITY = 92
_MAX_PHOTOS = 99_999
# A detector's misses, inventions and classes taken for another.
_MISSED, _INVENTED, _CONFUSED = 0.12, 0.1, 0.03


@dataclass(frozen=True)
class InspectionWorldSpec:
    """What to write.

    Args:
        num_photos: Source photographs.
        max_exports: Most exports of one photograph; later ones are flipped or lighter.
        num_new_photos: Photographs with a detector's boxes, to predict on; in no split.
        size_px: Edge of the pictures.
        seed: Seed of everything.
        has_flaws: Whether to add faulty label lines, listed in ``world.json``.
    """

    num_photos: int
    max_exports: int
    num_new_photos: int
    size_px: int
    seed: int
    has_flaws: bool = True

    def __post_init__(self) -> None:
        for name in ("num_photos", "max_exports", "num_new_photos", "size_px"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}.")
        if self.num_photos + self.num_new_photos > _MAX_PHOTOS:
            raise ValueError(f"num_photos and num_new_photos must not exceed {_MAX_PHOTOS}.")


def write_inspection(folder: Path, spec: InspectionWorldSpec) -> None:
    """Paint all photographs and write the export; it appears under its name when complete.

    Args:
        folder: Folder to create. One that an earlier call wrote is replaced.
        spec: What to write.

    Raises:
        ValueError: The folder holds something that this function did not write.
    """
    write_whole(folder, WORLD_FILE, lambda place: _write_export(place, spec))


def is_complete(folder: Path, spec: InspectionWorldSpec) -> bool:
    """Whether a folder was written to its end, in this format and by this spec."""
    return is_written(folder, WORLD_FILE, FORMAT_VERSION, spec)


class DescribedView(NamedTuple):
    """A view of one structure and what can be said of it in everyday words.

    Attributes:
        pixels: RGB as uint8, shape (S, S, 3).
        caption: One sentence.
        look: The same in two words.
        looks: All such words, to choose from.
    """

    pixels: Bytes
    caption: str
    look: str
    looks: tuple[str, ...]


def describe_structures(num_photos: int, size_px: int, seed: int) -> Iterator[DescribedView]:
    """Yield views of single structures with descriptions that use no word of a class.

    Args:
        num_photos: Photographs to paint, none of them in an export of another seed.
        size_px: Edge of each view.
        seed: Seed of the photographs.
    """
    for number in tqdm(range(num_photos), desc="painting views", disable=None, leave=False):
        scene = make_inspection_scene(_scene_seed(seed, number))
        image = Image.fromarray(paint_inspection(scene, 3 * size_px))
        for item in scene.structures:
            x1, y1, x2, y2 = item.box_xyxy
            half = min(0.6 * max(x2 - x1, y2 - y1), 0.5)
            center = np.array(((x1 + x2) / 2, (y1 + y2) / 2)).clip(half, 1 - half)
            box = np.concatenate([center - half, center + half]) * image.width
            view = image.resize((size_px, size_px), Image.Resampling.BICUBIC, tuple(box.tolist()))
            caption = f"A picture of {item.describe()}."
            yield DescribedView(np.asarray(view), caption, item.look, LOOKS)


def _scene_seed(seed: int, number: int) -> int:
    return seed * (_MAX_PHOTOS + 1) + number


def _write_export(folder: Path, spec: InspectionWorldSpec) -> None:
    flaws: list[dict[str, Any]] = []
    for split in SPLITS:
        for name in ("images", "labels"):
            (folder / split / name).mkdir(parents=True)
    for name in ("images", "labels"):
        (folder / "new" / name).mkdir(parents=True)
    detections: list[dict[str, Any]] = []
    total = spec.num_photos + spec.num_new_photos
    for number in tqdm(range(total), desc="painting photographs", disable=None, leave=False):
        if number < spec.num_photos:
            _write_photo(folder, spec, number, flaws)
        else:
            detections += _write_new_photo(folder / "new", spec, number)
    (folder / "new" / DETECTIONS_FILE).write_text(json.dumps(detections, indent=1))
    names = ", ".join(f"'{item.name}'" for item in CLASSES)
    # As Roboflow writes it: paths relative to a folder beside, and `val` for the folder `valid`.
    (folder / DATA_FILE).write_text(
        "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n\n"
        f"nc: {len(CLASSES)}\nnames: [{names}]\n"
    )
    world = {"format_version": FORMAT_VERSION, "spec": asdict(spec), "flaws": flaws}
    (folder / WORLD_FILE).write_text(json.dumps(world, indent=1) + "\n")


def _write_photo(
    folder: Path, spec: InspectionWorldSpec, number: int, flaws: list[dict[str, Any]]
) -> None:
    """Write one to ``max_exports`` exports of a photograph, each into a split of its own."""
    seed = _scene_seed(spec.seed, number)
    rng = np.random.default_rng([seed, 53])
    scene = make_inspection_scene(seed, is_empty=number % _EMPTY_EVERY == 3)
    pixels = paint_inspection(scene, spec.size_px)
    photo_split = int(rng.choice(3, p=_SPLIT_SHARES))
    for export in range(1 + int(rng.integers(spec.max_exports))):
        # One in six further exports lands in another split: the leak of the published data.
        is_stray = export > 0 and rng.random() < 1 / 6
        split = int(rng.choice(3, p=_SPLIT_SHARES)) if is_stray else photo_split
        is_flipped = export % 2 == 1
        shown = pixels[:, ::-1] if is_flipped else pixels
        shown = (shown.astype(np.int16) + (0 if export == 0 else int(rng.integers(-18, 19)))).clip(
            0, 255
        )
        lines = [_label_line(item, is_flipped, rng) for item in scene.structures]
        if spec.has_flaws and export == 0:
            lines += _faulty_lines(number, f"{SPLITS[split]}/labels", flaws)
        digest = hashlib.md5(f"{seed}-{export}".encode(), usedforsecurity=False).hexdigest()
        stem = f"DJI_{number:04d}_jpg.rf.{digest}"
        Image.fromarray(shown.astype(np.uint8)).save(
            folder / SPLITS[split] / "images" / f"{stem}.jpg", quality=_JPEG_QUALITY
        )
        ending = "\r\n" if number % _CRLF_EVERY == 0 else "\n"
        text = "".join(line + ending for line in lines)
        (folder / SPLITS[split] / "labels" / f"{stem}.txt").write_bytes(text.encode())


def _label_line(item: Structure, is_flipped: bool, rng: Rng) -> str:
    """A polygon, or now and then a box, as label files of one export mix them."""
    outline = item.outline
    if is_flipped:
        outline = outline * (-1, 1) + (1, 0)
    if rng.random() < _BOX_LINE_SHARE:
        low, high = outline.min(0), outline.max(0)
        outline = np.stack([(low + high) / 2, high - low])
    return f"{item.class_id} " + " ".join(f"{value:.6f}" for value in outline.ravel())


def _faulty_lines(number: int, place: str, flaws: list[dict[str, Any]]) -> list[str]:
    """The faults of real exports: half a point, a point outside, an outline without area."""
    faulty = {
        5: ("odd polygon", "4 0.1 0.2 0.3 0.2 0.3"),
        9: ("outside", "5 0.2 0.2 1.3 0.2 0.4 0.5"),
        12: ("no area", "8 0.5 0.5 0.5 0.5 0.5 0.5"),
    }
    if number not in faulty:
        return []
    kind, line = faulty[number]
    flaws.append({"photo": number, "place": place, "kind": kind, "line": line})
    return [line]


def _write_new_photo(folder: Path, spec: InspectionWorldSpec, number: int) -> list[dict[str, Any]]:
    """Write a photograph of no split, its labels, and what a detector would report."""
    seed = _scene_seed(spec.seed, number)
    rng = np.random.default_rng([seed, 54])
    scene = make_inspection_scene(seed)
    name = f"DJI_{number:04d}.jpg"
    Image.fromarray(paint_inspection(scene, spec.size_px)).save(
        folder / "images" / name, quality=_JPEG_QUALITY
    )
    lines = [_label_line(item, False, rng) for item in scene.structures]
    (folder / "labels" / f"DJI_{number:04d}.txt").write_text("".join(f"{x}\n" for x in lines))
    seen = [item for item in scene.structures if rng.random() > _MISSED]
    if rng.random() < _INVENTED and seen:
        seen.append(replace(seen[0], x=1 - seen[0].x, y=1 - seen[0].y))
    return [_detection(name, item, spec.size_px, rng) for item in seen]


def _detection(name: str, item: Structure, size_px: int, rng: Rng) -> dict[str, Any]:
    box: FloatArray = np.array(item.box_xyxy) * size_px + rng.normal(0, 0.01 * size_px, 4)
    types = sorted({other.object_type for other in CLASSES})
    is_confused = rng.random() < _CONFUSED
    return {
        "image": name,
        "object_type": str(rng.choice(types)) if is_confused else item.label.object_type,
        "confidence": round(float(rng.beta(6, 2)), 4),
        "box_xyxy_px": [round(float(value), 1) for value in box.clip(0, size_px)],
    }
