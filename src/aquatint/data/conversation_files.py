"""Records of conversations one by one: LLaVA's JSON and Parquet, tables of benchmarks."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from aquatint.data.benchmark_files import read_benchmark, read_benchmark_images
from aquatint.data.raw_records import RawRecord
from aquatint.data.rejects import RejectLog, RuleViolation

RULE_JSON = "must be valid JSON"
RULE_LIST = "must be a list of records"
RULE_COLUMNS = "must have the columns id, image and conversations"
_ID = re.compile(r'"id"\s*:\s*"([^"]*)"')
_COLUMNS = ("id", "image", "conversations")


def read_records(file: Path, log: RejectLog) -> Iterator[RawRecord]:
    """Yield the records of a file by its suffix: ``.json``, ``.jsonl``, ``.parquet`` or ``.tsv``.

    Args:
        file: The file. A ``.json`` of JSON lines, as some converters write it, is read too.
        log: Where a line that is no JSON object is noted.

    Raises:
        FileNotFoundError: If it is missing.
        ValueError: If it is of another kind, or unreadable as a whole; the message names the place
            and the record it stands in.
    """
    if not file.is_file():
        raise FileNotFoundError(f"The conversations {file} are missing. Correct covt.data_path.")
    match file.suffix.lower():
        case ".json":
            yield from _read_json(file, log)
        case ".jsonl":
            yield from _read_lines(file, file.read_text(encoding="utf-8"), log)
        case ".parquet":
            yield from _read_parquet(file)
        case ".tsv":
            yield from read_benchmark(file, log)
        case suffix:
            raise ValueError(f"{file} must end in .json, .jsonl, .parquet or .tsv, got {suffix!r}.")


def _read_json(file: Path, log: RejectLog) -> Iterator[RawRecord]:
    text = file.read_text(encoding="utf-8")
    if text.lstrip()[:1] == "{":
        yield from _read_lines(file, text, log)
        return
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        before = _ID.findall(text[: error.pos])
        place = f"in or after record {before[-1]!r}" if before else "before any record"
        raise ValueError(
            f"{file}:{error.lineno}:{error.colno}: {RULE_JSON}, {place}: {error.msg}. A comma "
            "behind the last record or turn is the usual reason."
        ) from error
    if not isinstance(content, list):
        raise ValueError(f"{file} {RULE_LIST}, got {type(content).__name__}.")
    for number, record in enumerate(content):
        if isinstance(record, dict):
            yield RawRecord(number, record)
        else:
            log.add(number, None, "record", RuleViolation("must be an object", record))


def _read_lines(file: Path, text: str, log: RejectLog) -> Iterator[RawRecord]:
    for number, line in enumerate(text.splitlines()):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            found = _ID.search(line)
            name = found.group(1) if found else None
            log.add(number, name, "line", RuleViolation(RULE_JSON, error.msg))
            continue
        if isinstance(record, dict):
            yield RawRecord(number, record)
        else:
            log.add(number, None, "line", RuleViolation("must be an object", record))


def _read_parquet(file: Path) -> Iterator[RawRecord]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(file) as table:
        missing = set(_COLUMNS) - set(table.schema_arrow.names)
        if missing:
            raise ValueError(f"{file} {RULE_COLUMNS}, it lacks {', '.join(sorted(missing))}.")
        number = 0
        # A shard of the published set has 20 GB: never more than a few rows at once.
        for batch in table.iter_batches(batch_size=64):
            for row in batch.to_pylist():
                image = row.pop("image") or {}
                path = row.get("image_relpath") or image.get("path")
                yield RawRecord(number, {**row, "image": path}, image.get("bytes"))
                number += 1


def read_embedded(file: Path, rows: list[int]) -> dict[int, bytes]:
    """Return the image bytes of some rows of a Parquet or TSV file, by row counted from 0."""
    if file.suffix.lower() == ".tsv":
        return read_benchmark_images(file, rows)
    import pyarrow.parquet as pq

    wanted, first = set(rows), 0
    found: dict[int, bytes] = {}
    with pq.ParquetFile(file) as table:
        for group in range(table.num_row_groups):
            count = table.metadata.row_group(group).num_rows
            inside = sorted(row for row in wanted if first <= row < first + count)
            if inside:
                # Only the groups that hold a wanted row, and of them one column.
                column = table.read_row_group(group, columns=["image"]).column("image")
                found |= {row: column[row - first]["bytes"].as_py() for row in inside}
            first += count
    return found
