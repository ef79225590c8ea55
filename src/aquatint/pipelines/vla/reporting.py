"""Nodes that compare, draw and write the report."""

from __future__ import annotations

from kedro.pipeline import Node

from aquatint.nodes.graph import Part


def report_nodes(part: Part) -> list[Node]:
    """Nodes of the part ``reporting``."""
    return []
