"""The dry run of the recipe: everything is looked at, nothing is trained or kept."""

from __future__ import annotations

import logging
import tempfile
from dataclasses import replace
from typing import Any

from kedro.pipeline import Pipeline

from aquatint.data.sources import YoloExport
from aquatint.features.cache import FeatureStore
from aquatint.models.backbone import Backbone
from aquatint.nodes.graph import Part
from aquatint.params import RunParams
from aquatint.pipelines.inspection import ingest
from aquatint.pipelines.inspection.nodes import bundle_inspection, tuning_plan
from aquatint.pipelines.inspection.params import (
    BalanceParams,
    ClassParams,
    DecodingParams,
    IngestParams,
    PromptParams,
    SplitParams,
    TuneParams,
    ViewParams,
)

logger = logging.getLogger(__name__)


def create_dry_run() -> Pipeline:
    """One node that reads what ``inspection`` would read and reports what it found."""
    inputs = {
        "folder": "data.raw",
        "store": "feature_store",
        "backbone": "qwen2_vl_backbone",
        "classes": "params:data.classes",
        "reading": "params:data.ingest",
        "splitting": "params:data.split",
        "prompting": "params:data.prompts",
        "viewing": "params:features.views",
        "decoding": "params:evaluation.decoding",
        "balance": "params:finetune.balance",
        "params": "params:finetune.train",
        "run": "params:run",
    }
    part = Part("inspection", "dry_run")
    node = part.node(check_inspection, "check_inspection", inputs, "findings", ["ingest"])
    return Pipeline([node])


def check_inspection(  # noqa: PLR0913 - one argument for each catalog entry
    folder: YoloExport,
    store: FeatureStore,
    backbone: Backbone,
    classes: ClassParams,
    reading: IngestParams,
    splitting: SplitParams,
    prompting: PromptParams,
    viewing: ViewParams,
    decoding: DecodingParams,
    balance: BalanceParams,
    params: TuneParams,
    run: RunParams,
) -> dict[str, Any]:
    """Read all labels and images, and take one batch of the tuning; train and keep nothing."""
    from aquatint.training.answering_check import check_tuning, check_views_disk
    from aquatint.training.precision import check_devices

    check_devices(run)
    photos, instances, rejects = ingest.ingest_inspection(folder, reading, classes)
    photos, instances = ingest.split_photos(photos, instances, splitting)
    prompts = ingest.write_prompts(instances, classes, prompting)
    frames = ingest.frame_objects(photos, instances, backbone, viewing)
    disk_gb = check_views_disk(store, backbone, frames, viewing.dtype)
    # Every class must be there, or the few objects would have no weights.
    train = instances[instances["split"] == "train"]
    few = train.groupby("class_name").head(params.batch_size)
    with tempfile.TemporaryDirectory() as place:
        views = ingest.encode_objects(
            folder,
            frames[frames["instance_id"].isin(few["instance_id"])],
            replace(store, root=place),
            backbone,
            viewing,
            run,
        )
        bundle = bundle_inspection(backbone, few, frames, views, prompts)
        plan = tuning_plan(classes, balance, prompting, viewing, decoding, params)
        tuning = check_tuning(plan, bundle, run)
    findings = {
        "photographs": len(photos),
        "objects": instances["split"].value_counts().to_dict(),
        "rejected": len(rejects),
        "backbone": {"name": backbone.name, "digest": backbone.digest},
        "disk_gb": disk_gb,
        "tuning": tuning,
    }
    for name, value in findings.items():
        logger.info("dry run: %s: %s", name, value)
    return findings
