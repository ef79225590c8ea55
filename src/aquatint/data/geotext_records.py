"""Records of GeoText-1652 JSON files, read one by one, so that a bad one costs only itself."""

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from aquatint.data.rejects import (
    RULE_BOX_AREA,
    RULE_BOX_FINITE,
    RULE_BOX_NUMBERS,
    RULE_BOX_RANGE,
    RULE_FIELD,
    RULE_TYPE,
    RULE_UTF8,
    RuleViolation,
)

UTF8_BOM = b"\xef\xbb\xbf"
BOX_TOLERANCE = 1e-3
NUMBERS = frozenset((int, float))
FIELD_OF_MESSAGE = re.compile(r" - at `\$\.(?P<field>[^`]*)`$")
MISSING_FIELD = re.compile(r"missing required field `(?P<field>[^`]*)`")

Box = tuple[float, float, float, float]


class GeoTextRecord(msgspec.Struct):
    """One record as it stands in the file; boxes are checked one by one later."""

    image_id: str
    image: str
    caption: str | list[str]
    sentences: list[str | None] = []
    bboxes: list[Any] = []

    @property
    def captions(self) -> list[str]:
        """Captions as a list: training files hold one string, test files a list of them."""
        return [self.caption] if isinstance(self.caption, str) else self.caption


class WrongType(RuleViolation):
    """A field of a record does not have the type of the format.

    Args:
        field: The field, or "record" for the whole.
        image_id: The record's image_id, if it has one.
        rule: Which type was expected.
        value: What was found.
    """

    def __init__(self, field: str, image_id: str | None, rule: str, value: object) -> None:
        super().__init__(rule, value)
        self.field = field
        self.image_id = image_id


RECORD_DECODER = msgspec.json.Decoder(GeoTextRecord)
LIST_DECODER = msgspec.json.Decoder(list[msgspec.Raw])


def read_raw_records(file: Path) -> Sequence[object]:
    """Return the undecoded records of a JSON list.

    Args:
        file: JSON file, UTF-8, with or without a byte order mark.

    Returns:
        The records, for ``decode_record``.

    Raises:
        ValueError: If the file is not valid JSON (with the byte offset), not a list, or empty.
    """
    content = file.read_bytes()
    skipped = len(UTF8_BOM) if content.startswith(UTF8_BOM) else 0
    content = content[skipped:]
    try:
        records: object = LIST_DECODER.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        records = _decode_leniently(file, content, skipped)
    if not isinstance(records, list):
        raise ValueError(f"{file} must hold a JSON list of records, got {type(records).__name__}.")
    if not records:
        raise ValueError(f"{file} holds no records.")
    return records


def decode_record(raw: object) -> GeoTextRecord:
    """Return a record with the types of its fields checked.

    Args:
        raw: One of what ``read_raw_records`` returned.

    Returns:
        The record; its texts, paths and boxes are not checked yet.

    Raises:
        WrongType: If a field is missing or has another type.
    """
    if isinstance(raw, msgspec.Raw):
        try:
            return RECORD_DECODER.decode(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            # The plain decoder knows numbers such as 1e999, and gives the value for the message.
            try:
                raw = json.loads(bytes(raw))
            except UnicodeDecodeError as error:
                raise WrongType("record", None, RULE_UTF8, bytes(error.object)) from error
    try:
        return msgspec.convert(raw, GeoTextRecord)
    except msgspec.ValidationError as error:
        raise _wrong_type(raw, str(error)) from error


def check_box(raw: object) -> Box | None:
    """Return a box with float noise at the border cut off.

    Args:
        raw: Null or four numbers: center x, center y, width, height, normalised to [0, 1].

    Returns:
        The four numbers, or None for null. A box that leaves the image by at most 1e-3 is
        clipped to it.

    Raises:
        RuleViolation: If the box is none of these, not finite, without area or out of range.
    """
    if raw is None:
        return None
    # By type, not by isinstance: bool is an int in Python, but true is no coordinate.
    if not isinstance(raw, list) or len(raw) != 4 or not NUMBERS.issuperset(map(type, raw)):
        raise RuleViolation(RULE_BOX_NUMBERS, raw)
    if not all(map(math.isfinite, raw)):
        raise RuleViolation(RULE_BOX_FINITE, raw)
    center_x, center_y, width, height = map(float, raw)
    if width <= 0 or height <= 0:
        raise RuleViolation(RULE_BOX_AREA, raw)
    left, top = center_x - width / 2, center_y - height / 2
    right, bottom = center_x + width / 2, center_y + height / 2
    # Both sides have a length, so the least corner is one of these and the largest of those.
    least, largest = min(left, top), max(right, bottom)
    if least < -BOX_TOLERANCE or largest > 1 + BOX_TOLERANCE:
        raise RuleViolation(RULE_BOX_RANGE, raw)
    if least >= 0 and largest <= 1:
        return center_x, center_y, width, height
    left, top, right, bottom = (min(max(corner, 0.0), 1.0) for corner in (left, top, right, bottom))
    if right <= left or bottom <= top:
        raise RuleViolation(RULE_BOX_AREA, raw)
    return (left + right) / 2, (top + bottom) / 2, right - left, bottom - top


def _decode_leniently(file: Path, content: bytes, skipped: int) -> object:
    """Read what msgspec refuses although Python wrote it: NaN, Infinity, lone surrogates."""
    try:
        text = content.decode("utf-8")
        return json.loads(text)
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not UTF-8 at byte {error.start + skipped}.") from error
    except json.JSONDecodeError as error:
        offset = len(text[: error.pos].encode("utf-8")) + skipped
        raise ValueError(f"{file} is not valid JSON at byte {offset}: {error.msg}.") from error
    except RecursionError as error:
        raise ValueError(f"{file} is nested too deeply to be a list of records.") from error


def _wrong_type(raw: object, message: str) -> WrongType:
    image_id = raw.get("image_id") if isinstance(raw, dict) else None
    named_id = image_id if isinstance(image_id, str) else None
    missing = MISSING_FIELD.search(message)
    if missing:
        return WrongType(missing["field"], named_id, RULE_FIELD, None)
    found = FIELD_OF_MESSAGE.search(message)
    rule = f"{RULE_TYPE}: {FIELD_OF_MESSAGE.sub('', message)}"
    if found is None or not isinstance(raw, dict):
        return WrongType("record", named_id, rule, raw)
    return WrongType(found["field"], named_id, rule, raw.get(found["field"].partition("[")[0]))
