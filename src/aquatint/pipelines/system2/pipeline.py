"""The graph of System 2."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from aquatint.nodes.features import backbone_node
from aquatint.nodes.graph import Part
from aquatint.pipelines.system2 import nodes

_RUN = "params:run"
_BACKBONE = {"backbone": "navigation_backbone"}
# What training and answers read.
_DATA = {"folder": "data.raw", "frames": "data.frames", "samples": "data.samples"}


def create_pipeline() -> Pipeline:
    """Trajectories to samples, training, held-out answers, closed loop, report."""
    return Pipeline(
        [
            *_data(Part("system2", "data")),
            backbone_node("system2", _BACKBONE["backbone"]),
            *_finetune(Part("system2", "finetune")),
            _rollout(Part("system2", "rollout")),
            *_reporting(Part("system2", "reporting")),
        ]
    )


def create_training() -> Pipeline:
    """Trajectories to samples and training alone: what a dual system stands on."""
    return Pipeline(
        [
            *_data(Part("system2", "data")),
            backbone_node("system2", _BACKBONE["backbone"]),
            _finetune(Part("system2", "finetune"))[0],
        ]
    )


def _data(part: Part) -> list[Node]:
    tables = {"flights": "flights", "frames": "frames"}
    return [
        part.node(
            nodes.read_sets,
            "read_sets",
            {"folder": "raw", "params": "params:reading"},
            ["flights", "frames", "rejects"],
            ["ingest"],
        ),
        part.node(
            nodes.find_goals,
            "find_goals",
            {**tables, "folder": "raw", "reading": "params:reading", "params": "params:goals"},
            "goals",
            ["ingest"],
        ),
        part.node(
            nodes.build_samples,
            "build_samples",
            {
                **tables,
                "goals": "goals",
                "rejects": "rejects",
                "reading": "params:reading",
                "params": "params:sampling",
            },
            ["samples", "report"],
            ["split"],
        ),
    ]


def _finetune(part: Part) -> list[Node]:
    return [
        part.node(
            nodes.train_system2,
            "train_system2",
            {
                **_DATA,
                **_BACKBONE,
                "states": "training_state",
                "sampling": "params:data.sampling",
                "params": "params:train",
                "run": _RUN,
            },
            ["checkpoint", "history"],
            ["train", "gpu"],
        ),
        part.node(
            nodes.answer_samples,
            "answer_samples",
            {
                **_DATA,
                **_BACKBONE,
                "checkpoint": "checkpoint",
                "params": "params:evaluation",
                "run": _RUN,
            },
            "predictions",
            ["eval", "gpu"],
        ),
        part.node(
            nodes.evaluate_system2,
            "evaluate_system2",
            {"predictions": "predictions", "samples": "data.samples"},
            "metrics",
            ["eval"],
        ),
    ]


def _rollout(part: Part) -> Node:
    return part.node(
        nodes.fly_system2,
        "fly_system2",
        {
            "town": "town",
            "samples": "data.samples",
            **_BACKBONE,
            "checkpoint": "finetune.checkpoint",
            "params": "params:loop",
            "run": _RUN,
        },
        ["episodes", "metrics"],
        ["eval", "rollout", "gpu"],
    )


def _reporting(part: Part) -> list[Node]:
    results = {"metrics": "finetune.metrics", "rollout": "rollout.metrics"}
    return [
        part.node(nodes.summarise_system2, "summarise_system2", results, "summary", ["report"]),
        part.node(
            nodes.render_system2,
            "render_system2",
            {
                **results,
                "town": "rollout.town",
                "folder": "data.raw",
                "frames": "data.frames",
                "counts": "data.report",
                "predictions": "finetune.predictions",
                "history": "finetune.history",
                "episodes": "rollout.episodes",
                "params": "params:report",
            },
            "report",
            ["report"],
        ),
    ]
