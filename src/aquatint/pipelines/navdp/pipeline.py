"""The graph of the NavDP recipe."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from aquatint.nodes.graph import Part
from aquatint.pipelines.navdp import nodes

_RUN, _SIGHT, _READING = "params:run", "params:features.sight", "params:data.reading"
_ENCODER = {"encoder": "data.rgb_encoder"}
# What training and evaluation read, by argument of nodes.bundle_paths.
_DATA = {
    "paths": "data.paths",
    "frames": "data.frames",
    "obstacles": "data.obstacles",
    "rgb": "features.rgb",
    "depth": "features.depth",
    "pictures": "features.pictures",
}


def create_pipeline() -> Pipeline:
    """Recordings to features, a policy, its evaluation on frames and in closed loop, a report."""
    return Pipeline(
        [
            *_data(Part("navdp", "data")),
            *_features(Part("navdp", "features")),
            *_train(Part("navdp", "train")),
            _rollout(Part("navdp", "rollout")),
            *_reporting(Part("navdp", "reporting")),
        ]
    )


def _data(part: Part) -> list[Node]:
    return [
        part.node(
            nodes.read_path_recordings,
            "read_path_recordings",
            {"recordings": "raw", "params": "params:reading"},
            ["paths", "frames", "obstacles", "rejects", "report"],
            ["ingest"],
        )
    ]


def _features(part: Part) -> list[Node]:
    given = {"recordings": "data.raw", "frames": "data.frames", "store": "feature_store"}
    settings = {"params": "params:sight", "reading": _READING}
    return [
        part.node(
            nodes.encode_rgb,
            "encode_rgb",
            {**given, **_ENCODER, **settings, "run": _RUN},
            "rgb",
            ["features", "gpu"],
        ),
        part.node(nodes.fit_depth, "fit_depth", {**given, **settings}, "depth", ["features"]),
        part.node(
            nodes.shrink_pictures, "shrink_pictures", {**given, **settings}, "pictures",
            ["features"],
        ),
    ]  # fmt: skip


def _train(part: Part) -> list[Node]:
    return [
        part.node(
            nodes.train_navdp,
            "train_navdp",
            {
                **_DATA, **_ENCODER, "params": "params:policy", "run": _RUN,
                "states": "training_state",
            },
            ["checkpoint", "history"],
            ["train", "gpu"],
        ),
        part.node(
            nodes.sample_trajectories,
            "sample_trajectories",
            {**_DATA, "checkpoint": "checkpoint", "params": "params:fans", "run": _RUN},
            "predictions",
            ["eval", "gpu"],
        ),
        part.node(
            nodes.evaluate_trajectories,
            "evaluate_trajectories",
            {"predictions": "predictions"},
            "metrics",
            ["eval"],
        ),
    ]  # fmt: skip


def _rollout(part: Part) -> Node:
    return part.node(
        nodes.fly_planners,
        "fly_planners",
        {
            "town": "town",
            **_ENCODER,
            "checkpoint": "train.checkpoint",
            "sight": _SIGHT,
            "reading": _READING,
            "params": "params:loop",
            "run": _RUN,
        },
        ["episodes", "metrics"],
        ["eval", "rollout", "gpu"],
    )


def _reporting(part: Part) -> list[Node]:
    given = {"metrics": "train.metrics", "rollout": "rollout.metrics"}
    return [
        part.node(nodes.summarise_navdp, "summarise_navdp", given, "summary", ["report"]),
        part.node(
            nodes.render_navdp,
            "render_navdp",
            {
                **given,
                "town": "rollout.town",
                "counts": "data.report",
                "history": "train.history",
                "predictions": "train.predictions",
                "obstacles": "data.obstacles",
                "episodes": "rollout.episodes",
                "params": "params:report",
            },
            "report",
            ["report"],
        ),
    ]
