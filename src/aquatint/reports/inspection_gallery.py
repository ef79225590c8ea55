"""Objects with what was named, right and wrong, as HTML; a crop of each, large enough to judge."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

from aquatint.reports.markup import TEMPLATES
from aquatint.reports.wording import format_percent

_CROP_PX, _PAGE_PX, _MARGIN = 208, 560, 1.3
_BOX_COLORS = {"normal": "#22B36B", "damaged": "#FF9640", "blocked": "#FF5CA8"}


@dataclass(frozen=True)
class ShownObject:
    """One object of a gallery.

    Attributes:
        uri: Its crop as a ``data:`` address.
        name: What it is called: image and line.
        target: Annotated class; empty where there is none.
        tuned: What the tuned model named, with its probability.
        untouched: What the untouched one named; empty where it was not asked.
        is_right: Whether the tuned model was right.
    """

    uri: str
    name: str
    target: str
    tuned: str
    untouched: str
    is_right: bool


def choose_objects(predictions: pd.DataFrame, num: int, seed: int) -> pd.DataFrame:
    """Choose test objects that nobody picked: as many errors as right answers, if there are.

    Args:
        predictions: Predictions of the tuned model.
        num: How many in all.
        seed: Decides which.
    """
    test = predictions[predictions["split"] == "test"]
    is_right = test["predicted"] == test["target"]
    rng = np.random.default_rng([seed, 81])
    parts = []
    for rows, count in ((test[~is_right], num - num // 2), (test[is_right], num // 2)):
        order = rng.permutation(len(rows))[:count]
        parts.append(rows.iloc[np.sort(order)])
    return pd.concat(parts)


def gather_objects(
    chosen: pd.DataFrame,
    untouched: pd.DataFrame,
    instances: pd.DataFrame,
    image_root: Path,
) -> list[ShownObject]:
    """Cut out the chosen objects and note what both models named.

    Args:
        chosen: Rows of the tuned model's predictions.
        untouched: Predictions of the untouched model.
        instances: All instances, for boxes and paths.
        image_root: Folder of the photographs.
    """
    by_id = instances.set_index("instance_id")
    before = untouched.set_index("instance_id")
    shown = []
    for row in chosen.to_dict(orient="records"):
        instance_id = row["instance_id"]
        place = by_id.loc[instance_id]
        with Image.open(image_root / place["image_path"]) as image:
            crop = cut_out(image.convert("RGB"), place)
        shown.append(
            ShownObject(
                uri=as_uri(crop),
                name=f"{place['source_group']}, line {instance_id.rpartition('#')[2]}",
                target=row["target"],
                tuned=_named(row),
                untouched=_named(before.loc[instance_id]),
                is_right=row["predicted"] == row["target"],
            )
        )
    return shown


def _named(row: Any) -> str:  # noqa: ANN401 - a row as dict or series
    if row["predicted"] is None or row["predicted"] != row["predicted"]:
        return f"no class: {row['answer']!r}"
    if row["confidence"] != row["confidence"]:
        return str(row["predicted"])
    return f"{row['predicted']}, {format_percent(row['confidence'], 0)}"


def cut_out(image: Image.Image, place: Any) -> Image.Image:  # noqa: ANN401 - a row
    """Return a square around an object's box, its longest side times 1.3, the box drawn thinly."""
    width, height = image.size
    box = [place["x1"] * width, place["y1"] * height, place["x2"] * width, place["y2"] * height]
    edge = min(max(box[2] - box[0], box[3] - box[1], 16) * _MARGIN, width, height)
    left = min(max((box[0] + box[2] - edge) / 2, 0), width - edge)
    top = min(max((box[1] + box[3] - edge) / 2, 0), height - edge)
    window = (left, top, left + edge, top + edge)
    crop = image.resize((_CROP_PX, _CROP_PX), Image.Resampling.BICUBIC, window)
    scale = _CROP_PX / edge
    corners = [(value - offset) * scale for value, offset in zip(box, (left, top) * 2, strict=True)]
    # Structures touch and overlap: without it, nobody could tell which one is meant.
    ImageDraw.Draw(crop).rectangle(corners, outline=(255, 255, 255), width=1)
    return crop


def as_uri(image: Image.Image) -> str:
    """Return a picture as a ``data:`` address."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=88)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def render_objects(title: str, note: str, objects: Sequence[ShownObject]) -> str:
    """Return crops with what was named as one line of HTML without scripts."""
    html = TEMPLATES.get_template("objects.html").render(title=title, note=note, objects=objects)
    return " ".join(html.split())


def render_photos(
    image_root: Path, photos: pd.DataFrame, predictions: pd.DataFrame, num_shown: int
) -> str:
    """Return photographs with their boxes, colored by condition, and crops of the objects.

    Args:
        image_root: Folder of the photographs.
        photos: Photographs.
        predictions: Table of ``predict_detections``.
        num_shown: Most photographs.
    """
    pages = []
    for photo in photos.head(num_shown).to_dict(orient="records"):
        rows = predictions[predictions["image_id"] == photo["image_id"]]
        with Image.open(image_root / photo["path"]) as opened:
            image = opened.convert("RGB")
        objects = [
            {
                "uri": as_uri(cut_out(image, row)),
                "text": f"{row['class_name']}, {format_percent(row['probability'], 0)}",
                "note": f"detected as {row['object_type']}, {format_percent(row['confidence'], 0)}",
                "color": _BOX_COLORS.get(str(row["condition"]), "#8C8C8C"),
                "x": f"{100 * row['x1']:.2f}",
                "y": f"{100 * row['y1']:.2f}",
                "width": f"{100 * (row['x2'] - row['x1']):.2f}",
                "height": f"{100 * (row['y2'] - row['y1']):.2f}",
            }
            for row in rows.to_dict(orient="records")
        ]
        scale = min(1.0, _PAGE_PX / max(image.size))
        small = image.resize((round(image.width * scale), round(image.height * scale)))
        pages.append({"name": photo["image_id"], "uri": as_uri(small), "objects": objects})
    html = TEMPLATES.get_template("photos.html").render(photos=pages, colors=_BOX_COLORS)
    return " ".join(html.split())
