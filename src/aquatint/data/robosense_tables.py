"""Tables of a RoboSense challenge, and the same in the form that retrieval models take."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from aquatint.data.image_files import ImageFacts, inspect_image
from aquatint.data.rejects import RuleViolation
from aquatint.data.robosense import IMAGE_NAME, QUERY_ID, list_images
from aquatint.data.tables import (
    CAPTION_DTYPES,
    IMAGE_DTYPES,
    REGION_DTYPES,
    RELATION_DTYPES,
    SHA256_PATTERN,
)

MAX_THREADS = 16
_SPLIT = "test"
# A challenge does not say which building its images show.
_UNKNOWN = "unknown"


def read_gallery(folder: Path, max_pixels: int) -> pd.DataFrame:
    """Return the images of a challenge after decoding each of them.

    Args:
        folder: Flat folder with files named image_<hex digits>.jpeg.
        max_pixels: Largest accepted width * height.

    Returns:
        image_id, path (relative to ``folder``), width and height in pixels, sha256; sorted.

    Raises:
        FileNotFoundError: If the folder does not exist.
        ValueError: Naming the first file that is foreign, unreadable or too large: a submission
            over fewer images than the organisers' would be scored wrongly.
    """
    images = list_images(folder)
    root = folder.resolve()

    def inspect(path: str) -> ImageFacts:
        try:
            return inspect_image(root, path, max_pixels)
        except RuleViolation as violation:
            raise ValueError(f"an image of {folder} is unusable: {violation}.") from violation

    # Threads, because Pillow decodes and hashlib hashes without the interpreter lock.
    executor = ThreadPoolExecutor(max_workers=min(MAX_THREADS, os.cpu_count() or 1))
    try:
        found = executor.map(inspect, images["path"])
        facts = list(tqdm(found, desc="checking images", total=len(images), disable=None))
    finally:
        executor.shutdown(cancel_futures=True)
    return pd.concat([images, pd.DataFrame(facts, columns=list(ImageFacts._fields))], axis=1)


def check_gallery(table: pd.DataFrame) -> None:
    """Check a table of gallery images.

    Args:
        table: image_id ("image_<hex>"), path, width, height, sha256.

    Raises:
        ValueError: If a column, an id or a digest breaks its rule.
    """
    _check_table("gallery", table, ["image_id", "path", "width", "height", "sha256"])
    names = table["image_id"] + ".jpeg"
    _check_rows("gallery", table, names.str.fullmatch(IMAGE_NAME.pattern), "image_<hex> as id")
    is_digest = table["sha256"].str.fullmatch(SHA256_PATTERN)
    _check_rows("gallery", table, is_digest, "sha256 of 64 hex digits")


def check_queries(table: pd.DataFrame) -> None:
    """Check a table of text queries.

    Args:
        table: query_id ("q_00001"), text.

    Raises:
        ValueError: If a column, an id or a text breaks its rule.
    """
    _check_table("queries", table, ["query_id", "text"])
    is_id = table["query_id"].str.fullmatch(QUERY_ID.pattern)
    _check_rows("queries", table, is_id, "q_<digits> as id")
    _check_rows(
        "queries", table, table["text"].fillna("").str.strip() != "", "text that is not blank"
    )


def _check_table(name: str, table: pd.DataFrame, columns: list[str]) -> None:
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise ValueError(f"{name} needs the columns {', '.join(missing)}; it has not.")
    if table.empty:
        raise ValueError(f"{name} must have at least one row; the table is empty.")
    repeated = table.loc[table[columns[0]].duplicated(), columns[0]]
    if len(repeated):
        raise ValueError(f"{name} must not repeat {columns[0]}, got {repeated.iloc[0]!r} again.")


def _check_rows(name: str, table: pd.DataFrame, is_right: pd.Series, rule: str) -> None:
    is_wrong = ~is_right.fillna(False).astype(bool)
    if is_wrong.any():
        first = table[is_wrong].iloc[0].to_dict()
        raise ValueError(
            f"every row of {name} needs a {rule}; {int(is_wrong.sum())} of {len(table)} do not, "
            f"the first: {first}."
        )


def retrieval_tables(
    gallery: pd.DataFrame, queries: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return images, captions, regions and relations as retrieval models take them.

    All are of the split ``test``; a query becomes a caption of no known image, and there are no
    regions and no relations.
    """
    images = gallery.assign(building_id=_UNKNOWN, split=_SPLIT)[list(IMAGE_DTYPES)]
    captions = queries.rename(columns={"query_id": "caption_id"}).assign(
        image_id=_UNKNOWN, building_id=_UNKNOWN, split=_SPLIT
    )[list(CAPTION_DTYPES)]
    regions, relations = (
        pd.DataFrame(columns=list(dtypes)).astype(dtypes)
        for dtypes in (REGION_DTYPES, RELATION_DTYPES)
    )
    return images, captions, regions, relations
