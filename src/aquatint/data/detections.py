"""Detections of a first stage: read, checked, and brought into the shape of instances."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from aquatint.data.image_files import FORMAT_OF_SUFFIX, inspect_image
from aquatint.data.inspection_prompts import name_height
from aquatint.data.inspection_tables import neighbours_of, records
from aquatint.data.rejects import RuleViolation
from aquatint.data.yolo_lines import parse_line

_COLUMNS = ("image", "object_type", "confidence", "box_xyxy_px")


def read_photos(image_root: Path, max_pixels: int) -> pd.DataFrame:
    """Return every photograph of a folder: image_id, path, width, height, sha256, source_group.

    Raises:
        ValueError: If a file is no readable image, or there is none.
    """
    rows = []
    for path in sorted(image_root.iterdir()):
        if path.suffix.lower() not in FORMAT_OF_SUFFIX:
            continue
        try:
            facts = inspect_image(image_root.resolve(), path.name, max_pixels)
        except RuleViolation as fault:
            raise ValueError(f"{path}: image {fault.rule}, got {fault.value!r}.") from fault
        rows.append(
            {"image_id": path.name, "path": path.name, "source_group": path.stem, **facts._asdict()}
        )
    if not rows:
        raise ValueError(f"{image_root} holds no {', '.join(FORMAT_OF_SUFFIX)} file.")
    return pd.DataFrame(rows)


def read_detections(
    file: Path, photos: pd.DataFrame, types: Collection[str], min_confidence: float
) -> pd.DataFrame:
    """Return the detections above a confidence, one row each, with neighbours by type.

    Args:
        file: JSON list or Parquet table with image (file name), object_type, confidence in [0, 1]
            and box_xyxy_px in pixels.
        photos: Table of ``read_photos``.
        types: Known types of objects.
        min_confidence: Least confidence that is kept.

    Raises:
        ValueError: If a record breaks a rule, with its number counted from 0.
    """
    by_id = photos.set_index("image_id")
    rows: list[dict[str, Any]] = []
    for number, record in enumerate(_raw_records(file)):
        try:
            rows.append(_checked(record, number, by_id, types))
        except RuleViolation as fault:
            raise ValueError(f"{file}, record {number}: {fault}.") from fault
    kept = [row for row in rows if row["confidence"] >= min_confidence]
    for row in kept:
        others = [o for o in kept if o["image_id"] == row["image_id"] and o is not row]
        row["n_objects"] = len(others) + 1
        row["neighbours"] = neighbours_of(row, others)
    return pd.DataFrame(kept, columns=[*_DETECTION_COLUMNS, "n_objects", "neighbours"])


def _raw_records(file: Path) -> list[dict[str, Any]]:
    """The records as written; a detector that found nothing leaves an empty list."""
    if file.suffix.lower() != ".json":
        table = pd.read_parquet(file)
        missing = [name for name in _COLUMNS if name not in table.columns]
        if missing:
            raise ValueError(f"{file} needs the columns {', '.join(_COLUMNS)}; it lacks {missing}.")
        return records(table)
    try:
        content = json.loads(file.read_text())
    except ValueError as error:
        raise ValueError(f"{file} must be JSON: {error}.") from error
    if not isinstance(content, list) or not all(isinstance(item, dict) for item in content):
        raise ValueError(f"{file} must be a JSON list of objects, got {str(content)[:80]}.")
    return content


def no_photos() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the tables of no photographs and no detections."""
    photos = ["image_id", "path", "source_group", "width", "height", "sha256"]
    detections = [*_DETECTION_COLUMNS, "n_objects", "neighbours"]
    return pd.DataFrame(columns=photos), pd.DataFrame(columns=detections)


_DETECTION_COLUMNS = ("instance_id", "image_id", "image_path", "source_group", "object_type",
                      "confidence", "x1", "y1", "x2", "y2", "cx", "cy", "position")  # fmt: skip


def _checked(
    record: Mapping[str, Any], number: int, photos: pd.DataFrame, types: Collection[str]
) -> dict[str, Any]:
    missing = [name for name in _COLUMNS if name not in record]
    if missing:
        raise RuleViolation(f"needs {', '.join(_COLUMNS)} and lacks", missing)
    # Strings: a list in place of a name could not even be looked up.
    if not isinstance(record["image"], str) or record["image"] not in photos.index:
        raise RuleViolation("image must be a file of the folder", record["image"])
    if not isinstance(record["object_type"], str) or record["object_type"] not in types:
        raise RuleViolation(f"object_type must be one of {sorted(types)}", record["object_type"])
    confidence = _number(record["confidence"])
    if not 0 <= confidence <= 1:
        raise RuleViolation("confidence must be a number in [0, 1]", record["confidence"])
    photo = photos.loc[record["image"]]
    box = np.array([_number(value) for value in _values(record["box_xyxy_px"])])
    sides = np.array([photo["width"], photo["height"]] * 2, float)
    # A detector may report corners a little outside.
    if box.shape != (4,) or not np.isfinite(box).all() or (box[2:] <= box[:2]).any():
        raise RuleViolation(
            "box_xyxy_px must be four numbers, left < right, top < bottom", record["box_xyxy_px"]
        )
    x1, y1, x2, y2 = (box / sides).clip(0, 1).tolist()
    if x2 <= x1 or y2 <= y1:
        raise RuleViolation("box_xyxy_px must overlap the image", box.tolist())
    return {
        "instance_id": f"{record['image']}#{number}",
        "image_id": record["image"],
        "image_path": photo["path"],
        "source_group": photo["source_group"],
        "object_type": record["object_type"],
        "confidence": confidence,
        **{"x1": x1, "y1": y1, "x2": x2, "y2": y2},
        "cx": (x1 + x2) / 2,
        "cy": (y1 + y2) / 2,
        "position": name_height((y1 + y2) / 2),
    }


def _number(value: object) -> float:
    """A number, or NaN for anything else, which no rule lets pass."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return float("nan")
    return float(value)


def _values(value: object) -> list[Any]:
    return list(value) if isinstance(value, list | tuple | np.ndarray) else []


def read_labels(
    label_root: Path, photos: pd.DataFrame, names: Mapping[int, str], class_map: Mapping[str, Any]
) -> pd.DataFrame:
    """Return the annotated boxes of photographs: image_id, class_name, type, condition, box.

    Args:
        label_root: Folder of the label files.
        photos: Photographs to look up.
        names: Class by id, as the export that was trained on numbers them.
        class_map: Type and condition of each class.

    Raises:
        ValueError: If a line breaks a rule or names an unknown id, with file and line.
    """
    rows = []
    for image_id in photos["image_id"]:
        path = label_root / f"{Path(image_id).stem}.txt"
        lines = path.read_text("utf-8-sig").splitlines() if path.is_file() else []
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                shape = parse_line(line, max(names) + 1)
            except RuleViolation as fault:
                raise ValueError(f"{path}:{number}: {fault}.") from fault
            if shape.class_id not in names:
                raise ValueError(
                    f"{path}:{number}: class id {shape.class_id} is none of the annotated export, "
                    f"which has {dict(sorted(names.items()))}."
                )
            points = np.array(shape.points)
            low, high = points.min(0).tolist(), points.max(0).tolist()
            name = names[shape.class_id]
            box = dict(zip(("x1", "y1", "x2", "y2"), (*low, *high), strict=True))
            rows.append({"image_id": image_id, "class_name": name, **class_map[name], **box})
    columns = ["image_id", "class_name", "object_type", "condition", "x1", "y1", "x2", "y2"]
    return pd.DataFrame(rows, columns=columns)
