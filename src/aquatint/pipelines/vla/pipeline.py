"""The graph of the vision-language-action recipes: one sub-graph under two names."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from aquatint.nodes.features import backbone_node
from aquatint.nodes.graph import Part
from aquatint.pipelines.vla import ingest, nodes
from aquatint.pipelines.vla.reporting import report_nodes

RUN, BACKBONE = "params:run", {"backbone": "vla_backbone"}
_STAGE1 = {"stage1": "stage1.checkpoint"}
_VIEWS = {"viewing": "params:features.encoding"}
_PREDICTION = {"params": "params:evaluation.prediction", "run": RUN}
RECORDINGS = {"recordings": "data.raw", "episodes": "data.episodes"}
ALIGNMENT = {"alignment": "params:data.alignment"}
# What trainings and predictions read, by argument of nodes.bundle_vla.
DATA = {
    **BACKBONE,
    "episodes": "data.episodes",
    "frames": "features.frames",
    "prompts": "features.prompts",
    "windows": "data.windows",
    "normaliser": "data.normaliser",
    "viewing": "params:features.encoding",
    "architecture": "params:policy.architecture",
    "sampling": "params:policy.samples",
}


def create_pipeline(recipe: str) -> Pipeline:
    """Recordings to report: data, features, state-only baseline, two stages, closed loop.

    Args:
        recipe: ``vla_regression`` or ``vla_diffusion``, the outer namespace; which expert it has
            stands in its parameters.
    """
    return Pipeline(
        [
            *_data(Part(recipe, "data")),
            backbone_node(recipe, BACKBONE["backbone"]),
            *_features(Part(recipe, "features")),
            *_baseline(Part(recipe, "baseline")),
            *_stage1(Part(recipe, "stage1")),
            *_stage2(Part(recipe, "stage2")),
            *_rollout(Part(recipe, "rollout")),
            *report_nodes(Part(recipe, "reporting")),
        ]
    )


def _named(part: Part, verb: str) -> str:
    return f"{verb}_{part.recipe}"


def _data(part: Part) -> list[Node]:
    return [
        part.node(
            ingest.ingest_recordings,
            _named(part, "ingest"),
            {"recordings": "raw", "params": "params:ingest", **ALIGNMENT},
            ["steps_read", "alignment", "rejects"],
            ["ingest"],
        ),
        part.node(
            ingest.split_recordings,
            _named(part, "split"),
            {
                "steps": "steps_read",
                "alignment": "alignment",
                "rejects": "rejects",
                "params": "params:split",
            },
            ["episodes", "report"],
            ["split"],
        ),
        part.node(
            ingest.cache_sensor_windows,
            _named(part, "cache_windows"),
            {"recordings": "raw", "episodes": "episodes", **ALIGNMENT, "store": "feature_store"},
            "windows",
            ["features"],
        ),
        part.node(
            ingest.fit_normaliser,
            _named(part, "fit_normaliser"),
            {
                "episodes": "episodes",
                "windows": "windows",
                "params": "params:normaliser",
            },
            "normaliser",
            ["features"],
        ),
        part.node(
            ingest.export_lerobot,
            _named(part, "export_lerobot"),
            {**RECORDINGS, **ALIGNMENT, "params": "params:export"},
            "lerobot",
            ["split"],
        ),
    ]


def _features(part: Part) -> list[Node]:
    seen = {**BACKBONE, "store": "feature_store", "params": "params:encoding", "run": RUN}
    return [
        part.node(
            ingest.encode_frames,
            _named(part, "encode_frames"),
            {**RECORDINGS, **seen},
            "frames",
            ["features", "gpu"],
        ),
        part.node(
            ingest.encode_prompts,
            _named(part, "encode_prompts"),
            {"episodes": "data.episodes", "frames": "frames", **seen},
            "prompts",
            ["features", "gpu"],
        ),
    ]


def _evaluation(part: Part, name: str, tags: list[str]) -> list[Node]:
    return [
        part.node(
            nodes.predict_policy,
            _named(part, f"predict_{name}"),
            {
                **DATA,
                "checkpoint": "checkpoint",
                "params": "params:evaluation.prediction",
                "run": RUN,
            },
            "predictions",
            [*tags, "eval", "gpu"],
        ),
        part.node(
            nodes.evaluate_policy,
            _named(part, f"evaluate_{name}"),
            {
                "predictions": "predictions",
                "episodes": "data.episodes",
                "normaliser": "data.normaliser",
            },
            "metrics",
            [*tags, "eval"],
        ),
    ]


def _training(part: Part, further: dict[str, str]) -> dict[str, str]:
    settings = {"states": "training_state", "params": "params:train", "run": RUN}
    return {**DATA, **settings, **further}


def _baseline(part: Part) -> list[Node]:
    return [
        part.node(
            nodes.train_state_only,
            _named(part, "train_state_only"),
            _training(part, {}),
            ["checkpoint", "history"],
            ["baseline", "train", "gpu"],
        ),
        *_evaluation(part, "state_only", ["baseline"]),
    ]


def _stage1(part: Part) -> list[Node]:
    return [
        part.node(
            nodes.train_stage1,
            _named(part, "train_stage1"),
            _training(part, {}),
            ["checkpoint", "history"],
            ["stage1", "train", "gpu"],
        ),
        *_evaluation(part, "stage1", ["stage1"]),
    ]


def _stage2(part: Part) -> list[Node]:
    return [
        part.node(
            nodes.check_handover,
            _named(part, "check_handover"),
            {
                **_STAGE1,
                **BACKBONE,
                **_VIEWS,
                "episodes": "data.episodes",
                "normaliser": "data.normaliser",
                "architecture": "params:policy.architecture",
            },
            "handover",
            ["stage2"],
        ),
        part.node(
            nodes.train_stage2,
            _named(part, "train_stage2"),
            _training(part, {**_STAGE1, "handover": "handover"}),
            ["checkpoint", "history"],
            ["stage2", "train", "gpu"],
        ),
        *_evaluation(part, "stage2", ["stage2"]),
        part.node(
            nodes.probe_policy,
            _named(part, "probe"),
            {**DATA, "checkpoint": "checkpoint", **_PREDICTION},
            "probe",
            ["stage2", "eval", "gpu"],
        ),
        *_leaving(part),
    ]


def _leaving(part: Part) -> list[Node]:
    """What leaves the project: merged backbone, policy, the source's own checkpoints."""
    return [
        part.node(
            nodes.merge_policy,
            _named(part, "merge_stage2"),
            {**BACKBONE, "checkpoint": "checkpoint", "run": RUN},
            "merged_backbone",
            ["stage2", "merge"],
        ),
        part.node(
            nodes.export_policy,
            _named(part, "export_policy"),
            {
                "checkpoint": "checkpoint",
                "merged": "merged_backbone",
                "episodes": "data.episodes",
                **_VIEWS,
                "params": "params:rollout.flights",
            },
            "policy",
            ["stage2", "merge"],
        ),
        part.node(
            nodes.measure_policy,
            _named(part, "measure_policy"),
            {"policy": "policy", **RECORDINGS, **_PREDICTION},
            "latency",
            ["stage2", "eval", "gpu"],
        ),
        part.node(
            nodes.write_checkpoints,
            _named(part, "write_checkpoints"),
            {
                **_STAGE1,
                "stage1_history": "stage1.history",
                "stage2": "checkpoint",
                "stage2_history": "history",
            },
            ["stage1_source_checkpoint", "stage2_source_checkpoint", "inspection"],
            ["stage2", "merge"],
        ),
    ]


def _rollout(part: Part) -> list[Node]:
    return [
        part.node(
            nodes.fly_policies,
            _named(part, "fly"),
            {
                **BACKBONE,
                "simulator": "data.simulator",
                "state_only": "baseline.checkpoint",
                "stage1": "stage1.checkpoint",
                "stage2": "stage2.checkpoint",
                "viewing": "params:features.encoding",
                "params": "params:flights",
                "run": RUN,
            },
            "episodes",
            ["eval", "rollout", "gpu"],
        ),
        part.node(
            nodes.evaluate_flights,
            _named(part, "evaluate_flights"),
            {"runs": "episodes"},
            "metrics",
            ["eval", "rollout"],
        ),
    ]
