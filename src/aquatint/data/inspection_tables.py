"""Tables of inspected objects: from label shapes to one checked row for each instance."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from aquatint.data.inspection_prompts import name_height
from aquatint.data.tables import SPLITS, check_table
from aquatint.data.yolo_lines import polygon_area

CONDITIONS = ("normal", "damaged", "blocked")
# Rules of the source: y decides beyond .05, then x beyond .1 (docs/recipes/inspection.md).
_LEVEL_Y, _ALIGNED_X = 0.05, 0.1

PHOTO_DTYPES = {
    "image_id": "str",
    "path": "str",
    "split": "str",
    "source_group": "str",
    "width": "int64",
    "height": "int64",
    "sha256": "str",
    "n_objects": "int64",
}
INSTANCE_DTYPES = {
    "instance_id": "str",
    "image_id": "str",
    "image_path": "str",
    "split": "str",
    "source_group": "str",
    "class_id": "int64",
    "class_name": "str",
    "object_type": "str",
    "condition": "str",
    "x1": "float64",
    "y1": "float64",
    "x2": "float64",
    "y2": "float64",
    "cx": "float64",
    "cy": "float64",
    "area": "float64",
    "position": "str",
    "n_objects": "int64",
}


def instance_table(
    photos: pd.DataFrame,
    shapes: pd.DataFrame,
    names: list[str],
    class_map: Mapping[str, Mapping[str, str]],
) -> pd.DataFrame:
    """Return one row for each labelled object, with its neighbours by type.

    Args:
        photos: Table of ``read_export``.
        shapes: Table of ``read_export``.
        names: Class names of data.yaml by id.
        class_map: Type and condition of each class.

    Returns:
        Columns of ``INSTANCE_DTYPES``, with ``polygon`` (x, y pairs in one list) and
        ``neighbours`` (object_type, relation, distance; the nearest first).

    Raises:
        ValueError: If data.yaml has a class that ``class_map`` does not place.
    """
    unknown = [name for name in names if name not in class_map]
    if unknown:
        raise ValueError(
            f"class_map must place every class of data.yaml; it lacks {unknown}. Add type and "
            "condition under inspection.data.classes."
        )
    by_image = {image_id: rows for image_id, rows in shapes.groupby("image_id", sort=False)}
    rows: list[dict[str, Any]] = []
    for photo in records(photos):
        if photo["image_id"] in by_image:
            found = records(by_image[photo["image_id"]])
            rows += _rows_of_photo(photo, found, names, class_map)
    columns = [*INSTANCE_DTYPES, "polygon", "neighbours"]
    return pd.DataFrame(rows, columns=columns).astype(INSTANCE_DTYPES)


def shuffle_labels(instances: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Exchange the labels of train and validation objects of one type; pictures keep their places.

    How often a type has each condition stays, so whoever learns from these labels can know that
    and no more. The test split keeps its labels.

    Args:
        instances: Table of ``instance_table`` with the splits in use; unchanged.
        seed: Seed of the exchange.
    """
    labels = ["class_id", "class_name", "condition"]
    table = instances.copy()
    rng = np.random.default_rng([seed, 53])
    learnt = table[table["split"] != "test"]
    for _, rows in learnt.groupby(["split", "object_type"], sort=True):
        donors = rng.permutation(rows.index)
        table.loc[rows.index, labels] = instances.loc[donors, labels].to_numpy()
    return table.astype({name: instances[name].dtype for name in labels})


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of a table as dicts by column name."""
    return [{str(key): v for key, v in row.items()} for row in table.to_dict(orient="records")]


def _rows_of_photo(
    photo: dict[str, Any],
    shapes: list[dict[str, Any]],
    names: list[str],
    class_map: Mapping[str, Mapping[str, str]],
) -> Iterator[dict[str, Any]]:
    rows = []
    for shape in shapes:
        points = np.array(shape["points"])
        (x1, y1), (x2, y2) = points.min(0).tolist(), points.max(0).tolist()
        name = names[shape["class_id"]]
        cx, cy = (x1 + x2) / 2, (y1 + y2) / 2
        rows.append(
            {
                "instance_id": f"{photo['image_id']}#{shape['line']}",
                "image_id": photo["image_id"],
                "image_path": photo["path"],
                "split": photo["split"],
                "source_group": photo["source_group"],
                "class_id": shape["class_id"],
                "class_name": name,
                **class_map[name],
                "x1": x1,
                "y1": y1,
                "x2": x2,
                "y2": y2,
                "cx": cx,
                "cy": cy,
                "area": abs(polygon_area(shape["points"])),
                "position": name_height(cy),
                "n_objects": len(shapes),
                "polygon": points.ravel().tolist(),
            }
        )
    for row in rows:
        yield {**row, "neighbours": neighbours_of(row, [o for o in rows if o is not row])}


def neighbours_of(row: Mapping[str, Any], others: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Where other objects of an image lie as seen from one, by type, the nearest first.

    Every other object counts, also of the same class; nothing of its class or condition is kept.
    """
    found = [
        {
            "object_type": other["object_type"],
            "relation": relation(other, row),
            "distance": math.hypot(other["cx"] - row["cx"], other["cy"] - row["cy"]),
        }
        for other in others
    ]
    return sorted(found, key=lambda item: (item["distance"], item["object_type"]))


def relation(first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
    """Where the first object lies as seen from the second, by their centres, y downwards."""
    dx, dy = first["cx"] - second["cx"], first["cy"] - second["cy"]
    if dy < -_LEVEL_Y:
        return "above"
    if dy > _LEVEL_Y:
        return "below"
    if abs(dx) < _ALIGNED_X:
        return "same_level"
    return "left" if dx < 0 else "right"


def check_photos(table: pd.DataFrame) -> None:
    """Check a table of photographs; images without objects stay in it.

    Raises:
        ValueError: If a column, an id, a size or a split breaks its rule.
    """
    check_table("photos", table, PHOTO_DTYPES, ["image_id"], is_empty_allowed=False)
    _check(table, (table[["width", "height"]] > 0).all(axis=1), "photos", "size above 0")


def check_instances(table: pd.DataFrame) -> None:
    """Check a table of inspected objects.

    Raises:
        ValueError: If a column, an id, a box, a condition or a split breaks its rule.
    """
    check_table("instances", table, INSTANCE_DTYPES, ["instance_id"], is_empty_allowed=False)
    _check(table, table["split"].isin(SPLITS), "instances", f"split in {SPLITS}")
    _check(table, table["condition"].isin(CONDITIONS), "instances", f"condition in {CONDITIONS}")
    boxes = table[["x1", "y1", "x2", "y2"]].to_numpy()
    is_box = (boxes >= 0).all(1) & (boxes <= 1).all(1) & (boxes[:, 2:] > boxes[:, :2]).all(1)
    _check(table, is_box, "instances", "box with an area in [0, 1]")


def _check(table: pd.DataFrame, is_right: Any, name: str, rule: str) -> None:  # noqa: ANN401
    wrong = table[~np.asarray(is_right, bool)]
    if len(wrong):
        raise ValueError(
            f"every row of {name} needs a {rule}; {len(wrong)} of {len(table)} do not, the first: "
            f"{wrong.iloc[0].to_dict()}."
        )
