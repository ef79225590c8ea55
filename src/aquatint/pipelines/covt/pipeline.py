"""The graph of the covt recipe: one namespace for each part of the method's figure."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from aquatint.nodes.features import backbone_node
from aquatint.nodes.graph import Part
from aquatint.pipelines.covt import ingest, nodes
from aquatint.pipelines.covt.reporting import report_nodes

RUN = {"run": "params:run"}
BACKBONE = {"backbone": "covt_backbone"}
ANCHORS = {"visual_models": "params:.visual_models"}
SEEN = {"seen": "params:features.squares"}
FILES = {"files": "data.raw"}
STORE = {"store": "feature_store"}


def create_pipeline() -> Pipeline:
    """Conversations to report: data, anchors, four stages, two merges, evaluation."""
    return Pipeline(
        [
            *_data(Part("covt", "data")),
            backbone_node("covt", BACKBONE["backbone"]),
            *_features(Part("covt", "features"), Part("covt", "anchors")),
            *_text_only(Part("covt", "text_only")),
            *_stage1(Part("covt", "stage1")),
            *_stage234(Part("covt", "stage234")),
            *_evaluation(Part("covt", "evaluation")),
            *report_nodes(Part("covt", "reporting")),
        ]
    )


def _data(part: Part) -> list[Node]:
    read = {"turns": "conversations_read", "images": "images_read"}
    return [
        part.node(
            ingest.ingest_conversations,
            "ingest_conversations",
            {"files": "raw", "params": "params:ingest"},
            [*read.values(), "rejects"],
            ["ingest"],
        ),
        part.node(
            ingest.split_conversations,
            "split_conversations",
            {**read, "params": "params:split"},
            ["conversations", "images"],
            ["split"],
        ),
        part.node(
            ingest.report_conversations,
            "report_conversations",
            {"turns": "conversations", "images": "images", "rejects": "rejects"},
            "report",
            ["ingest", "report"],
        ),
    ]


def _features(features: Part, anchors: Part) -> list[Node]:
    images = {"images": "data.images", **FILES, **STORE}
    return [
        features.node(
            ingest.cache_squares,
            "cache_squares",
            {**images, "params": "params:squares"},
            "pixels",
            ["features"],
        ),
        anchors.node(
            ingest.cache_targets,
            "cache_targets",
            {
                **images,
                **ANCHORS,
                **RUN,
                "teachers": "teachers",
                "params": "params:teaching",
            },
            "targets",
            ["features", "teacher", "gpu"],
        ),
    ]


def _training(**more: str) -> dict[str, str]:
    return {
        "states": "training_state",
        "turns": "data.conversations",
        "pixels": "features.pixels",
        "params": "params:train",
        **ANCHORS,
        **SEEN,
        **RUN,
        **more,
    }


def _text_only(part: Part) -> list[Node]:
    return [
        part.node(
            nodes.train_text_only,
            "train_text_only",
            _training(**BACKBONE),
            ["checkpoint", "history"],
            ["baseline", "train", "gpu"],
        )
    ]


def _stage1(part: Part) -> list[Node]:
    return [
        part.node(
            nodes.train_understanding,
            "train_understanding",
            _training(**BACKBONE, anchors="anchors.targets"),
            ["checkpoint", "history"],
            ["stage1", "train", "gpu"],
        ),
        part.node(
            nodes.merge_stage,
            "merge_understanding",
            {**BACKBONE, **RUN, "checkpoint": "checkpoint", "params": "params:merge"},
            "merged_backbone",
            ["stage1", "merge"],
        ),
    ]


def _stage234(part: Part) -> list[Node]:
    merged = {"backbone": "stage1.merged_backbone"}
    return [
        part.node(
            nodes.train_thinking,
            "train_thinking",
            _training(**merged, anchors="anchors.targets", stage1="stage1.checkpoint"),
            ["checkpoint", "history"],
            ["stage2", "stage3", "stage4", "train", "gpu"],
        ),
        part.node(
            nodes.merge_stage,
            "merge_thinking",
            {**merged, **RUN, "checkpoint": "checkpoint", "params": "params:merge"},
            "merged_backbone",
            ["stage2", "stage3", "stage4", "merge"],
        ),
    ]


def _evaluation(part: Part) -> list[Node]:
    writing = {"params": "params:writing"}
    shown = {"turns": "data.conversations", "pixels": "features.pixels"}
    return [
        part.node(
            nodes.answer_questions,
            "answer_questions",
            {
                **shown,
                **BACKBONE,
                **ANCHORS,
                **SEEN,
                **writing,
                **RUN,
                "text_only": "text_only.checkpoint",
                "stage1": "stage1.merged_backbone",
                "stage234": "stage234.merged_backbone",
            },
            "predictions",
            ["eval", "gpu"],
        ),
        part.node(
            nodes.decode_anchors,
            "decode_anchors",
            {
                **shown,
                **writing,
                **RUN,
                "images": "data.images",
                "predictions": "predictions",
                "anchors": "anchors.targets",
                "backbone": "stage234.merged_backbone",
                "checkpoint": "stage234.checkpoint",
            },
            ["anchor_errors", "maps"],
            ["eval", "gpu"],
        ),
        part.node(
            nodes.evaluate_thoughts,
            "evaluate_thoughts",
            {
                "predictions": "predictions",
                "anchor_errors": "anchor_errors",
                "turns": "data.conversations",
                **writing,
            },
            "metrics",
            ["eval"],
        ),
    ]
