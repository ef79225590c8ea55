"""Nodes that turn an export into checked tables, prompts and views."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from aquatint.data.inspection_prompts import PromptStyle
from aquatint.data.sources import YoloExport
from aquatint.features.cache import FeatureCache, FeatureStore
from aquatint.models.backbone import Backbone
from aquatint.params import RunParams
from aquatint.pipelines.inspection.params import (
    ClassParams,
    IngestParams,
    PromptParams,
    SplitParams,
    ViewParams,
)


def ingest_inspection(
    folder: YoloExport, params: IngestParams, classes: ClassParams
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Read labels and images of all splits; return photographs, instances and rejects."""
    from aquatint.data.inspection_tables import instance_table
    from aquatint.data.yolo_export import read_export

    names, photos, shapes, rejects = read_export(
        Path(folder.data_file), params.mode, params.max_rejected_fraction, params.max_pixels
    )
    return photos, instance_table(photos, shapes, names, classes.class_map), rejects


def split_photos(
    photos: pd.DataFrame, instances: pd.DataFrame, params: SplitParams
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Keep all exports of a source photograph in one split; no photograph may stand in two."""
    from aquatint.data.split import check_disjoint
    from aquatint.data.stratified_split import split_groups_by_class

    if params.mode == "by_photo":
        chosen = split_groups_by_class(
            instances, photos["source_group"], params.shares, params.seed
        )
        photos = photos.assign(split=photos["source_group"].map(chosen))
        instances = instances.assign(split=instances["source_group"].map(chosen))
    check_disjoint(photos, "source_group")
    empty = sorted({"train", "val", "test"} - set(instances["split"]))
    if empty:
        raise ValueError(
            f"Every split needs objects; {', '.join(empty)} has none with "
            f"inspection.data.split.mode {params.mode}. Take by_photo, or other shares."
        )
    return photos, instances


def analyse_inspection(
    folder: YoloExport, photos: pd.DataFrame, instances: pd.DataFrame, exported: pd.DataFrame
) -> dict[str, Any]:
    """Count classes, relations, positions and sizes; look for leaks and near duplicates."""
    from aquatint.data.inspection_analysis import analyse

    return analyse(photos, instances, exported, Path(folder.root))


def write_prompts(
    instances: pd.DataFrame,
    classes: ClassParams,
    params: PromptParams,
) -> pd.DataFrame:
    """Write the question about every object; stop if one gives its answer away."""
    from aquatint.data.inspection_prompts import build_prompts, check_prompts, spatial_rules

    style = PromptStyle(**params.model_dump())
    rules = spatial_rules(instances[instances["split"] == "train"])
    prompts = build_prompts(instances, classes.class_map, style, rules)
    check_prompts(prompts, classes.class_map)
    return prompts


def frame_objects(
    photos: pd.DataFrame,
    instances: pd.DataFrame,
    backbone: Backbone,
    params: ViewParams,
) -> pd.DataFrame:
    """Decide which part of its photograph shows each object, and at which size."""
    from aquatint.features.views import frame_views

    return frame_views(instances, photos, view_style(params), token_px(backbone))


def encode_objects(
    folder: YoloExport,
    frames: pd.DataFrame,
    store: FeatureStore,
    backbone: Backbone,
    params: ViewParams,
    run: RunParams,
) -> FeatureCache:
    """Run the frozen vision tower once over every view, and over a grey one."""
    from aquatint.features.frozen import Encoding
    from aquatint.features.views import cache_views
    from aquatint.training.precision import prepare_device

    encoding = Encoding(params.batch_size, params.dtype, str(prepare_device(run)))
    return cache_views(store, backbone, frames, Path(folder.root), encoding)


def view_style(params: ViewParams) -> Any:  # noqa: ANN401 - ViewStyle, whose module imports torch
    """How objects are shown, as the library takes it."""
    from aquatint.features.views import ViewStyle

    return ViewStyle(params.kind, params.margin, params.min_pixels, params.max_pixels)


def token_px(backbone: Backbone) -> int:
    """Pixels of one image token of a backbone, along an edge."""
    vision = backbone.load_config().vision_config
    return int(vision.patch_size * vision.spatial_merge_size)
