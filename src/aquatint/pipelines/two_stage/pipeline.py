"""The graph of the two-stage recipe: one namespace for each part of the method's figure."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from aquatint.nodes import features, ingest
from aquatint.nodes.graph import Part
from aquatint.pipelines.two_stage import nodes
from aquatint.pipelines.two_stage.reporting import report_nodes

_RUN = "params:run"
_TABLES = {name: f"data.{name}" for name in ("images", "captions", "regions", "relations")}
_CACHES = {name: f"features.{name}" for name in ("image_features", "text_features", "pixels")}
# What every training and prediction reads, by argument of nodes.bundle_data.
_DATA = {"backbone": "backbone", **_TABLES, **_CACHES}
_EXTRACTION = "params:features.extraction"
_HEADS = "params:architecture.heads"
# Of the whole recipe: all parts predict in the same way.
_PREDICTION = "params:evaluation.prediction"
_EMBEDS = {name: name for name in ("image_embeds", "text_embeds")}
_MATCHED = {**_EMBEDS, "match_scores": "match_scores"}
_TASKS = {**_MATCHED, "boxes": "boxes", "relations": "relations"}


def create_pipeline() -> Pipeline:
    """Annotations to report: data, features, zero-shot, two stages, baseline, reporting."""
    return Pipeline(
        [
            *_data(Part("two_stage", "data")),
            features.backbone_node("two_stage", "backbone"),
            *_features(Part("two_stage", "features")),
            *_zero_shot(Part("two_stage", "zero_shot")),
            *_stage1(Part("two_stage", "stage1")),
            *_stage2(Part("two_stage", "stage2")),
            *_baseline(Part("two_stage", "baseline")),
            *report_nodes(Part("two_stage", "reporting")),
        ]
    )


def _data(part: Part) -> list[Node]:
    read = ["images_read", "captions_read", "regions_read"]
    split = ["images", "captions", "regions"]
    return [
        part.node(
            ingest.ingest_geotext,
            "ingest_geotext",
            {"folder": "raw", "params": "params:ingest"},
            [*read, "rejects"],
            ["ingest"],
        ),
        part.node(
            ingest.split_buildings,
            "split_buildings",
            {**dict(zip(split, read, strict=True)), "params": "params:split"},
            split,
            ["split"],
        ),
        part.node(
            ingest.label_relations,
            "label_relations",
            {"regions": "regions"},
            "relations",
            ["ingest"],
        ),
        part.node(
            ingest.report_ingestion,
            "report_ingestion",
            {name: name for name in (*split, "rejects")},
            "ingestion_report",
            ["ingest", "report"],
        ),
    ]


def _features(part: Part) -> list[Node]:
    shared = {"store": "feature_store", "backbone": "backbone"}
    settings = {"params": "params:extraction", "run": _RUN}
    images = {"images": "data.images"}
    texts = {"captions": "data.captions", "regions": "data.regions"}
    return [
        part.node(
            features.decode_images,
            "decode_images",
            {"folder": "data.raw", **images, **shared},
            "pixels",
            ["features"],
        ),
        part.node(
            features.find_near_duplicates,
            "find_near_duplicates",
            {**images, "pixels": "pixels"},
            "near_duplicates",
            ["features", "report"],
        ),
        part.node(
            features.encode_images,
            "encode_images",
            {**images, "pixels": "pixels", **shared, **settings},
            "image_features",
            ["features", "gpu"],
        ),
        part.node(
            features.encode_texts,
            "encode_texts",
            {**texts, **shared, **settings},
            "text_features",
            ["features", "gpu"],
        ),
    ]


def _zero_shot(part: Part) -> list[Node]:
    model = {"model": _HEADS, "features": _EXTRACTION}
    return [
        part.node(
            nodes.embed_zero_shot,
            "embed_zero_shot",
            {**_DATA, **model, "params": _PREDICTION, "run": _RUN},
            list(_EMBEDS),
            ["zero_shot", "gpu"],
        ),
        part.node(
            nodes.evaluate_embeds,
            "evaluate_zero_shot",
            _EMBEDS,
            ["metrics", "ranks"],
            ["zero_shot", "eval"],
        ),
    ]


def _stage1(part: Part) -> list[Node]:
    return [
        part.node(
            nodes.train_alignment,
            "train_stage1",
            _training_inputs(),
            ["checkpoint", "history"],
            ["stage1", "train", "gpu"],
        ),
        part.node(
            nodes.embed_test,
            "embed_stage1",
            _prediction_inputs(),
            list(_MATCHED),
            ["stage1", "eval", "gpu"],
        ),
        part.node(
            nodes.evaluate_alignment,
            "evaluate_stage1",
            _MATCHED,
            ["metrics", "ranks"],
            ["stage1", "eval"],
        ),
    ]


def _stage2(part: Part) -> list[Node]:
    return [
        part.node(
            nodes.train_refinement,
            "train_stage2",
            {**_training_inputs(), "store": "feature_store", "stage1": "stage1.checkpoint"},
            ["checkpoint", "history"],
            ["stage2", "train", "gpu"],
        ),
        *_evaluation_of_all_tasks(part),
        part.node(
            nodes.merge_stage2_lora,
            "merge_stage2",
            {"backbone": "backbone", "checkpoint": "checkpoint"},
            "merged_backbone",
            ["stage2", "merge"],
        ),
        part.node(
            nodes.evaluate_robustness,
            "evaluate_robustness",
            {**_prediction_inputs(), "params": "params:robustness"},
            "robustness",
            ["stage2", "eval", "gpu"],
        ),
    ]


def _baseline(part: Part) -> list[Node]:
    return [
        part.node(
            nodes.train_single_stage,
            "train_baseline",
            {**_training_inputs(), "store": "feature_store"},
            ["checkpoint", "history"],
            ["baseline", "train", "gpu"],
        ),
        *_evaluation_of_all_tasks(part),
    ]


def _training_inputs() -> dict[str, str]:
    return {
        **_DATA,
        "states": "training_state",
        "features": _EXTRACTION,
        "model": _HEADS,
        "params": "params:train",
        "run": _RUN,
    }


def _prediction_inputs() -> dict[str, str]:
    return {**_DATA, "checkpoint": "checkpoint", "params": _PREDICTION, "run": _RUN}


def _evaluation_of_all_tasks(part: Part) -> list[Node]:
    return [
        part.node(
            nodes.predict_test_tasks,
            f"predict_{part.name}",
            _prediction_inputs(),
            list(_TASKS),
            [part.name, "eval", "gpu"],
        ),
        part.node(
            nodes.evaluate_tasks,
            f"evaluate_{part.name}",
            {**_TASKS, "regions": "data.regions"},
            ["metrics", "ranks"],
            [part.name, "eval"],
        ),
    ]
