"""Puts the faults of real data into records, and says where, so that tests can look for them."""

from copy import deepcopy
from pathlib import Path
from typing import Any

Record = dict[str, Any]

OUT_OF_RANGE_WIDTH = 1.7


def add_train_flaws(records: list[Record], images_folder: Path) -> list[Record]:
    """Add faulty train records and spoil two regions; changes ``records`` in place.

    Args:
        records: Sound records of the train split, one per image and caption.
        images_folder: Folder that their image paths start from; one broken image is added.

    Returns:
        The flaws: their kind, the split, the image and, where it applies, the index of the region
        counted from 0.
    """
    first = deepcopy(records[0])
    building = first["image_id"].split("/")[0]
    flaws = [*_null_region(records, "train"), *_stretch_box(records)]
    records.append(deepcopy(records[0]))
    flaws.append(_flaw("duplicate_record", records[-1]))
    records.append({**deepcopy(records[-1]), "caption": ""})
    flaws.append(_flaw("empty_caption", records[-1]))
    for kind, file_name in (("missing_image", "missing"), ("truncated_image", "truncated")):
        record = deepcopy(first)
        record["image_id"] = f"{building}/image-{file_name}.jpeg"
        record["image"] = f"train/{record['image_id']}"
        records.append(record)
        flaws.append(_flaw(kind, record))
    whole = (images_folder / first["image"]).read_bytes()
    (images_folder / records[-1]["image"]).write_bytes(whole[: len(whole) // 2])
    return flaws


def add_test_flaws(records: list[Record]) -> list[Record]:
    """Take the box of one sentence away; changes ``records`` in place.

    Args:
        records: Sound records of the test split, one per image.

    Returns:
        The flaws, as from ``add_train_flaws``.
    """
    for record in records:
        if record["bboxes"][0] is not None:
            record["bboxes"][0] = None
            return [{**_flaw("null_box", record), "split": "test", "region": 0}]
    return []


def _null_region(records: list[Record], split: str) -> list[Record]:
    for record in reversed(records):
        if record["bboxes"][1] is not None:
            for same in _of_image(records, record["image_id"]):
                same["sentences"][1] = None
                same["bboxes"][1] = None
            return [{**_flaw("null_region", record), "split": split, "region": 1}]
    return []


def _stretch_box(records: list[Record]) -> list[Record]:
    for record in reversed(records):
        if record["bboxes"][0] is not None:
            for same in _of_image(records, record["image_id"]):
                same["bboxes"][0][2] = OUT_OF_RANGE_WIDTH
            return [{**_flaw("box_out_of_range", record), "region": 0}]
    return []


def _of_image(records: list[Record], image_id: str) -> list[Record]:
    """Return the records of one image; all of them, so that they keep agreeing."""
    return [record for record in records if record["image_id"] == image_id]


def _flaw(kind: str, record: Record) -> Record:
    return {"kind": kind, "split": "train", "image_id": record["image_id"]}
