"""The graph of the dual system."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from aquatint.nodes.graph import Part
from aquatint.pipelines.dual_system import nodes

_BACKBONE = {"backbone": "navigation_backbone"}
_SYSTEM2 = {"system2": "system2.finetune.checkpoint"}
_FRAMES = {"folder": "system2.data.raw", "frames": "system2.data.frames"}
# What trainings and evaluations read, by argument of nodes.bundle_trajectories.
_DATA = {
    **_FRAMES,
    **_BACKBONE,
    **_SYSTEM2,
    "samples": "data.samples",
    "memories": "features.memories",
    "keys": "features.keys",
    "targets": "params:data.targets",
    "run": "params:run",
}
_REMEMBERED = {
    **_FRAMES,
    **_BACKBONE,
    "samples": "data.samples",
    "store": "feature_store",
    "params": "params:features.memory",
    "run": "params:run",
}
# What flights need, by argument of nodes.fly_straight; backends take off where it does.
_FLOWN = {
    "town": "system2.rollout.town",
    "samples": "data.samples",
    **_BACKBONE,
    **_SYSTEM2,
    "params": "params:rollout.loop",
    "run": "params:run",
}
# Its latents alone tell it where the goal is.
_DRIFTING = "nextdit"


def create_pipeline() -> Pipeline:
    """Dialogues of a trained System 2 to three dual systems, their drift, closed loop, report."""
    return Pipeline(
        [
            *_data(),
            *(node for name in nodes.BACKENDS for node in _backend(Part("dual_system", name))),
            *_drift(Part("dual_system", "drift")),
            *_rollout(Part("dual_system", "rollout")),
            *_reporting(Part("dual_system", "reporting")),
        ]
    )


def _data() -> list[Node]:
    return [
        Part("dual_system", "data").node(
            nodes.choose_pixel_samples,
            "choose_pixel_samples",
            {"samples": "system2.data.samples", "params": "params:share"},
            "samples",
            ["split"],
        ),
        Part("dual_system", "features").node(
            nodes.remember_dialogues,
            "remember_dialogues",
            {**_REMEMBERED, **_SYSTEM2},
            ["memories", "keys"],
            ["features", "gpu"],
        ),
    ]


def _backend(part: Part) -> list[Node]:
    return [
        part.node(
            nodes.train_system1,
            f"train_{part.name}",
            {**_DATA, "states": "training_state", "params": "params:train"},
            ["checkpoint", "history"],
            ["train", "gpu"],
        ),
        part.node(
            nodes.predict_ways,
            f"predict_{part.name}",
            {**_DATA, "checkpoint": "checkpoint", "params": "params:data.evaluation"},
            ["predictions", "losses"],
            ["eval", "gpu"],
        ),
        part.node(
            nodes.evaluate_ways,
            f"evaluate_{part.name}",
            {
                **_FRAMES,
                "samples": "data.samples",
                "predictions": "predictions",
                "losses": "losses",
                "targets": "params:data.targets",
            },
            "metrics",
            ["eval"],
        ),
        part.node(
            nodes.fly_backend,
            f"fly_{part.name}",
            {**_FLOWN, "checkpoint": "checkpoint"},
            "flights",
            ["eval", "rollout", "gpu"],
        ),
    ]


def _drift(part: Part) -> list[Node]:
    return [
        part.node(
            nodes.train_system2_further,
            "train_system2_further",
            {
                **_FRAMES,
                **_BACKBONE,
                **_SYSTEM2,
                "samples": "system2.data.samples",
                "states": "training_state",
                "params": "params:further",
                "run": "params:run",
            },
            ["checkpoint", "history"],
            ["train", "gpu"],
        ),
        part.node(
            nodes.remember_compared,
            "remember_dialogues_further",
            {**_REMEMBERED, "system2": "checkpoint", "further": "params:further"},
            "memories",
            ["features", "gpu"],
        ),
        part.node(
            nodes.measure_drift,
            "measure_drift",
            {
                **_DATA,
                "further": "checkpoint",
                "drifted": "memories",
                "dual": f"{_DRIFTING}.checkpoint",
                "params": "params:further",
            },
            "metrics",
            ["eval", "gpu"],
        ),
    ]


def _rollout(part: Part) -> list[Node]:
    return [
        part.node(
            nodes.fly_straight, "fly_straight", _FLOWN, "flights", ["eval", "rollout", "gpu"]
        ),
        part.node(
            nodes.compare_flights,
            "compare_flights",
            {"straight": "flights", **{name: f"{name}.flights" for name in nodes.BACKENDS}},
            ["episodes", "metrics"],
            ["eval", "rollout"],
        ),
    ]


def _reporting(part: Part) -> list[Node]:
    metrics = {f"{name}_metrics": f"{name}.metrics" for name in nodes.BACKENDS}
    shared = {**metrics, "rollout": "rollout.metrics", "drift": "drift.metrics"}
    return [
        part.node(
            nodes.summarise_dual_system, "summarise_dual_system", shared, "summary", ["report"]
        ),
        part.node(
            nodes.render_dual_system,
            "render_dual_system",
            {
                **shared,
                **{f"{name}_history": f"{name}.history" for name in nodes.BACKENDS},
                **{f"{name}_predictions": f"{name}.predictions" for name in nodes.BACKENDS},
                "town": "system2.rollout.town",
                "episodes": "rollout.episodes",
                "params": "params:report",
            },
            "report",
            ["report"],
        ),
    ]
