"""A record of a conversation as it stands in its file."""

from __future__ import annotations

from typing import Any, NamedTuple


class RawRecord(NamedTuple):
    """A record as it stands in its file.

    Attributes:
        number: Place in the file, counted from 0.
        content: The record's fields.
        embedded: Bytes of its one image, where the file holds it.
    """

    number: int
    content: dict[str, Any]
    embedded: bytes | None = None
