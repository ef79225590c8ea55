"""Reader of GeoText-1652: raw annotation files to checked tables."""

import gc
import logging
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import pandas as pd
from tqdm import tqdm

from aquatint.data.geotext_records import (
    Box,
    GeoTextRecord,
    WrongType,
    check_box,
    decode_record,
    read_raw_records,
)
from aquatint.data.image_files import ImageFacts, inspect_image, is_plain_relative_path
from aquatint.data.rejects import (
    RULE_ALIGNED,
    RULE_DUPLICATE,
    RULE_EMPTY_TEXT,
    RULE_ID_PATH,
    RULE_SAME_IMAGE,
    RULE_UTF8,
    ReadMode,
    RejectLog,
    RuleViolation,
)
from aquatint.data.tables import (
    CAPTION_DTYPES,
    IMAGE_DTYPES,
    REGION_DTYPES,
    SPLITS,
)

logger = logging.getLogger(__name__)

MAX_PIXELS = 50_000_000
MAX_REJECTED_FRACTION = 0.05
MAX_THREADS = 16
NO_BOX = (float("nan"),) * 4
Columns = dict[str, list[object]]
SURROGATE = re.compile("[\ud800-\udfff]")


class GeoTextTables(NamedTuple):
    """Checked tables of one annotation file.

    Attributes:
        images: image_id, path (relative to the image root), building_id, split, width and
            height in pixels, sha256.
        captions: caption_id, image_id, building_id, split, text.
        regions: region_id, image_id, building_id, split, sentence (may be missing), cx, cy, w, h
            in [0, 1] (NaN without a box), has_box.
        rejects: file, record (counted from 0), image_id, field, rule, value.
    """

    images: pd.DataFrame
    captions: pd.DataFrame
    regions: pd.DataFrame
    rejects: pd.DataFrame


@dataclass
class _ImageEntry:
    """Everything the records of one image say, without repetition."""

    path: str
    records: list[int] = field(default_factory=list)
    num_captions: int = 0
    captions: dict[str, int] = field(default_factory=dict)
    regions: dict[tuple[str | None, Box | None], int] = field(default_factory=dict)


