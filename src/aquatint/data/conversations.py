"""Conversations about images: LLaVA records to a table of turns and one of images, all checked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import pandas as pd

from aquatint.data.conversation_files import read_records
from aquatint.data.image_files import ImageFacts, inspect_content, inspect_image
from aquatint.data.raw_records import RawRecord
from aquatint.data.rejects import RULE_FIELD, RULE_TYPE, ReadMode, RejectLog, RuleViolation

IMAGE_TAG, VIDEO_TAG = "<image>", "<video>"
DEFAULT_KIND = "question"
RULE_NO_VIDEO = "must hold no video: this recipe reads images alone"
RULE_TAGS = "must have as many <image> tags as images"
RULE_TAG_PLACE = "must have its <image> tags before the text of the first turn, and nowhere else"
RULE_TURNS = "must alternate human and gpt, begin with human and end with gpt"
RULE_EMPTY_TURN = "must not be empty"
RULE_MARKS = "must not hold the model's own marks, such as <|im_end|> or <think>"
RULE_UNIQUE_ID = "must not repeat the id of an earlier record"
RULE_IMAGES = "must name at least one image"
RULE_KINDS = "must have one kind for each question, if any"
_MARKS = re.compile(r"<\|[^|>]*\|>|</?(think|answer)>")
CONVERSATION_DTYPES = {
    "turn_id": "str",
    "record_id": "str",
    "turn": "int64",
    "question": "str",
    "answer": "str",
    "kind": "str",
    "group": "str",
    "file": "str",
}
IMAGE_DTYPES = {
    "image_key": "str",
    "path": "str",
    "file": "str",
    "row": "int64",
    "width": "int64",
    "height": "int64",
    "group": "str",
}


@dataclass(frozen=True)
class ReadRules:
    """How records are judged.

    Attributes:
        mode: ``strict`` stops at the first finding, ``tolerant`` lists them all.
        max_rejected_fraction: Of the records of a file, in tolerant mode.
        max_pixels: Of one image.
        group_by: What must stay on one side of a split: an ``image``, or all of a ``folder``.
    """

    mode: ReadMode
    max_rejected_fraction: float
    max_pixels: int
    group_by: Literal["image", "folder"]


@dataclass
class _Reading:
    """Rows found so far."""

    turns: list[dict[str, Any]] = field(default_factory=list)
    images: dict[str, dict[str, Any]] = field(default_factory=dict)
    ids: set[str] = field(default_factory=set)
    known: dict[str, ImageFacts] = field(default_factory=dict)


def read_conversations(
    files: Sequence[str], image_root: str, rules: ReadRules
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Read LLaVA files; every turn of a conversation becomes a row.

    Args:
        files: JSON lists, JSON lines, Parquet tables with embedded images, TSV of benchmarks.
        image_root: Folder that image paths are relative to.
        rules: How records are judged.

    Returns:
        Turns (with ``image_keys``, the sha256 of each image in order), images by content, and the
        rejected records. Nothing is put in the place of what is missing.

    Raises:
        ValueError: In strict mode at the first finding, with file, record, rule and value; in
            tolerant mode above the limit.
        FileNotFoundError: If a file or the folder is missing.
    """
    root = Path(image_root)
    if not root.is_dir():
        raise FileNotFoundError(f"The image folder {root} is missing. Correct covt.image_folder.")
    reading, rejects = _Reading(), []
    for name in files:
        log = RejectLog(Path(name), rules.mode)
        count = 0
        for record in read_records(Path(name), log):
            count += 1
            record_id = record.content.get("id")
            try:
                _take(record, name, root.resolve(), rules, reading)
            except _Finding as finding:
                known = str(record_id) if record_id is not None else None
                log.add(record.number, known, finding.field, finding.violation)
        log.check_limit(max(count, 1), rules.max_rejected_fraction)
        rejects.append(log.table())
    turns, images = _grouped(reading)
    return turns, images, pd.concat(rejects, ignore_index=True)


class _Finding(Exception):
    """A record breaks a rule in one of its fields."""

    def __init__(self, name: str, violation: RuleViolation) -> None:
        super().__init__(name)
        self.field, self.violation = name, violation


def _require(is_kept: bool, name: str, rule: str, value: object) -> None:
    if not is_kept:
        raise _Finding(name, RuleViolation(rule, value))


def _take(record: RawRecord, file: str, root: Path, rules: ReadRules, reading: _Reading) -> None:
    content = record.content
    record_id = content.get("id")
    _require(isinstance(record_id, str | int) and record_id != "", "id", RULE_FIELD, record_id)
    record_id = str(record_id)
    _require(record_id not in reading.ids, "id", RULE_UNIQUE_ID, record_id)
    _require(not content.get("video"), "video", RULE_NO_VIDEO, content.get("video"))
    paths = _image_paths(content.get("image"))
    pairs = _pairs(content.get("conversations"), len(paths))
    kinds = content.get("kinds") or [DEFAULT_KIND] * len(pairs)
    _require(len(kinds) == len(pairs), "kinds", RULE_KINDS, kinds)
    facts = [_inspect(record, path, root, rules, reading) for path in paths]
    reading.ids.add(record_id)
    groups = [_group_of(path, rules.group_by) for path in paths]
    for path, fact, group in zip(paths, facts, groups, strict=True):
        is_embedded = record.embedded is not None
        row = {
            "image_key": fact.sha256,
            "path": path,
            "file": file if is_embedded else "",
            "row": record.number if is_embedded else -1,
            "width": fact.width,
            "height": fact.height,
            "group": group,
        }
        reading.images.setdefault(fact.sha256, row)
    for number, (question, answer) in enumerate(pairs):
        reading.turns.append(
            {
                "turn_id": f"{record_id}#{number}",
                "record_id": record_id,
                "turn": number,
                "question": question,
                "answer": answer,
                "kind": str(kinds[number]),
                "group": groups[0],
                "file": Path(file).name,
                "image_keys": [fact.sha256 for fact in facts],
                "groups": groups,
            }
        )


