"""Which test samples a gallery shows, with what was predicted for them."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from aquatint.data.image_files import is_plain_relative_path
from aquatint.geometry.boxes import box_iou, cxcywh_to_xyxy
from aquatint.metrics.ranks import top_candidates

NUM_SHOWN = 5
THUMBNAIL_PX = 256
JPEG_QUALITY = 82
_BOX = ["cx", "cy", "w", "h"]


@dataclass(frozen=True)
class ShownImage:
    """One image of a gallery.

    Attributes:
        image_id: Image.
        building_id: Its building.
        uri: The picture as a ``data:`` address.
        width: Width of the original in pixels.
        height: Height of the original in pixels.
    """

    image_id: str
    building_id: str
    uri: str
    width: int
    height: int


@dataclass(frozen=True)
class RetrievalSample:
    """A caption and the images found for it.

    Attributes:
        text: The caption.
        target: The image it was written for.
        found: The nearest images, best first.
        ranks: Rank of the best image of the right building by part, counted from 0.
    """

    text: str
    target: ShownImage
    found: list[ShownImage]
    ranks: dict[str, int]


@dataclass(frozen=True)
class LocatedSentence:
    """A sentence with its boxes.

    Attributes:
        text: The sentence.
        predicted: Predicted cx, cy, w, h in [0, 1].
        target: Annotated cx, cy, w, h in [0, 1].
        iou: IoU of the two.
    """

    text: str
    predicted: tuple[float, ...]
    target: tuple[float, ...]
    iou: float


@dataclass(frozen=True)
class BoxSample:
    """An image and the boxes of its sentences."""

    image: ShownImage
    sentences: list[LocatedSentence]


class ImageShelf:
    """Pictures of a folder, scaled down and packed into ``data:`` addresses.

    Args:
        image_root: Folder that ``path`` is relative to.
        images: image_id, path, building_id, width, height.
    """

    def __init__(self, image_root: str, images: pd.DataFrame) -> None:
        self._root = Path(image_root)
        self._rows = images.set_index("image_id").to_dict(orient="index")

    def show(self, image_id: str) -> ShownImage:
        """Return an image by its id.

        Raises:
            ValueError: If its path leaves the folder.
            FileNotFoundError: If the file is gone.
        """
        row = self._rows[image_id]
        if not is_plain_relative_path(row["path"]):
            raise ValueError(f"path must stay below image_root, got {row['path']!r}.")
        return ShownImage(
            image_id,
            str(row["building_id"]),
            pack_image(self._root / row["path"]),
            int(row["width"]),
            int(row["height"]),
        )


def pack_image(file: Path) -> str:
    """Return a picture as a small JPEG in a ``data:`` address.

    Args:
        file: Image of any format that ingestion accepts.
    """
    with Image.open(file) as image:
        image.draft("RGB", (THUMBNAIL_PX, THUMBNAIL_PX))
        small = image.convert("RGB")
    small.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def choose_by_quantile(values: pd.Series, num_samples: int, seed: int) -> list[str]:
    """Return ids spread evenly from the lowest value to the highest.

    The i-th of n is the middle of the i-th of n equal parts of the sorted ids. So a gallery shows
    as many failures as there are, in proportion, and nobody picks.

    Args:
        values: Value by id.
        num_samples: Number of ids; fewer where there are fewer.
        seed: Decides among ids of equal value.
    """
    shuffled = values.iloc[np.random.default_rng(seed).permutation(len(values))]
    ordered = shuffled.sort_values(kind="stable")
    num_samples = min(num_samples, len(ordered))
    places = ((np.arange(num_samples) + 0.5) / max(num_samples, 1) * len(ordered)).astype(int)
    return [str(name) for name in ordered.index[places]]


def choose_captions(ranks: pd.DataFrame, num_samples: int, seed: int) -> list[str]:
    """Return captions at even steps from the best to the worst ranked one.

    Args:
        ranks: Ranks of the part that is shown.
        num_samples: Captions to show.
        seed: Decides among captions of equal rank.
    """
    counted = pd.Series(_caption_ranks(ranks))
    return choose_by_quantile(counted[counted >= 0], num_samples, seed)


def gather_retrievals(
    shelf: ImageShelf,
    captions: pd.DataFrame,
    embeds: tuple[pd.DataFrame, pd.DataFrame],
    ranks: dict[str, pd.DataFrame],
    caption_ids: Sequence[str],
) -> list[RetrievalSample]:
    """Return captions with the images found for them.

    Args:
        shelf: Images.
        captions: caption_id, image_id, text.
        embeds: Image and text embeddings of the part whose retrievals are shown.
        ranks: Ranks by part.
        caption_ids: Captions to show.
    """
    by_part = {part: _caption_ranks(table) for part, table in ranks.items()}
    written = captions.set_index("caption_id")
    found = _nearest_images(*embeds, caption_ids)
    return [
        RetrievalSample(
            str(written.at[name, "text"]),
            shelf.show(str(written.at[name, "image_id"])),
            [shelf.show(image_id) for image_id in found[name]],
            {part: values[name] for part, values in by_part.items()},
        )
        for name in caption_ids
    ]


def _caption_ranks(ranks: pd.DataFrame) -> dict[str, int]:
    is_caption = (ranks["direction"] == "text_to_image") & (ranks["level"] == "building")
    rows = ranks[is_caption]
    return dict(zip(rows["query_id"].tolist(), rows["rank"].tolist(), strict=True))


def _nearest_images(
    image_embeds: pd.DataFrame, text_embeds: pd.DataFrame, caption_ids: Sequence[str]
) -> dict[str, list[str]]:
    queries = _matrix(text_embeds.set_index("caption_id").loc[list(caption_ids)])
    nearest = top_candidates(queries, _matrix(image_embeds), NUM_SHOWN)
    image_ids = image_embeds["image_id"].to_numpy()
    rows = zip(caption_ids, nearest.numpy(), strict=True)
    return {name: list(image_ids[row]) for name, row in rows}


def _matrix(embeds: pd.DataFrame) -> torch.Tensor:
    columns = [name for name in map(str, embeds) if name[:1] == "e" and name[1:].isdigit()]
    return torch.tensor(embeds[columns].to_numpy(np.float32))


def choose_boxes(
    shelf: ImageShelf, boxes: pd.DataFrame, num_samples: int, seed: int
) -> list[BoxSample]:
    """Return images from best to worst mean IoU, with the boxes of all their sentences.

    Args:
        shelf: Images.
        boxes: image_id, sentence, ``predicted_`` and ``target_`` cx, cy, w, h.
        num_samples: Images to show.
        seed: Decides among images of equal IoU.
    """
    if boxes.empty:
        return []
    predicted, target = (
        torch.tensor(boxes[[f"{side}_{name}" for name in _BOX]].to_numpy(np.float32))
        for side in ("predicted", "target")
    )
    iou = box_iou(cxcywh_to_xyxy(predicted), cxcywh_to_xyxy(target))
    scored = boxes.assign(iou=iou.numpy())
    by_image = scored.groupby("image_id")
    chosen = choose_by_quantile(-by_image["iou"].mean(), num_samples, seed)
    return [BoxSample(shelf.show(name), _sentences(by_image.get_group(name))) for name in chosen]


def _sentences(rows: pd.DataFrame) -> list[LocatedSentence]:
    return [
        LocatedSentence(
            row["sentence"],
            tuple(float(row[f"predicted_{name}"]) for name in _BOX),
            tuple(float(row[f"target_{name}"]) for name in _BOX),
            float(row["iou"]),
        )
        for _, row in rows.iterrows()
    ]