def read_geotext(
    file: Path,
    image_root: Path,
    split: str,
    mode: ReadMode,
    max_rejected_fraction: float = MAX_REJECTED_FRACTION,
    max_pixels: int = MAX_PIXELS,
) -> GeoTextTables:
    """Return the checked tables of a GeoText-1652 annotation file.

    Reads the training layout (a record for each caption) and the test layout (a list of captions
    in a record). A bad caption or box costs only itself (the region stays, without a box), a bad
    image or a field of the wrong type the whole record. Nothing is ever put in the place of what
    is missing.

    Args:
        file: JSON annotations.
        image_root: Folder that the records' ``image`` is relative to; no image may lie outside.
        split: ``train``, ``val`` or ``test``; written to every row.
        mode: ``strict`` stops at the first finding, ``tolerant`` lists them in ``rejects``.
        max_rejected_fraction: In tolerant mode, the largest accepted share of records with a
            finding, in [0, 1].
        max_pixels: Largest accepted width * height of an image.

    Returns:
        Tables in the order of the file. ids name the position in it: "0001/a.jpeg#c0" is the
        first caption of that image, "0001/a.jpeg#r2" its third region, both counted from 0.

    Raises:
        FileNotFoundError: If ``file`` or ``image_root`` does not exist.
        ValueError: If the file is not a JSON list, in strict mode for the first finding, in
            tolerant mode if too many records have one.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}.")
    for path in (file, image_root):
        if not path.exists():
            raise FileNotFoundError(f"{path} does not exist; GeoText needs annotations and images.")
    log = RejectLog(file, mode)
    with _without_collection():
        raw_records = read_raw_records(file)
        num_records = len(raw_records)
        entries = _collect_entries(raw_records, log)
        del raw_records  # as large as the file
    facts = _inspect_images(entries, image_root.resolve(), max_pixels, log)
    log.check_limit(num_records, max_rejected_fraction)
    tables = _build_tables({key: entries[key] for key in facts}, facts, split, log)
    logger.info(
        "%s: %d records, %d images, %d captions, %d regions, %d findings.",
        file.name,
        num_records,
        len(tables.images),
        len(tables.captions),
        len(tables.regions),
        len(tables.rejects),
    )
    return tables


@contextmanager
def _without_collection() -> Iterator[None]:
    """Spare the collector the search for cycles in millions of records without any."""
    is_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if is_enabled:
            gc.enable()


def _collect_entries(raw_records: Sequence[object], log: RejectLog) -> dict[str, _ImageEntry]:
    entries: dict[str, _ImageEntry] = {}
    for index, raw in enumerate(raw_records):
        try:
            record = decode_record(raw)
        except WrongType as violation:
            log.add(index, violation.image_id, violation.field, violation)
            continue
        entry = _entry_of(record, index, entries, log)
        if entry is not None:
            entry.records.append(index)
            _add_captions(record, index, entry, log)
            _add_regions(record, index, entry, log)
    return entries


def _entry_of(
    record: GeoTextRecord, index: int, entries: dict[str, _ImageEntry], log: RejectLog
) -> _ImageEntry | None:
    image_id = record.image_id
    entry = entries.get(image_id)
    if entry is None:
        # Two parts at least: the first is the building, by which splits are made.
        if not is_plain_relative_path(image_id) or len(PurePosixPath(image_id).parts) < 2:
            log.add(index, image_id, "image_id", RuleViolation(RULE_ID_PATH, image_id))
            return None
        entry = entries[image_id] = _ImageEntry(record.image)
    if entry.path != record.image:
        log.add(index, image_id, "image", RuleViolation(RULE_SAME_IMAGE, record.image))
        return None
    return entry


def _add_captions(record: GeoTextRecord, index: int, entry: _ImageEntry, log: RejectLog) -> None:
    for position, caption in enumerate(record.captions):
        where = "caption" if isinstance(record.caption, str) else f"caption[{position}]"
        text = caption.strip()
        if text in entry.captions:
            log.add(index, record.image_id, where, RuleViolation(RULE_DUPLICATE, caption))
            continue
        rule = _broken_text_rule(text)
        if rule is None:
            entry.captions[text] = entry.num_captions
        else:
            log.add(index, record.image_id, where, RuleViolation(rule, caption))
        # A rejected caption takes a number too, so that correcting it moves no other id.
        entry.num_captions += 1


def _add_regions(record: GeoTextRecord, index: int, entry: _ImageEntry, log: RejectLog) -> None:
    if len(record.sentences) != len(record.bboxes):
        counts = f"{len(record.bboxes)} boxes and {len(record.sentences)} sentences"
        log.add(index, record.image_id, "bboxes", RuleViolation(RULE_ALIGNED, counts))
        return
    for position, (raw_text, raw_box) in enumerate(
        zip(record.sentences, record.bboxes, strict=True)
    ):
        sentence = None if raw_text is None else raw_text.strip()
        rule = None if sentence is None else _broken_text_rule(sentence)
        if rule is not None:
            violation = RuleViolation(rule, raw_text)
            log.add(index, record.image_id, f"sentences[{position}]", violation)
            sentence = None
        box = None
        try:
            box = check_box(raw_box)
        except RuleViolation as violation:
            log.add(index, record.image_id, f"bboxes[{position}]", violation)
        entry.regions.setdefault((sentence, box), len(entry.regions))


def _broken_text_rule(text: str) -> str | None:
    if not text:
        return RULE_EMPTY_TEXT
    # A lone surrogate passes through Python's JSON and would only fail when Parquet is written.
    return None if text.isascii() or not SURROGATE.search(text) else RULE_UTF8


def _inspect_images(
    entries: dict[str, _ImageEntry], image_root: Path, max_pixels: int, log: RejectLog
) -> dict[str, ImageFacts]:
    def inspect(entry: _ImageEntry) -> ImageFacts | RuleViolation:
        try:
            return inspect_image(image_root, entry.path, max_pixels)
        except RuleViolation as violation:
            return violation

    facts: dict[str, ImageFacts] = {}
    # Threads, because Pillow decodes and hashlib hashes without the interpreter lock.
    executor = ThreadPoolExecutor(max_workers=min(MAX_THREADS, os.cpu_count() or 1))
    try:
        found = zip(entries.items(), executor.map(inspect, entries.values()), strict=True)
        for (image_id, entry), result in tqdm(
            found, desc="Checking images", total=len(entries), unit="image", disable=None
        ):
            if isinstance(result, ImageFacts):
                facts[image_id] = result
                continue
            for record in entry.records:
                log.add(record, image_id, "image", result)
    finally:
        # Strict mode leaves at the first bad image; the queued ones need not be read.
        executor.shutdown(cancel_futures=True)
    return facts


def _build_tables(
    entries: dict[str, _ImageEntry], facts: dict[str, ImageFacts], split: str, log: RejectLog
) -> GeoTextTables:
    # Column by column: from rows, pandas makes objects first and converts them then.
    images: Columns = {name: [] for name in IMAGE_DTYPES}
    captions: Columns = {name: [] for name in CAPTION_DTYPES}
    regions: Columns = {name: [] for name in REGION_DTYPES}
    for image_id, entry in entries.items():
        shared = (image_id, PurePosixPath(image_id).parts[0], split)
        _extend(images, [image_id], [entry.path], [shared[1]], [split], *zip(facts[image_id]))
        numbers = [f"{image_id}#c{number}" for number in entry.captions.values()]
        _extend(captions, numbers, *([value] * len(numbers) for value in shared), entry.captions)
        numbers = [f"{image_id}#r{number}" for number in entry.regions.values()]
        repeated = ([value] * len(numbers) for value in shared)
        boxes = [box or NO_BOX for _, box in entry.regions]
        _extend(
            regions,
            numbers,
            *repeated,
            [sentence for sentence, _ in entry.regions],
            *([box[side] for box in boxes] for side in range(4)),
            [box is not None for _, box in entry.regions],
        )
    return GeoTextTables(
        _table(images, IMAGE_DTYPES),
        _table(captions, CAPTION_DTYPES),
        _table(regions, REGION_DTYPES),
        log.table(),
    )


def _extend(columns: Columns, *values: Iterable[object]) -> None:
    for column, part in zip(columns.values(), values, strict=True):
        column.extend(part)


def _table(columns: Columns, dtypes: dict[str, str]) -> pd.DataFrame:
    # Each list goes as its column is made, so that the texts are held once.
    return pd.DataFrame(
        {name: pd.Series(columns.pop(name), dtype=dtype) for name, dtype in dtypes.items()}
    )
