"""Nodes that apply the tuned model to what a detector found in new photographs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from kedro.pipeline import Node

from aquatint.data.sources import DetectedPhotos
from aquatint.features.cache import FeatureStore
from aquatint.models.backbone import Backbone
from aquatint.nodes.graph import Part
from aquatint.params import RunParams
from aquatint.pipelines.inspection.params import (
    ClassParams,
    PredictParams,
)
from aquatint.training.checkpoint import Checkpoint


def read_detections(
    folder: DetectedPhotos, classes: ClassParams, params: PredictParams
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read photographs and what a detector found in them; return both tables."""
    from aquatint.data.detections import no_photos, read_photos
    from aquatint.data.detections import read_detections as read

    if not folder.image_root:
        return no_photos()
    photos = read_photos(Path(folder.image_root), params.max_pixels)
    types = {entry["object_type"] for entry in classes.class_map.values()}
    return photos, read(Path(folder.detections_file), photos, types, params.min_confidence)


def answer_detections(  # noqa: PLR0913 - one argument for each catalog entry
    folder: DetectedPhotos,
    photos: pd.DataFrame,
    detections: pd.DataFrame,
    instances: pd.DataFrame,
    store: FeatureStore,
    checkpoint: Checkpoint,
    backbone: Backbone,
    run: RunParams,
) -> pd.DataFrame:
    """Name the condition of every detected object, with probabilities."""
    from aquatint.training.inspection_predict import predict_detections

    root = Path(folder.image_root)
    tables = photos, detections
    return predict_detections((backbone, checkpoint), root, tables, instances, store, run)


def evaluate_detections(
    folder: DetectedPhotos,
    photos: pd.DataFrame,
    predictions: pd.DataFrame,
    instances: pd.DataFrame,
    classes: ClassParams,
    params: PredictParams,
) -> dict[str, Any]:
    """Recall of the detector and accuracy of both stages, where there are annotations."""
    from aquatint.data.detections import read_labels
    from aquatint.training.inspection_predict import evaluate_detections as evaluate

    if not folder.label_root:
        return {"num_detections": len(predictions), "num_annotated": None}
    # The export's own numbers: another order of names would be another class without a word.
    names = dict(zip(instances["class_id"], instances["class_name"], strict=True))
    labels = read_labels(Path(folder.label_root), photos, names, classes.class_map)
    return evaluate(predictions, labels, params.min_iou, params.needs_equal_type)


def render_predictions(
    folder: DetectedPhotos,
    photos: pd.DataFrame,
    predictions: pd.DataFrame,
    metrics: dict[str, Any],
    params: PredictParams,
) -> str:
    """Show photographs with their boxes, and every object with what was named, on one page."""
    from aquatint.reports.inspection_background import render_prediction_page

    root = Path(folder.image_root)
    return render_prediction_page(root, photos, predictions, metrics, params.num_shown)


def predict_nodes(part: Part) -> list[Node]:
    """Nodes of the part ``predict``."""
    folder = {"folder": "photos"}
    classes = {"classes": "params:data.classes"}
    settings = {"params": "params:settings"}
    return [
        part.node(
            read_detections,
            "read_detections",
            {**folder, **classes, **settings},
            ["images", "detections"],
            ["ingest"],
        ),
        part.node(
            answer_detections,
            "answer_detections",
            {
                **folder,
                "photos": "images",
                "detections": "detections",
                "instances": "data.instances",
                "store": "feature_store",
                "checkpoint": "finetune.checkpoint",
                "backbone": "qwen2_vl_backbone",
                "run": "params:run",
            },
            "predictions",
            ["eval", "gpu"],
        ),
        part.node(
            evaluate_detections,
            "evaluate_detections",
            {
                **folder,
                **classes,
                **settings,
                "photos": "images",
                "predictions": "predictions",
                "instances": "data.instances",
            },
            "metrics",
            ["eval"],
        ),
        part.node(
            render_predictions,
            "render_predictions",
            {
                **folder,
                **settings,
                "photos": "images",
                "predictions": "predictions",
                "metrics": "metrics",
            },
            "page",
            ["report"],
        ),
    ]
