"""Faults of real conversation files, each noted, so that tests can look for them."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

Record = dict[str, Any]


def add_flaws(records: list[Record], images_folder: Path) -> list[Record]:
    """Append faulty records; changes ``records`` in place.

    Args:
        records: Sound records.
        images_folder: Folder that their images lie in; a cut-off file is added.

    Returns:
        The flaws: their kind and the id of the record.
    """
    sound = next(record for record in records if isinstance(record["image"], str))
    whole = (images_folder / sound["image"]).read_bytes()
    (images_folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    flaws = []
    for kind, change in (
        ("missing_image", {"image": "scene0000/gone.jpg"}),
        ("cut_image", {"image": "cut.jpg"}),
        ("outside", {"image": "../outside.jpg"}),
        ("too_few_tags", {"image": [sound["image"], sound["image"]]}),
        ("video", {"video": "flight.mp4"}),
    ):
        record = {**deepcopy(sound), "id": f"flaw_{kind}", **change}
        records.append(record)
        flaws.append({"kind": kind, "id": record["id"]})
    for kind in ("empty_turn", "two_questions"):
        record = {**deepcopy(sound), "id": f"flaw_{kind}"}
        if kind == "empty_turn":
            record["conversations"][1]["value"] = " "
        else:
            record["conversations"][1]["from"] = "human"
        records.append(record)
        flaws.append({"kind": kind, "id": record["id"]})
    records.append(deepcopy(sound))
    flaws.append({"kind": "same_id", "id": sound["id"]})
    return flaws
