"""Reads a Roboflow YOLO export: data.yaml, images, and label lines of polygons or boxes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from aquatint.data.image_files import FORMAT_OF_SUFFIX, inspect_image
from aquatint.data.rejects import MAX_VALUE_LENGTH, REJECT_DTYPES, ReadMode, RuleViolation
from aquatint.data.yolo_lines import RULE_CLASS, parse_line

SPLIT_OF_KEY = {"train": "train", "val": "val", "valid": "val", "test": "test"}
RULE_LABELLED = "must have a label file of the same name"
RULE_PICTURED = "must have an image of the same name"
RULE_TEXT = "must be UTF-8 text"
RULE_KEPT = "must keep a label line: without one it would count as an image without objects"
_EXPORT_MARK = ".rf."


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

    def __len__(self) -> int:
        """Number of findings."""
        return len(self._rows)

    def table(self) -> pd.DataFrame:
        """Return the findings."""
        return pd.DataFrame(self._rows, columns=list(REJECT_DTYPES)).astype(REJECT_DTYPES)


def read_data_file(path: Path) -> tuple[list[str], dict[str, list[Path]]]:
    """Read class names and the image folders of each split.

    Args:
        path: The export's data.yaml.

    Returns:
        Names by class id; image folders by split (train, val, test).

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
    return [str(name) for name in names], _split_folders(path, content)


def _split_folders(path: Path, content: dict[str, Any]) -> dict[str, list[Path]]:
    """One folder or a list of them for each split; Ultralytics' ``path`` is their base."""
    if content.get("val") and content.get("valid") and content["val"] != content["valid"]:
        raise ValueError(
            f"{path}: val {content['val']!r} and valid {content['valid']!r} name one split twice. "
            "Keep one of the keys."
        )
    folders = {}
    for key, split in SPLIT_OF_KEY.items():
        written = content.get(key)
        if not written:  # an export without this split has no key, or an empty one
            continue
        listed = written if isinstance(written, list) else [written]
        if not all(isinstance(name, str) for name in listed):
            raise ValueError(f"{path}: {key} must name a folder or list folders, got {written!r}.")
        folders[split] = [_image_folder(path, content.get("path"), name) for name in listed]
    if "train" not in folders:
        raise ValueError(f"{path}: train must name the folder of the train images.")
    return folders


def _names_by_id(path: Path, names: dict[Any, Any]) -> list[Any]:
    """Names of a mapping in the order of its ids, which must be 0, 1, 2, ..."""
    by_id = {int(key): name for key, name in names.items() if str(key).isdecimal()}
    if sorted(by_id) != list(range(len(names))):
        raise ValueError(
            f"{path}: names must be numbered 0 to {len(names) - 1} without a gap, got "
            f"{list(names)!r}; label lines mean these numbers."
        )
    return [by_id[number] for number in range(len(names))]


def _image_folder(data_file: Path, base: object, written: str) -> Path:
    """Find a folder below the export, as Roboflow or Ultralytics write it.

    Roboflow writes paths relative to a folder beside the export (``../train/images``), Ultralytics
    relative to ``path``.
    """
    root = data_file.parent.resolve()
    bases = [root / str(base)] if base else []
    inner = root / written.removeprefix("../")
    for folder in (*(b / written for b in bases), root / written, root / "images" / written, inner):
        found = folder.resolve()
        if found.is_dir() and found.is_relative_to(root):
            if "images" not in found.relative_to(root).parts:
                raise ValueError(
                    f"{data_file}: image folders need a part named images, in whose place labels "
                    f"stand for the label files; {written!r} has none. Move images and labels."
                )
            return found
    raise FileNotFoundError(
        f"{data_file} names the image folder {written!r}, which is not below {data_file.parent}. "
        "Correct data.yaml or put the folder there."
    )


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
    images = [(split, image) for split, listed in folders.items()
              for folder in listed for image in _image_files(folder, rejects)]  # fmt: skip
    _check_names([image for _, image in images])
    for split, image in images:
        num_records += 1
        photo = _read_photo(image, data_file.parent, split, rejects, max_pixels)
        if photo is None:
            continue
        num_rejected = len(rejects)
        lines = list(_read_lines(image, photo["image_id"], len(names), rejects))
        num_records += len(lines)
        if not lines and len(rejects) > num_rejected:
            fault = RuleViolation(RULE_KEPT, f"{len(rejects) - num_rejected} rejected")
            rejects.add(image, 0, photo["image_id"], "image", fault)
            continue
        photos.append({**photo, "n_objects": len(lines)})
        shapes += lines
    rejects.check_limit(num_records, max_rejected_fraction)
    columns = ["image_id", "line", "class_id", "points", "is_box"]
    return names, pd.DataFrame(photos), pd.DataFrame(shapes, columns=columns), rejects.table()


def _check_names(images: list[Path]) -> None:
    """A file's name is the id of its image, and that of its label file: no two may share one."""
    first: dict[str, Path] = {}
    for image in images:
        if image.stem in first:
            raise ValueError(
                f"Two images are named {image.stem}: {first[image.stem]} and {image}. Labels and "
                "results are looked up by this name; rename one, with its label file."
            )
        first[image.stem] = image


def label_file(image: Path) -> Path:
    """Return the label file of an image: ``labels`` in place of the last ``images`` of its path."""
    parts = list(image.parent.parts)
    last = len(parts) - 1 - parts[::-1].index("images")
    return Path(*parts[:last], "labels", *parts[last + 1 :], f"{image.stem}.txt")


def _image_files(folder: Path, rejects: LineRejects) -> list[Path]:
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in FORMAT_OF_SUFFIX)
    stems = {path.stem for path in files}
    labels = label_file(folder / "any").parent
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
        lines = path.read_bytes().decode("utf-8-sig").splitlines()
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
