"""The graph of the imitation recipe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kedro.pipeline import Node, Pipeline

from aquatint.nodes.features import backbone_node
from aquatint.nodes.graph import Part
from aquatint.pipelines.cma import nodes

_RUN, _SIGHT = "params:run", "params:features.sight"
_BACKBONE = {"backbone": "qwen2_vl_backbone"}
# What trainings and evaluations read, by argument of nodes.bundle_flights.
_DATA = {
    "records": "data.records",
    "steps": "data.steps",
    "instructions": "data.instructions",
    "pictures": "features.pictures",
    "depth": "features.depth",
    "recordings": "data.raw",
}


# What trains each policy, lets it follow held-out flights, and judges it.
_FUNCTIONS: dict[str, tuple[Callable[..., Any], ...]] = {
    "cma": (nodes.train_cma, nodes.follow_flights, nodes.evaluate_steps),
    "seq2seq": (nodes.train_seq2seq, nodes.follow_flights, nodes.evaluate_steps),
    "rdp": (nodes.train_rdp, nodes.follow_rdp, nodes.evaluate_chunks),
}


def create_pipeline() -> Pipeline:
    """Recordings to features, three policies, their evaluation step by step and in closed loop."""
    return Pipeline(
        [
            *_data(Part("cma", "data")),
            backbone_node("cma", _BACKBONE["backbone"]),
            *_features(Part("cma", "features")),
            *_policy(Part("cma", "cma")),
            *_policy(Part("cma", "seq2seq")),
            *_policy(Part("cma", "rdp")),
            _rollout(Part("cma", "rollout")),
            *_reporting(Part("cma", "reporting")),
        ]
    )


def _data(part: Part) -> list[Node]:
    outputs = ["records", "steps", "instructions", "rejects", "report"]
    return [
        part.node(
            nodes.read_recordings,
            "read_recordings",
            {"recordings": "raw", "params": "params:reading"},
            outputs,
            ["ingest"],
        )
    ]


def _features(part: Part) -> list[Node]:
    given = {"recordings": "data.raw", "records": "data.records", "store": "feature_store"}
    return [
        part.node(
            nodes.encode_pictures,
            "encode_pictures",
            {**given, **_BACKBONE, "params": "params:sight", "run": _RUN},
            "pictures",
            ["features", "gpu"],
        ),
        part.node(
            nodes.reduce_depth,
            "reduce_depth",
            {**given, "params": "params:sight"},
            "depth",
            ["features"],
        ),
    ]


def _policy(part: Part) -> list[Node]:
    train, follow, evaluate = _FUNCTIONS[part.name]
    settings = {"params": "params:train", "run": _RUN}
    return [
        part.node(
            train,
            f"train_{part.name}",
            {**_DATA, **_BACKBONE, **settings, "states": "training_state"},
            ["checkpoint", "history"],
            ["train", "gpu"],
        ),
        part.node(
            follow,
            f"follow_{part.name}",
            {**_DATA, **settings, "checkpoint": "checkpoint"},
            "predictions",
            ["eval", "gpu"],
        ),
        part.node(
            evaluate,
            f"evaluate_{part.name}",
            {"predictions": "predictions"},
            "metrics",
            ["eval"],
        ),
    ]


def _rollout(part: Part) -> Node:
    return part.node(
        nodes.roll_out_policies,
        "roll_out_policies",
        {
            "town": "town",
            **_BACKBONE,
            "cma": "cma.checkpoint",
            "seq2seq": "seq2seq.checkpoint",
            "rdp": "rdp.checkpoint",
            "sight": _SIGHT,
            "params": "params:loop",
            "run": _RUN,
        },
        ["episodes", "metrics"],
        ["eval", "rollout", "gpu"],
    )


def _reporting(part: Part) -> list[Node]:
    metrics = {f"{name}_metrics": f"{name}.metrics" for name in nodes.POLICIES}
    rollout = {"rollout": "rollout.metrics"}
    return [
        part.node(
            nodes.summarise_imitation,
            "summarise_imitation",
            {**metrics, **rollout},
            "summary",
            ["report"],
        ),
        part.node(
            nodes.render_imitation,
            "render_imitation",
            {
                **metrics,
                **{f"{name}_history": f"{name}.history" for name in nodes.POLICIES},
                **rollout,
                "town": "rollout.town",
                "counts": "data.report",
                "episodes": "rollout.episodes",
                "params": "params:report",
            },
            "report",
            ["report"],
        ),
    ]
