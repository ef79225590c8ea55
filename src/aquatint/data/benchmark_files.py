"""Benchmarks as tab-separated tables, as MMBench and its successors are published.

A line is a question: ``index``, ``question``, ``answer``, perhaps a ``hint``, options ``A`` to
``I`` and a ``category``. Its image stands in the line, in base64; a short cell is the index of the
line whose image it shares; or ``image_path`` names a file. Described in VLMEvalKit's documentation
(https://github.com/open-compass/VLMEvalKit, docs/en/Development.md).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from aquatint.data.raw_records import RawRecord
from aquatint.data.rejects import RejectLog, RuleViolation

RULE_COLUMNS = "must have the columns index, question, answer, and image or image_path"
RULE_BASE64 = "must be an image in base64, or the index of a line that has one"
RULE_ANSWER = "must have an answer, which lines of a test split lack"
OPTIONS = tuple("ABCDEFGHI")
# No image fits into as few characters.
_MAX_REFERENCE_CHARS = 64
_LINES_AT_ONCE = 64
_SUFFIXES = ((b"\xff\xd8", ".jpg"), (b"\x89PNG", ".png"), (b"RIFF", ".webp"))


def read_benchmark(file: Path, log: RejectLog) -> Iterator[RawRecord]:
    """Yield the lines of a table as records of one turn.

    Args:
        file: The table.
        log: Where a line without an answer or with a broken image is noted.

    Raises:
        ValueError: If columns are missing or the table cannot be read.
    """
    shared = _shared_images(file)
    for number, line in _lines(file):
        try:
            yield _record(file, number, line, shared)
        except RuleViolation as violation:
            log.add(number, line.get("index"), "line", violation)


def read_benchmark_images(file: Path, rows: Sequence[int]) -> dict[int, bytes]:
    """Return the images of some lines, by line counted from 0."""
    wanted, shared = set(rows), _shared_images(file)
    return {
        number: _image_bytes(line["image"], shared)
        for number, line in _lines(file, ["index", "image"])
        if number in wanted
    }


def _lines(file: Path, columns: list[str] | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        chunks = pd.read_csv(
            file, sep="\t", dtype="str", keep_default_na=False, usecols=columns,
            chunksize=_LINES_AT_ONCE, encoding="utf-8",
        )  # fmt: skip
        number = 0
        for chunk in chunks:
            if not number:
                _check_columns(file, chunk, columns)
            for line in chunk.to_dict(orient="records"):
                yield number, {str(name): value for name, value in line.items()}
                number += 1
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} must be a table with tabs between its cells: {error}.") from error


def _check_columns(file: Path, chunk: pd.DataFrame, columns: list[str] | None) -> None:
    needed = columns or ["index", "question", "answer"]
    missing = [name for name in needed if name not in chunk]
    if missing or not {"image", "image_path"} & set(chunk.columns):
        listed = ", ".join(map(str, chunk.columns))
        raise ValueError(f"{file} {RULE_COLUMNS}, it has {listed}.")


def _shared_images(file: Path) -> dict[str, str]:
    """Cells of the lines whose image another line shares, by their index."""
    if "image" not in pd.read_csv(file, sep="\t", nrows=0).columns:
        return {}
    # Twice over the file rather than all images in memory.
    referred = {
        line["image"]
        for _, line in _lines(file, ["index", "image"])
        if len(line["image"]) <= _MAX_REFERENCE_CHARS
    }
    if not referred:
        return {}
    return {
        line["index"]: line["image"]
        for _, line in _lines(file, ["index", "image"])
        if line["index"] in referred and len(line["image"]) > _MAX_REFERENCE_CHARS
    }


def _image_bytes(cell: str, shared: Mapping[str, str]) -> bytes:
    text = cell if len(cell) > _MAX_REFERENCE_CHARS else shared.get(cell, "")
    try:
        content = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise RuleViolation(RULE_BASE64, cell[:_MAX_REFERENCE_CHARS]) from error
    if not content:
        raise RuleViolation(RULE_BASE64, cell[:_MAX_REFERENCE_CHARS])
    return content


def _record(file: Path, number: int, line: dict[str, Any], shared: Mapping[str, str]) -> RawRecord:
    if not line["answer"].strip():
        raise RuleViolation(RULE_ANSWER, line["question"])
    path, embedded = line.get("image_path") or "", None
    if line.get("image"):
        embedded = _image_bytes(line["image"], shared)
        owner = line["index"] if len(line["image"]) > _MAX_REFERENCE_CHARS else line["image"]
        suffix = next((end for start, end in _SUFFIXES if embedded.startswith(start)), "")
        path = f"{file.stem}/{owner}{suffix}"
    content = {
        "id": f"{file.stem}_{line['index']}",
        "image": path,
        "conversations": [
            {"from": "human", "value": f"<image>\n{_ask(line)}"},
            {"from": "gpt", "value": line["answer"]},
        ],
    }
    if line.get("category"):
        content["kinds"] = [line["category"]]
    return RawRecord(number, content, embedded)


def _ask(line: Mapping[str, str]) -> str:
    options = [f"{name}. {line[name]}" for name in OPTIONS if line.get(name)]
    asked = "Answer with the letter of an option." if options else ""
    parts = (line.get("hint", ""), line["question"], *options, asked)
    return "\n".join(part for part in parts if part)
