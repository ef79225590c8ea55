"""Prediction on detections, and how well the detector and the model do together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from aquatint.data.inspection_prompts import (
    PromptStyle,
    build_prompts,
    check_prompts,
    spatial_rules,
)
from aquatint.features.cache import FeatureStore
from aquatint.features.frozen import Encoding
from aquatint.features.views import ViewStyle, cache_views, frame_views
from aquatint.metrics.intervals import confidence_interval
from aquatint.metrics.matching import match_boxes
from aquatint.models.backbone import Backbone
from aquatint.params import RunParams
from aquatint.training.answering_inference import Decoding, predict
from aquatint.training.answering_stage import restore_answering
from aquatint.training.checkpoint import Checkpoint
from aquatint.training.dialogues import Dialogues, InspectionData
from aquatint.training.precision import prepare_device

_BOX = ["x1", "y1", "x2", "y2"]
_ANSWERED = ["class_name", "condition", "probability", "options", "probabilities"]
_KEPT = ["instance_id", "image_id", "object_type", "confidence", *_BOX]


def predict_detections(
    model_parts: tuple[Backbone, Checkpoint],
    image_root: Path,
    tables: tuple[pd.DataFrame, pd.DataFrame],
    instances: pd.DataFrame,
    store: FeatureStore,
    run: RunParams,
) -> pd.DataFrame:
    """Name the class of every detected object, with the prompts and views of the training.

    Args:
        model_parts: Backbone and the checkpoint that was tuned on it.
        image_root: Folder of the photographs.
        tables: Photographs and detections.
        instances: Annotated instances; spatial rules come from their train split.
        store: Where caches lie.
        run: Seed, device, precision.

    Returns:
        One row for each detection, none where nothing was detected: ids, box, detected type and its
        confidence, ``class_name``, ``condition``, ``probability``, ``options`` with
        ``probabilities``.
    """
    backbone, checkpoint = model_parts
    photos, detections = tables
    if detections.empty:  # no photographs, or nothing found in them
        return pd.DataFrame(columns=[*_KEPT, *_ANSWERED])
    spec = checkpoint.spec
    class_map, decoding = spec["class_map"], Decoding(**spec["decoding"])
    shown = {name: value for name, value in spec["views"].items() if name != "dtype"}
    rules = spatial_rules(instances[instances["split"] == "train"])
    prompts = build_prompts(detections, class_map, PromptStyle(**spec["style"]), rules)
    check_prompts(prompts, class_map)
    vision = backbone.load_config().vision_config
    token_px = vision.patch_size * vision.spatial_merge_size
    frames = frame_views(detections, photos, ViewStyle(**shown), token_px)
    device = str(prepare_device(run))
    encoding = Encoding(decoding.batch_size, spec["views"]["dtype"], device)
    views = cache_views(store, backbone, frames, image_root, encoding)
    # The columns of annotations are there to be carried along; nothing reads them.
    asked = detections.assign(split="test", condition="", class_name="")
    data = InspectionData(backbone, asked, frames, views, prompts)
    model = restore_answering(backbone, checkpoint, run)
    found = predict(model, Dialogues(data.rows(), data), decoding, list(class_map))
    conditions = {name: entry["condition"] for name, entry in class_map.items()}
    return detections[_KEPT].assign(
        class_name=found["predicted"].to_numpy(),
        condition=found["predicted"].map(conditions).to_numpy(),
        probability=found["confidence"].to_numpy(),
        options=found["options"].to_numpy(),
        probabilities=found["probabilities"].to_numpy(),
    )


def evaluate_detections(
    predictions: pd.DataFrame, labels: pd.DataFrame, min_iou: float, needs_equal_type: bool
) -> dict[str, Any]:
    """Match detections with annotations one to one, and count what came out of both stages.

    Args:
        predictions: Table of ``predict_detections``.
        labels: Annotated boxes.
        min_iou: Least overlap of a match.
        needs_equal_type: Whether only boxes of one type may match.

    Returns:
        ``detection``: recall and precision; ``matched``: accuracy of the class where a box was
        found; ``end_to_end``: annotated objects that were found and named right. Null without
        annotations.
    """
    found, named, total = 0, 0, len(labels)
    for image_id, wanted in labels.groupby("image_id"):
        mine = predictions[predictions["image_id"] == image_id]
        is_equal = mine["object_type"].to_numpy()[:, None] == wanted["object_type"].to_numpy()[None]
        pairs = match_boxes(
            mine[_BOX].to_numpy(float),
            wanted[_BOX].to_numpy(float),
            min_iou,
            is_equal if needs_equal_type else np.ones_like(is_equal),
        )
        found += len(pairs)
        named += sum(mine["class_name"].iloc[i] == wanted["class_name"].iloc[j] for i, j in pairs)
    return {
        "num_detections": len(predictions),
        "num_annotated": total,
        "detection": {"recall": _share(found, total), "precision": _share(found, len(predictions))},
        "matched": _share(int(named), found),
        "end_to_end": _share(int(named), total),
    }


def _share(hits: int, n: int) -> dict[str, Any]:
    return {"value": hits / n if n else None, "interval": confidence_interval(hits, n), "n": n}
