"""Raw annotations to checked tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import NonNegativeInt, PositiveInt

from aquatint.data.geotext import read_geotext
from aquatint.data.ingestion_report import ingestion_report
from aquatint.data.relations import relation_table
from aquatint.data.sources import GeoTextFolder
from aquatint.data.split import check_disjoint, split_by_group
from aquatint.params import Params


class IngestParams(Params):
    """How raw records are judged."""

    mode: Literal["strict", "tolerant"]  # strict stops at the first finding, tolerant lists them
    max_rejected_fraction: float  # of the records, in tolerant mode, in [0, 1]
    max_pixels: PositiveInt  # of one image; larger ones are refused before they are decoded


class SplitParams(Params):
    """How validation buildings are set aside."""

    val_fraction: float  # of the train buildings, in [0, 1)
    seed: NonNegativeInt


def ingest_geotext(
    folder: GeoTextFolder, params: IngestParams
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Read both annotation files; return images, captions, regions and rejected records."""
    parts = [
        read_geotext(
            Path(file),
            Path(folder.image_root),
            split,
            params.mode,
            params.max_rejected_fraction,
            params.max_pixels,
        )
        for file, split in ((folder.train_file, "train"), (folder.test_file, "test"))
    ]
    images, captions, regions, rejects = (
        pd.concat(tables, ignore_index=True) for tables in zip(*parts, strict=True)
    )
    return images, captions, regions, rejects


def split_buildings(
    images: pd.DataFrame, captions: pd.DataFrame, regions: pd.DataFrame, params: SplitParams
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Move whole buildings from train to val; no building may stand in two splits."""
    is_train = images["split"] == "train"
    chosen = split_by_group(images[is_train], "building_id", params.val_fraction, params.seed)
    images = images.assign(split=images["split"].where(~is_train, chosen))
    check_disjoint(images, "building_id")
    by_image = images.set_index("image_id")["split"]
    captions = captions.assign(split=captions["image_id"].map(by_image))
    regions = regions.assign(split=regions["image_id"].map(by_image))
    return images, captions, regions


def label_relations(regions: pd.DataFrame) -> pd.DataFrame:
    """Label every ordered pair of boxes of an image by where the second lies."""
    return relation_table(regions)


def report_ingestion(
    images: pd.DataFrame, captions: pd.DataFrame, regions: pd.DataFrame, rejects: pd.DataFrame
) -> dict[str, Any]:
    """Count what came in, what was refused and what looks wrong."""
    return ingestion_report(images, captions, regions, rejects)
