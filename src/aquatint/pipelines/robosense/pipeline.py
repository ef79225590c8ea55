"""The graph of the RoboSense recipe; it begins where two_stage's second stage ends."""

from __future__ import annotations

import warnings

from kedro.pipeline import Node, Pipeline

from aquatint.nodes.features import decode_images
from aquatint.nodes.graph import Part
from aquatint.pipelines.robosense import nodes

_RUN = "params:run"
# By its name in this recipe, and what it is: the end of another one.
_CHECKPOINT, _GIVEN = "given.checkpoint", "two_stage.stage2.checkpoint"
_TABLES = {"queries": "data.queries", "gallery": "data.gallery"}
_CACHES = {name: f"features.{name}" for name in ("image_features", "text_features", "pixels")}
_MODEL = {"backbone": "backbone", "checkpoint": _CHECKPOINT}


def create_pipeline() -> Pipeline:
    """Challenge folder and checkpoint to a checked submission."""
    parts = [
        *_data(Part("robosense", "data")),
        *_features(Part("robosense", "features")),
        *_submission(Part("robosense", "submission")),
    ]
    with warnings.catch_warnings():
        # Kedro warns of a dotted name outside of the node's namespace: another recipe's result.
        warnings.filterwarnings("ignore", "One or more dataset names contain", UserWarning)
        return Pipeline(parts, inputs={f"robosense.{_CHECKPOINT}": _GIVEN})


def _data(part: Part) -> list[Node]:
    return [
        part.node(
            nodes.read_challenge,
            "read_challenge",
            {"folder": "raw", "params": "params:read"},
            ["queries", "gallery"],
            ["ingest"],
        )
    ]


def _features(part: Part) -> list[Node]:
    store, settings = {"store": "feature_store"}, {"params": "params:extraction", "run": _RUN}
    return [
        part.node(
            decode_images,
            "decode_gallery",
            {"folder": "data.raw", "images": "data.gallery", "backbone": "backbone", **store},
            "pixels",
            ["features"],
        ),
        part.node(
            nodes.encode_gallery,
            "encode_gallery",
            {"gallery": "data.gallery", "pixels": "pixels", **_MODEL, **store, **settings},
            "image_features",
            ["features", "gpu"],
        ),
        part.node(
            nodes.encode_queries,
            "encode_queries",
            {"queries": "data.queries", **_MODEL, **store, **settings},
            "text_features",
            ["features", "gpu"],
        ),
    ]


def _submission(part: Part) -> list[Node]:
    embeds = ["image_embeds", "text_embeds"]
    return [
        part.node(
            nodes.embed_challenge,
            "embed_challenge",
            {**_MODEL, **_TABLES, **_CACHES, "params": "params:embedding", "run": _RUN},
            embeds,
            ["eval", "gpu"],
        ),
        part.node(
            nodes.write_submission,
            "write_submission",
            {name: name for name in embeds},
            "submission",
            ["eval", "report"],
        ),
        part.node(
            nodes.check_submission,
            "check_submission",
            {"submission": "submission", **_TABLES},
            "validation",
            ["eval", "report"],
        ),
    ]
