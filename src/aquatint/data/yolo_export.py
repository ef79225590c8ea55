"""Reads a Roboflow YOLO export: data.yaml, images, and label lines of polygons or boxes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import yaml

from aquatint.data.image_files import FORMAT_OF_SUFFIX, inspect_image
from aquatint.data.rejects import MAX_VALUE_LENGTH, REJECT_DTYPES, ReadMode, RuleViolation

SPLIT_OF_KEY = {"train": "train", "val": "val", "valid": "val", "test": "test"}
RULE_NUMBERS = "must hold a class id and 4 numbers (a box) or at least 6, in pairs (a polygon)"
RULE_FINITE = "must be finite numbers"
RULE_CLASS = "must be a class id of data.yaml"
RULE_RANGE = "must lie in the image, normalised to [0, 1]"
RULE_AREA = "must enclose an area above 0"
RULE_LABELLED = "must have a label file of the same name"
RULE_PICTURED = "must have an image of the same name"
RULE_TEXT = "must be UTF-8 text"
_EXPORT_MARK = ".rf."
# Polygons are rounded to six digits; a corner on the border may lie just outside.
_ROUNDING = 1e-5
_MIN_AREA = 1e-8


class Shape(NamedTuple):
    """One label line: class, outline in [0, 1] as x, y pairs, and whether it was a box."""

    class_id: int
    points: list[tuple[float, float]]
    is_box: bool


@dataclass
class LineRejects:
    """Collects what is wrong with label lines and images, or stops at the first finding.

    Attributes:
        mode: ``strict`` raises on the first finding, ``tolerant`` lists them all.
    """

    mode: ReadMode

    def __post_init__(self) -> None:
        self._rows: list[dict[str, Any]] = []

    def add(self, file: Path, line: int, image_id: str, field: str, fault: RuleViolation) -> None:
        """Note a finding; ``line`` is counted from 1, 0 stands for the file as a whole.

        Raises:
            ValueError: In strict mode, with file and line, rule, value and way out.
        """
        value = repr(fault.value)[:MAX_VALUE_LENGTH]
        if self.mode == "strict":
            raise ValueError(
                f"{file}:{line}: {field} {fault.rule}, got {value}. Correct the line, or read with "
                "mode 'tolerant' to list it as rejected."
            ) from fault
        row = (file.name, line, image_id, field, fault.rule, value)
        self._rows.append(dict(zip(REJECT_DTYPES, row, strict=True)))

    def check_limit(self, num_records: int, max_rejected_fraction: float) -> None:
        """Stop if too many of the label lines and images have a finding.

        Raises:
            ValueError: Above the limit.
        """
        if len(self._rows) > max_rejected_fraction * num_records:
            raise ValueError(
                f"{len(self._rows)} of {num_records} label lines and images have a finding, more "
                f"than max_rejected_fraction {max_rejected_fraction} allows. The first: "
                f"{self._rows[0]}."
            )

    def table(self) -> pd.DataFrame:
        """Return the findings."""
        return pd.DataFrame(self._rows, columns=list(REJECT_DTYPES)).astype(REJECT_DTYPES)


def read_data_file(path: Path) -> tuple[list[str], dict[str, Path]]:
    """Read class names and the image folder of each split.

    Args:
        path: The export's data.yaml.

    Returns:
        Names by class id; image folder by split (train, val, test).

    Raises:
        FileNotFoundError: If data.yaml or the train images are missing.
        ValueError: If names or folders are not what the format asks for.
    """
    if not path.is_file():
        raise FileNotFoundError(f"A YOLO export needs data.yaml; {path} is missing.")
    content = yaml.safe_load(path.read_text())
    names = content.get("names") if isinstance(content, dict) else None
    if isinstance(names, dict):
        names = _names_by_id(path, names)
    if not isinstance(names, list) or not names or len(set(names)) != len(names):
        raise ValueError(f"{path}: names must list each class once, got {names!r}.")
    if content.get("nc", len(names)) != len(names):
        raise ValueError(f"{path}: nc is {content['nc']}, but names lists {len(names)} classes.")
    folders = {}
    for key, split in SPLIT_OF_KEY.items():
        if key in content:
            folders[split] = _image_folder(path, str(content[key]))
    if "train" not in folders:
        raise ValueError(f"{path}: train must name the folder of the train images.")
    return [str(name) for name in names], folders


def _names_by_id(path: Path, names: dict[Any, Any]) -> list[Any]:
    """Names of a mapping in the order of its ids, which must be 0, 1, 2, ..."""
    by_id = {int(key): name for key, name in names.items() if str(key).isdecimal()}
    if sorted(by_id) != list(range(len(names))):
        raise ValueError(
            f"{path}: names must be numbered 0 to {len(names) - 1} without a gap, got "
            f"{list(names)!r}; label lines mean these numbers."
        )
    return [by_id[number] for number in range(len(names))]


def _image_folder(data_file: Path, written: str) -> Path:
    """Roboflow writes paths relative to a folder beside the export: ../train/images."""
    for base in (data_file.parent, data_file.parent / "images"):
        folder = (base / written).resolve()
        if folder.is_dir() and folder.is_relative_to(data_file.parent.resolve()):
            return folder
    inner = (data_file.parent / written.removeprefix("../")).resolve()
    if not inner.is_dir() or not inner.is_relative_to(data_file.parent.resolve()):
        raise FileNotFoundError(
            f"{data_file} names the image folder {written!r}, which is not below "
            f"{data_file.parent}. Correct data.yaml or put the folder there."
        )
    return inner


def parse_line(line: str, num_classes: int) -> Shape:
    """Read one label line.

    Args:
        line: ``class cx cy w h`` or ``class x1 y1 x2 y2 x3 y3 ...``, normalised.
        num_classes: Classes of data.yaml.

    Raises:
        RuleViolation: If the line is neither, or its numbers break a rule.
    """
    words = line.split()
    try:
        numbers = [float(word) for word in words[1:]]
    except ValueError as error:
        raise RuleViolation(RULE_FINITE, line) from error
    if len(numbers) < 4 or (len(numbers) != 4 and len(numbers) % 2):
        raise RuleViolation(RULE_NUMBERS, line)
    if not all(map(math.isfinite, numbers)):
        raise RuleViolation(RULE_FINITE, line)
    class_id = int(words[0]) if words[0].isdigit() else -1
    if not 0 <= class_id < num_classes:
        raise RuleViolation(RULE_CLASS, f"{words[0]} of {num_classes} classes")
    is_box = len(numbers) == 4
    points = _corners(*numbers) if is_box else list(zip(numbers[::2], numbers[1::2], strict=True))
    if not all(-_ROUNDING <= value <= 1 + _ROUNDING for point in points for value in point):
        raise RuleViolation(RULE_RANGE, line)
    if abs(polygon_area(points)) < _MIN_AREA:
        raise RuleViolation(RULE_AREA, line)
    clipped = [(min(max(x, 0.0), 1.0), min(max(y, 0.0), 1.0)) for x, y in points]
    return Shape(class_id, clipped, is_box)


def _corners(cx: float, cy: float, w: float, h: float) -> list[tuple[float, float]]:
    left, top, right, bottom = cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def polygon_area(points: list[tuple[float, float]]) -> float:
    """Return the area of a polygon, positive if it runs clockwise on the screen."""
    pairs = zip(points, [*points[1:], points[0]], strict=True)
    return sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in pairs) / 2


def source_group(stem: str) -> str:
    """Return the source photograph of an exported file: what stands before ``.rf.``."""
    return stem.partition(_EXPORT_MARK)[0]


def read_export(
    data_file: Path, mode: ReadMode, max_rejected_fraction: float, max_pixels: int
) -> tuple[list[str], pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Read all splits.

    Args:
        data_file: The export's data.yaml.
        mode: ``strict`` or ``tolerant``.
        max_rejected_fraction: Largest accepted share of lines and images with a finding.
        max_pixels: Largest accepted image.

    Returns:
        Class names; photos (image_id, path, split, source_group, width, height, sha256, n_objects);
        shapes (image_id, line, class_id, points, is_box); rejects.

    Raises:
        ValueError: In strict mode at the first finding, with file and line; in both modes for a
            class id that data.yaml does not know, because then nothing can be trusted.
    """
    names, folders = read_data_file(data_file)
    rejects = LineRejects(mode)
    photos: list[dict[str, Any]] = []
    shapes: list[dict[str, Any]] = []
    num_records = 0
    for split, folder in folders.items():
        for image in _image_files(folder, rejects):
            num_records += 1
            photo = _read_photo(image, data_file.parent, split, rejects, max_pixels)
            if photo is None:
                continue
            lines = list(_read_lines(image, photo["image_id"], len(names), rejects))
            num_records += len(lines)
            photos.append({**photo, "n_objects": len(lines)})
            shapes += lines
    rejects.check_limit(num_records, max_rejected_fraction)
    columns = ["image_id", "line", "class_id", "points", "is_box"]
    return names, pd.DataFrame(photos), pd.DataFrame(shapes, columns=columns), rejects.table()


