"""Checks of the retrieval tables, named as validators in the catalog."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from pandas.api import types

from aquatint.data.rejects import REJECT_DTYPES

SPLITS = ("train", "val", "test")
BOX_COLUMNS = ["cx", "cy", "w", "h"]
SHA256_PATTERN = "[0-9a-f]{64}"
# Room for the rounding of corners that touch the border.
BOX_ROUNDING = 1e-6

IMAGE_DTYPES = {
    "image_id": "str",
    "path": "str",
    "building_id": "str",
    "split": "str",
    "width": "int64",
    "height": "int64",
    "sha256": "str",
}
CAPTION_DTYPES = {
    "caption_id": "str",
    "image_id": "str",
    "building_id": "str",
    "split": "str",
    "text": "str",
}
REGION_DTYPES = {
    "region_id": "str",
    "image_id": "str",
    "building_id": "str",
    "split": "str",
    "sentence": "str",
    "cx": "float64",
    "cy": "float64",
    "w": "float64",
    "h": "float64",
    "has_box": "bool",
}
RELATION_DTYPES = {
    "image_id": "str",
    "region_a": "str",
    "region_b": "str",
    "horizontal": "int64",
    "vertical": "int64",
    "split": "str",
    "building_id": "str",
}

IS_DTYPE = {
    "str": types.is_string_dtype,
    "int64": types.is_integer_dtype,
    "float64": types.is_float_dtype,
    "bool": types.is_bool_dtype,
}


def check_images(table: pd.DataFrame) -> None:
    """Check a table of images.

    Args:
        table: One row for each image: image_id, path (relative), building_id, split, width and
            height in pixels, sha256 in hex.

    Raises:
        ValueError: If a column, an id, a size, a digest or a split breaks its rule.
    """
    _check_columns("images", table, IMAGE_DTYPES)
    _check_not_empty("images", table)
    _check_unique("images", table, ["image_id"])
    _check_splits("images", table)
    _check_rows("images", table, (table["width"] > 0) & (table["height"] > 0), "size above 0")
    is_digest = table["sha256"].str.fullmatch(SHA256_PATTERN)
    _check_rows("images", table, is_digest, "sha256 of 64 hex digits")


def check_captions(table: pd.DataFrame) -> None:
    """Check a table of captions.

    Args:
        table: One row for each caption: caption_id, image_id, building_id, split, text.

    Raises:
        ValueError: If a column, an id, a text or a split breaks its rule.
    """
    _check_columns("captions", table, CAPTION_DTYPES)
    _check_not_empty("captions", table)
    _check_unique("captions", table, ["caption_id"])
    _check_splits("captions", table)
    _check_rows("captions", table, table["text"].str.strip() != "", "text that is not blank")


def check_regions(table: pd.DataFrame) -> None:
    """Check a table of regions; it may be empty.

    Args:
        table: One row for each region: region_id, image_id, building_id, split, sentence (may be
            missing), cx, cy, w, h in [0, 1] and has_box; NaN where has_box is false.

    Raises:
        ValueError: If a column, an id, a box or a split breaks its rule.
    """
    _check_columns("regions", table, REGION_DTYPES, nullable=("sentence", *BOX_COLUMNS))
    _check_unique("regions", table, ["region_id"])
    _check_splits("regions", table)
    boxes = table[BOX_COLUMNS].to_numpy(dtype=float)
    has_box = table["has_box"].to_numpy(dtype=bool)
    is_finite = np.isfinite(boxes).all(axis=1)
    _check_rows("regions", table, ~has_box | is_finite, "finite box where has_box is true")
    is_missing = np.isnan(boxes).all(axis=1)
    _check_rows("regions", table, has_box | is_missing, "no box where has_box is false")
    centers, sizes = boxes[:, :2], boxes[:, 2:]
    has_area = (sizes > 0).all(axis=1)
    _check_rows("regions", table, ~has_box | has_area, "box with a width and height above 0")
    is_inside = (
        (centers - sizes / 2 >= -BOX_ROUNDING) & (centers + sizes / 2 <= 1 + BOX_ROUNDING)
    ).all(axis=1)
    _check_rows("regions", table, ~has_box | is_inside, "box inside the image, in [0, 1]")


def check_relations(table: pd.DataFrame) -> None:
    """Check a table of spatial relations; it may be empty.

    Args:
        table: One row for each ordered pair of regions: image_id, region_a, region_b, horizontal
            and vertical in 0, 1, 2, split, building_id.

    Raises:
        ValueError: If a column, a pair, a label or a split breaks its rule.
    """
    _check_columns("relations", table, RELATION_DTYPES)
    _check_unique("relations", table, ["region_a", "region_b"])
    _check_splits("relations", table)
    _check_rows("relations", table, table["region_a"] != table["region_b"], "two regions")
    for axis in ("horizontal", "vertical"):
        _check_rows("relations", table, table[axis].isin((0, 1, 2)), f"{axis} in 0, 1, 2")


def check_rejects(table: pd.DataFrame) -> None:
    """Check a table of rejects; it may be empty.

    Args:
        table: One row for each finding: file, record counted from 0, image_id (may be missing),
            field, rule, value.

    Raises:
        ValueError: If a column or a record number breaks its rule.
    """
    _check_columns("rejects", table, REJECT_DTYPES, nullable=("image_id",))
    _check_rows("rejects", table, table["record"] >= 0, "record counted from 0")


def check_table(
    name: str,
    table: pd.DataFrame,
    dtypes: dict[str, str],
    keys: list[str],
    *,
    is_empty_allowed: bool = True,
) -> None:
    """Check columns with their types, and that no key repeats.

    Args:
        name: What the table is called, for messages.
        table: Table.
        dtypes: Type by column.
        keys: Columns that together identify a row.
        is_empty_allowed: Whether it may have no rows.

    Raises:
        ValueError: If a column, a value or a key breaks its rule.
    """
    _check_columns(name, table, dtypes)
    if not is_empty_allowed:
        _check_not_empty(name, table)
    _check_unique(name, table, keys)


def _check_columns(
    name: str, table: pd.DataFrame, dtypes: dict[str, str], nullable: Iterable[str] = ()
) -> None:
    missing = [column for column in dtypes if column not in table.columns]
    if missing:
        raise ValueError(f"{name} needs the columns {', '.join(missing)}; it has not.")
    for column, dtype in dtypes.items():
        # Written and read again, an empty or all-missing column may come back as object or null.
        if table[column].isna().all() and (column in nullable or table.empty):
            continue
        if not IS_DTYPE[dtype](table[column]):
            raise ValueError(f"{name}.{column} must be {dtype}, got {table[column].dtype}.")
        if column not in nullable:
            _check_rows(name, table, table[column].notna(), f"{column} that is not missing")


def _check_not_empty(name: str, table: pd.DataFrame) -> None:
    if table.empty:
        raise ValueError(f"{name} must have at least one row; the table is empty.")


def _check_unique(name: str, table: pd.DataFrame, columns: list[str]) -> None:
    repeated = table.duplicated(columns)
    label = " and ".join(columns)
    if repeated.any():
        first = table.loc[repeated, columns].iloc[0].tolist()
        raise ValueError(
            f"{name} must not repeat {label}; {int(repeated.sum())} rows do, the first: {first}."
        )


def _check_splits(name: str, table: pd.DataFrame) -> None:
    _check_rows(name, table, table["split"].isin(SPLITS), f"split in {', '.join(SPLITS)}")


def _check_rows(name: str, table: pd.DataFrame, is_right: object, rule: str) -> None:
    is_wrong = ~np.asarray(is_right, dtype=bool)
    if is_wrong.any():
        first = table[is_wrong].iloc[0].to_dict()
        raise ValueError(
            f"every row of {name} needs a {rule}; {int(is_wrong.sum())} of {len(table)} do not, "
            f"the first: {first}."
        )
