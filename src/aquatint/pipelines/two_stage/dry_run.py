"""The dry run of the recipe: everything is looked at, nothing is trained or written."""

from __future__ import annotations

import logging
from typing import Any

from kedro.pipeline import Pipeline

from aquatint.data.sources import GeoTextFolder
from aquatint.features.cache import FeatureStore
from aquatint.models.backbone import Backbone
from aquatint.nodes.features import FeatureParams
from aquatint.nodes.graph import Part
from aquatint.params import RunParams
from aquatint.pipelines.two_stage.params import AlignmentParams, ModelParams, RefinementParams
from aquatint.pipelines.two_stage.plans import alignment_plan, refinement_plan

logger = logging.getLogger(__name__)


def create_dry_run() -> Pipeline:
    """One node that reads what ``two_stage`` would read and reports what it found."""
    inputs = {
        "folder": "data.raw",
        "store": "feature_store",
        "backbone": "backbone",
        "features": "params:features.extraction",
        "model": "params:architecture.heads",
        "stage1": "params:stage1.train",
        "stage2": "params:stage2.train",
        "baseline": "params:baseline.train",
        "run": "params:run",
    }
    part = Part("two_stage", "dry_run")
    return Pipeline([part.node(check_two_stage, "check_two_stage", inputs, "findings", ["ingest"])])


def check_two_stage(  # noqa: PLR0913 - one argument for each catalog entry
    folder: GeoTextFolder,
    store: FeatureStore,
    backbone: Backbone,
    features: FeatureParams,
    model: ModelParams,
    stage1: AlignmentParams,
    stage2: RefinementParams,
    baseline: RefinementParams,
    run: RunParams,
) -> dict[str, Any]:
    """Check files, disk, device, and one batch of every stage; train and write nothing."""
    from aquatint.training.precision import check_devices, prepare_device
    from aquatint.training.retrieval_check import check_disk, check_stages, summarise_data

    check_devices(run)
    device = prepare_device(run)
    data = summarise_data(folder)
    plans = [
        alignment_plan(backbone, features, model, stage1),
        refinement_plan("stage2", backbone, features, model, stage2),
        refinement_plan("baseline", backbone, features, model, baseline),
    ]
    texts = 6 * data.num_images  # three captions and three sentences each
    findings = {
        "records": data.num_records,
        "images": data.num_images,
        "missing_images": data.num_missing,
        "device": str(device),
        "backbone": {"name": backbone.name, **vars(backbone.sizes)},
        "disk_gb": check_disk(store, backbone, data.num_images, texts, plans[0].spec),
        "stages": check_stages(plans, backbone, data.sample, device),
    }
    for name, value in findings.items():
        logger.info("dry run: %s: %s", name, value)
    return findings