def label_file(image: Path) -> Path:
    """Return the label file of an image: ``labels/<stem>.txt`` beside ``images``."""
    return image.parent.parent / "labels" / f"{image.stem}.txt"


def _image_files(folder: Path, rejects: LineRejects) -> list[Path]:
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in FORMAT_OF_SUFFIX)
    stems = {path.stem for path in files}
    labels = folder.parent / "labels"
    for path in sorted(labels.glob("*.txt")) if labels.is_dir() else []:
        if path.stem not in stems:
            fault = RuleViolation(RULE_PICTURED, path.name)
            rejects.add(path, 0, path.stem, "label file", fault)
    return files


def _read_photo(
    image: Path, root: Path, split: str, rejects: LineRejects, max_pixels: int
) -> dict[str, Any] | None:
    root = root.resolve()
    path = image.resolve().relative_to(root).as_posix()
    try:
        facts = inspect_image(root, path, max_pixels)
        if not label_file(image).is_file():
            # Without a file nobody can tell an image without objects from a forgotten one.
            raise RuleViolation(RULE_LABELLED, str(label_file(image)))
    except RuleViolation as fault:
        rejects.add(image, 0, image.stem, "image", fault)
        return None
    return {
        "image_id": image.stem,
        "path": path,
        "split": split,
        "source_group": source_group(image.stem),
        "width": facts.width,
        "height": facts.height,
        "sha256": facts.sha256,
    }


def _read_lines(
    image: Path, image_id: str, num_classes: int, rejects: LineRejects
) -> Iterator[dict[str, Any]]:
    path = label_file(image)
    try:
        lines = path.read_bytes().decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        rejects.add(path, 0, image_id, "label file", RuleViolation(RULE_TEXT, str(error)))
        return
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            shape = parse_line(line, num_classes)
        except RuleViolation as fault:
            if fault.rule == RULE_CLASS:
                raise ValueError(
                    f"{path}:{number}: class {fault.rule}, got {fault.value}. Labels and data.yaml "
                    "belong to different exports."
                ) from fault
            rejects.add(path, number, image_id, "line", fault)
            continue
        yield {"image_id": image_id, "line": number, **shape._asdict()}
