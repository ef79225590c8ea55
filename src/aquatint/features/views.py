"""Views of objects: what a model looks at, and the frozen tower's features of it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from PIL import Image, ImageDraw
from tqdm import tqdm

from aquatint.data.inspection_tables import records
from aquatint.features.cache import FeatureCache, FeatureStore, build_cache
from aquatint.features.frozen import Encoding
from aquatint.models.backbone import Backbone
from aquatint.models.pixels import PixelNormalizer
from aquatint.models.qwen_vl import encode_views

ViewKind = Literal["crop", "image", "image_with_box"]
_GREY = 128
_BOX_COLOR = (255, 0, 0)


@dataclass(frozen=True)
class ViewStyle:
    """How an object is shown.

    Attributes:
        kind: ``crop`` shows the object with its surroundings, ``image`` the whole photograph,
            ``image_with_box`` draws its box into that.
        margin: Size of a crop relative to the longer side of the box, at least 1.
        min_pixels: Fewest pixels of a view; smaller ones are enlarged.
        max_pixels: Most pixels of a view; larger ones are reduced.
    """

    kind: ViewKind
    margin: float
    min_pixels: int
    max_pixels: int


def frame_views(
    instances: pd.DataFrame, photos: pd.DataFrame, style: ViewStyle, patch_px: int
) -> pd.DataFrame:
    """Decide what is shown of each object, and at which size.

    Args:
        instances: Rows with instance_id, image_id and the box in [0, 1].
        photos: Rows with image_id, width, height and sha256.
        style: How objects are shown.
        patch_px: Pixels of one image token: patch size times merge size; sides are multiples of it.

    Returns:
        One row for each instance: ``view_key`` (content key), image_id, left, top, right, bottom in
        pixels of the photograph, width, height of the view in pixels, tokens.

    Raises:
        ValueError: If no size between ``min_pixels`` and ``max_pixels`` exists.
    """
    by_id = photos.set_index("image_id")
    rows = []
    for row in instances.to_dict(orient="records"):
        photo = by_id.loc[row["image_id"]]
        size = int(photo["width"]), int(photo["height"])
        box = (row["x1"] * size[0], row["y1"] * size[1], row["x2"] * size[0], row["y2"] * size[1])
        left, top, right, bottom = (
            _square(box, size, style) if style.kind == "crop" else (0, 0, *size)
        )
        height, width = fit_size(bottom - top, right - left, patch_px, style)
        drawn = [round(value) for value in box] if style.kind == "image_with_box" else []
        window = [left, top, right, bottom, width, height, *drawn]
        key = hashlib.sha256(f"{photo['sha256']}{window}".encode()).hexdigest()
        rows.append(
            {
                "instance_id": row["instance_id"],
                "view_key": key,
                "image_path": photo["path"],
                **dict(
                    zip(("left", "top", "right", "bottom", "width", "height"), window, strict=False)
                ),
                "num_tokens": height * width // patch_px**2,
                "drawn": drawn,
            }
        )
    return pd.DataFrame(rows)


def _square(
    box: tuple[float, float, float, float], size: tuple[int, int], style: ViewStyle
) -> tuple[int, int, int, int]:
    """A square around a box, moved into the image where it can be."""
    edge = max(box[2] - box[0], box[3] - box[1]) * style.margin
    edge = min(max(edge, 8.0), *size)
    corners = []
    for low, high, limit in ((box[0], box[2], size[0]), (box[1], box[3], size[1])):
        start = min(max((low + high - edge) / 2, 0), limit - edge)
        corners.append((math.floor(start), math.floor(start) + round(edge)))
    (left, right), (top, bottom) = corners
    return left, top, min(right, size[0]), min(bottom, size[1])


def fit_size(height: int, width: int, factor: int, style: ViewStyle) -> tuple[int, int]:
    """Return the size nearest to the given one whose sides ``factor`` divides.

    The shape is kept as far as multiples allow, as Qwen2-VL's own preprocessing does.

    Raises:
        ValueError: If the limits leave no size.
    """
    if style.max_pixels < factor**2 or style.min_pixels > style.max_pixels:
        raise ValueError(
            f"min_pixels {style.min_pixels} and max_pixels {style.max_pixels} leave no view of "
            f"whole tokens of {factor} x {factor} pixels."
        )
    sides = [max(factor, round(side / factor) * factor) for side in (height, width)]
    area = sides[0] * sides[1]
    if area > style.max_pixels:
        scale = math.sqrt(height * width / style.max_pixels)
        sides = [max(factor, math.floor(s / scale / factor) * factor) for s in (height, width)]
        # A very long view keeps one row of tokens, and is then shortened.
        longest = int(np.argmax(sides))
        sides[longest] = min(sides[longest], style.max_pixels // min(sides) // factor * factor)
    elif area < style.min_pixels:
        scale = math.sqrt(style.min_pixels / (height * width))
        sides = [math.ceil(s * scale / factor) * factor for s in (height, width)]
    return sides[0], sides[1]


def show(image_root: Path, frame: dict[str, Any]) -> np.ndarray:
    """Cut and resize one view.

    Args:
        image_root: Folder that ``image_path`` is relative to.
        frame: A row of ``frame_views``.

    Returns:
        RGB as uint8, shape (height, width, 3).
    """
    with Image.open(image_root / frame["image_path"], formats=("JPEG", "PNG", "WEBP")) as image:
        picture = image.convert("RGB")
    if len(frame["drawn"]):
        line = max(2, round(0.006 * max(picture.size)))
        ImageDraw.Draw(picture).rectangle(list(frame["drawn"]), outline=_BOX_COLOR, width=line)
    window = (frame["left"], frame["top"], frame["right"], frame["bottom"])
    size = frame["width"], frame["height"]
    return np.asarray(picture.resize(size, Image.Resampling.BICUBIC, window))


def grey_key(width: int, height: int) -> str:
    """Content key of a view that shows nothing."""
    return hashlib.sha256(f"grey {width} {height}".encode()).hexdigest()


def cache_views(
    store: FeatureStore,
    backbone: Backbone,
    frames: pd.DataFrame,
    image_root: Path,
    encoding: Encoding,
) -> FeatureCache:
    """Run the frozen vision tower once over every view, and over a grey one of every size.

    Args:
        store: Where caches lie.
        backbone: Frozen Qwen2-VL or Qwen2.5-VL.
        frames: Table of ``frame_views``.
        image_root: Folder of the photographs.
        encoding: Batch size, stored type, device.

    Returns:
        Cache of features in the language model's width, padded with zeros to the longest view,
        shape (max tokens, D) each.
    """
    sizes = records(frames[["width", "height"]].drop_duplicates())
    grey: list[dict[str, Any]] = [
        {**size, "view_key": grey_key(size["width"], size["height"])} for size in sizes
    ]
    views = [*records(frames.drop_duplicates("view_key")), *grey]
    width = int(frames["num_tokens"].max())
    encoder = ViewEncoder(backbone, encoding)

    def compute(positions: Sequence[int]) -> np.ndarray:
        rows: list[np.ndarray | None] = [None] * len(positions)
        batches = list(batches_of_one_size([views[i] for i in positions], encoding.batch_size))
        for batch in tqdm(batches, desc="views", disable=None, leave=False, unit="batch"):
            images = [pixels_of(views[positions[i]], image_root) for i in batch]
            for i, features in zip(batch, encoder(np.stack(images)), strict=True):
                padded = np.zeros((width, features.shape[-1]), encoding.dtype)
                padded[: len(features)] = features
                rows[i] = padded
        return np.stack([row for row in rows if row is not None])

    recipe = {
        "kind": "view_features",
        "backbone": backbone.digest,
        "compute_dtype": backbone.dtype,
        "quantization": backbone.quantization,
        "max_tokens": width,
        "dtype": encoding.dtype,
        "resize": "pil-bicubic",
    }
    keys = [view["view_key"] for view in views]
    return build_cache(store, recipe, keys, compute, description="view features")


def pixels_of(view: dict[str, Any], image_root: Path) -> np.ndarray:
    """Return the pixels of a view, a grey one where it shows no photograph."""
    if "image_path" in view:
        return show(image_root, view)
    return np.full((view["height"], view["width"], 3), _GREY, np.uint8)


def batches_of_one_size(views: Sequence[dict[str, Any]], batch_size: int) -> list[list[int]]:
    """Group positions of views so that all of a batch have one size."""
    by_size: dict[tuple[int, int], list[int]] = {}
    for position, view in enumerate(views):
        by_size.setdefault((view["height"], view["width"]), []).append(position)
    return [
        positions[start : start + batch_size]
        for positions in by_size.values()
        for start in range(0, len(positions), batch_size)
    ]


class ViewEncoder:
    """Frozen vision tower that is loaded when it is first needed.

    Args:
        backbone: Frozen Qwen2-VL or Qwen2.5-VL.
        encoding: Stored type and device.
    """

    def __init__(self, backbone: Backbone, encoding: Encoding) -> None:
        self._backbone, self._encoding = backbone, encoding
        self._model: Any = None

    @torch.inference_mode()
    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Encode images of one size (B, H, W, 3) of uint8; returns (B, N, D)."""
        device = self._encoding.device
        if self._model is None:
            self._model = self._backbone.load(device)
            self._normalize = PixelNormalizer(*self._backbone.image_statistics).to(device)
        images = self._normalize(torch.from_numpy(pixels).to(device)).to(self._model.dtype)
        features = encode_views(self._model, images).float().cpu().numpy()
        stored = features.astype(self._encoding.dtype)
        if not np.isfinite(stored).all():
            raise ValueError(
                f"Features must be finite, got inf or NaN in {self._encoding.dtype}. Set "
                "features.views.dtype to float32."
            )
        return stored
