"""The graph of the inspection recipe: one namespace for each part of the method's figure."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from aquatint.nodes.features import backbone_node
from aquatint.nodes.graph import Part
from aquatint.pipelines.inspection import ingest, nodes
from aquatint.pipelines.inspection.predict import predict_nodes
from aquatint.pipelines.inspection.reporting import report_nodes

RUN = "params:run"
BACKBONE = {"backbone": "qwen2_vl_backbone"}
CLASSES = {"classes": "params:data.classes"}
DECODING = "params:evaluation.decoding"
# What trainings and predictions read, by argument of nodes.bundle_inspection.
_SHOWN = {
    **BACKBONE,
    "instances": "data.instances",
    "frames": "features.frames",
    "views": "features.views",
}
DATA = {**_SHOWN, "prompts": "data.prompts"}


def create_pipeline() -> Pipeline:
    """Export to report and predictions: data, views, zero-shot, tuning, second mode."""
    return Pipeline(
        [
            *_data(Part("inspection", "data")),
            backbone_node("inspection", BACKBONE["backbone"]),
            *_features(Part("inspection", "features")),
            *_zero_shot(Part("inspection", "zero_shot")),
            *_finetune(Part("inspection", "finetune")),
            *_spatial_mlp(Part("inspection", "spatial_mlp")),
            *predict_nodes(Part("inspection", "predict")),
            *report_nodes(Part("inspection", "reporting")),
        ]
    )


def _data(part: Part) -> list[Node]:
    read = {"photos": "photos_read", "instances": "instances_read"}
    return [
        part.node(
            ingest.ingest_inspection,
            "ingest_inspection",
            {"folder": "raw", "params": "params:ingest", **CLASSES},
            [*read.values(), "rejects"],
            ["ingest"],
        ),
        part.node(
            ingest.split_photos,
            "split_photos",
            {**read, "params": "params:split"},
            list(read),
            ["split"],
        ),
        part.node(
            ingest.analyse_inspection,
            "analyse_inspection",
            {
                "folder": "raw",
                "photos": "photos",
                "instances": "instances",
                "exported": "photos_read",
            },
            "analysis",
            ["ingest", "report"],
        ),
        part.node(
            ingest.write_prompts,
            "write_prompts",
            {"instances": "instances", "params": "params:prompts", **CLASSES},
            "prompts",
            ["ingest"],
        ),
    ]


def _features(part: Part) -> list[Node]:
    style = {"params": "params:views"}
    return [
        part.node(
            ingest.frame_objects,
            "frame_objects",
            {"photos": "data.photos", "instances": "data.instances", **BACKBONE, **style},
            "frames",
            ["features"],
        ),
        part.node(
            ingest.encode_objects,
            "encode_objects",
            {
                "folder": "data.raw",
                "frames": "frames",
                "store": "feature_store",
                "run": RUN,
                **BACKBONE,
                **style,
            },
            "views",
            ["features", "gpu"],
        ),
    ]


def _zero_shot(part: Part) -> list[Node]:
    return [
        part.node(
            nodes.answer_zero_shot,
            "answer_zero_shot",
            {**DATA, **CLASSES, "params": DECODING, "run": RUN},
            "predictions",
            ["zero_shot", "gpu"],
        ),
        part.node(
            nodes.evaluate_answers,
            "evaluate_zero_shot_answers",
            {"predictions": "predictions", "instances": "data.instances", **CLASSES},
            "metrics",
            ["zero_shot", "eval"],
        ),
    ]


def _finetune(part: Part) -> list[Node]:
    answering = {**DATA, **CLASSES, "checkpoint": "checkpoint", "params": DECODING, "run": RUN}
    model = {**BACKBONE, "checkpoint": "checkpoint"}
    return [
        part.node(
            nodes.train_finetune,
            "train_finetune",
            training_inputs(),
            ["checkpoint", "history"],
            ["stage1", "train", "gpu"],
        ),
        part.node(
            nodes.answer_finetune,
            "answer_finetune",
            answering,
            "predictions",
            ["stage1", "eval", "gpu"],
        ),
        part.node(
            nodes.evaluate_answers,
            "evaluate_finetune",
            {"predictions": "predictions", "instances": "data.instances", **CLASSES},
            "metrics",
            ["stage1", "eval"],
        ),
        part.node(
            nodes.probe_image_use,
            "probe_image_use",
            answering,
            "image_use",
            ["stage1", "eval", "gpu"],
        ),
        part.node(
            nodes.merge_finetune,
            "merge_finetune",
            {**model, "run": RUN},
            "merged_backbone",
            ["stage1", "merge"],
        ),
        part.node(nodes.export_finetune, "export_finetune", model, "adapter", ["stage1", "merge"]),
    ]


def training_inputs() -> dict[str, str]:
    """Inputs of a training, by argument of ``nodes.train_finetune``."""
    return {
        **DATA,
        **CLASSES,
        "states": "training_state",
        "balance": "params:finetune.balance",
        "decoding": DECODING,
        "prompting": "params:data.prompts",
        "viewing": "params:features.views",
        "params": "params:finetune.train",
        "run": RUN,
    }


def _spatial_mlp(part: Part) -> list[Node]:
    return [
        part.node(
            nodes.train_spatial_mlp,
            "train_spatial_mlp",
            {**_SHOWN, "states": "training_state", "params": "params:train", "run": RUN},
            ["checkpoint", "history"],
            ["baseline", "train", "gpu"],
        ),
        part.node(
            nodes.predict_spatial_mlp,
            "predict_spatial_mlp",
            {**_SHOWN, "checkpoint": "checkpoint"},
            "predictions",
            ["baseline", "eval"],
        ),
        part.node(
            nodes.evaluate_spatial_mlp,
            "evaluate_spatial_mlp",
            {"predictions": "predictions", "instances": "data.instances"},
            "metrics",
            ["baseline", "eval"],
        ),
    ]
