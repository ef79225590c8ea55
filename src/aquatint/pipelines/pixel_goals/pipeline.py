"""The graph that labels trajectories with pixel goals."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from aquatint.nodes.graph import Part
from aquatint.pipelines.pixel_goals import nodes


def create_pipeline() -> Pipeline:
    """Trajectories to goals, labelled files, counts and a page of pictures."""
    return Pipeline(
        [*_data(Part("pixel_goals", "data")), _report(Part("pixel_goals", "reporting"))]
    )


def _data(part: Part) -> list[Node]:
    reading = "params:reading"
    return [
        part.node(
            nodes.read_flights,
            "read_flights",
            {"folder": "raw", "params": reading},
            ["flights", "frames", "rejects"],
            ["ingest"],
        ),
        part.node(
            nodes.label_goals,
            "label_goals",
            {
                "folder": "raw",
                "frames": "frames",
                "reading": reading,
                "params": "params:labelling",
            },
            "goals",
            ["ingest"],
        ),
        part.node(
            nodes.export_goals,
            "export_goals",
            {"folder": "raw", "goals": "goals", "params": reading},
            "labelled",
            ["ingest"],
        ),
        part.node(
            nodes.count_goals,
            "count_goals",
            {name: name for name in ("flights", "frames", "goals", "rejects")},
            "report",
            ["ingest", "report"],
        ),
    ]


def _report(part: Part) -> Node:
    tables = {name: f"data.{name}" for name in ("flights", "frames", "goals")}
    return part.node(
        nodes.render_goals,
        "render_goals",
        {
            **tables,
            "folder": "data.raw",
            "counts": "data.report",
            "labelling": "params:data.labelling",
            "reading": "params:data.reading",
            "params": "params:report",
        },
        "report",
        ["report"],
    )