def _image_paths(image: object) -> list[str]:
    paths = [image] if isinstance(image, str) else image
    _require(image is not None and paths != [] and image != "", "image", RULE_IMAGES, image)
    is_list = isinstance(paths, list) and all(isinstance(path, str) for path in paths)
    _require(is_list, "image", RULE_TYPE, image)
    return list(paths) if isinstance(paths, list) else []


def _pairs(turns: object, num_images: int) -> list[tuple[str, str]]:
    """Questions without their tags, with their answers."""
    _require(isinstance(turns, list) and bool(turns), "conversations", RULE_FIELD, turns)
    texts = []
    for number, turn in enumerate(turns if isinstance(turns, list) else []):
        name = f"conversations[{number}]"
        is_turn = isinstance(turn, dict) and isinstance(turn.get("value"), str)
        _require(is_turn, name, RULE_TYPE, turn)
        _require(turn.get("from") == ("human", "gpt")[number % 2], name, RULE_TURNS, turn)
        text = turn["value"]
        _require(VIDEO_TAG not in text, name, RULE_NO_VIDEO, text)
        if number == 0:
            num_tags = text.count(IMAGE_TAG)
            _require(num_tags == num_images, name, RULE_TAGS, f"{num_tags} for {num_images}")
            head = [part.strip() for part in text.split(IMAGE_TAG)[:-1]]
            _require(not any(head), name, RULE_TAG_PLACE, text)
            text = text.rpartition(IMAGE_TAG)[2]
        _require(IMAGE_TAG not in text, name, RULE_TAG_PLACE, text)
        _require(bool(text.strip()), name, RULE_EMPTY_TURN, turn["value"])
        _require(not has_marks(text), name, RULE_MARKS, text)
        texts.append(text.strip())
    _require(len(texts) % 2 == 0, "conversations", RULE_TURNS, f"{len(texts)} turns")
    return list(zip(texts[::2], texts[1::2], strict=True))


def _inspect(
    record: RawRecord, path: str, root: Path, rules: ReadRules, reading: _Reading
) -> ImageFacts:
    try:
        if record.embedded is not None:
            return inspect_content(record.embedded, path, rules.max_pixels)
        if path not in reading.known:
            reading.known[path] = inspect_image(root, path, rules.max_pixels)
        return reading.known[path]
    except RuleViolation as violation:
        raise _Finding("image", violation) from violation


def _group_of(path: str, group_by: str) -> str:
    parent = PurePosixPath(path).parent.as_posix()
    return path if group_by == "image" or parent in (".", "") else parent


def _grouped(reading: _Reading) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tables in which images that share a record, or their content, share a group."""
    parent: dict[str, str] = {}

    def root_of(group: str) -> str:
        while parent.setdefault(group, group) != group:
            group = parent[group]
        return group

    owner: dict[str, str] = {}
    for turn in reading.turns:
        for key, group in zip(turn["image_keys"], turn["groups"], strict=True):
            linked = {root_of(turn["groups"][0]), root_of(group), root_of(owner.get(key, group))}
            first = min(linked)
            parent.update(dict.fromkeys(linked, first))
            owner[key] = first
    turns = [{**turn, "group": root_of(turn["group"])} for turn in reading.turns]
    images = [{**row, "group": root_of(row["group"])} for row in reading.images.values()]
    columns = [*CONVERSATION_DTYPES, "image_keys"]
    table = pd.DataFrame(turns, columns=columns).astype(CONVERSATION_DTYPES)
    return table, pd.DataFrame(images, columns=list(IMAGE_DTYPES)).astype(IMAGE_DTYPES)


def has_marks(text: str) -> bool:
    """Whether a text holds a mark that is the model's own."""
    return _MARKS.search(text) is not None


def check_conversations(table: pd.DataFrame) -> None:
    """Check a table of turns.

    Raises:
        ValueError: If a column is missing, a text empty, an id repeated or a turn has no image.
    """
    missing = [name for name in [*CONVERSATION_DTYPES, "image_keys"] if name not in table]
    if missing:
        raise ValueError(f"A table of conversations needs the columns {', '.join(missing)}.")
    if table["turn_id"].duplicated().any():
        raise ValueError("Every turn_id must stand once in a table of conversations.")
    for name in ("question", "answer"):
        empty = table[table[name].str.strip() == ""]
        if len(empty):
            raise ValueError(f"{name} of {empty['turn_id'].iloc[0]} must not be empty.")
    without = table[table["image_keys"].map(len) == 0]
    if len(without):
        raise ValueError(f"{without['turn_id'].iloc[0]} must have an image.")


def check_images(table: pd.DataFrame) -> None:
    """Check a table of images.

    Raises:
        ValueError: If a column is missing, a key repeated or a size not positive.
    """
    missing = [name for name in IMAGE_DTYPES if name not in table]
    if missing:
        raise ValueError(f"A table of images needs the columns {', '.join(missing)}.")
    if table["image_key"].duplicated().any():
        raise ValueError("Every image_key must stand once in a table of images.")
    if len(table) and (table[["width", "height"]] < 1).any(axis=None):
        raise ValueError("width and height of an image must be at least 1.")
