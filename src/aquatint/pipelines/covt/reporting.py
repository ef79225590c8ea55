"""Nodes that compare, draw and write the report."""

from __future__ import annotations

from typing import Any

import pandas as pd
from kedro.pipeline import Node

from aquatint.features.cache import FeatureCache
from aquatint.nodes.graph import Part
from aquatint.pipelines.covt.params import ReportParams
from aquatint.training.checkpoint import Checkpoint

_FIGURES = ("accuracy", "kinds", "training", "anchors")
_TRAININGS = ("text_only", "stage1", "stage234")


def compare_thoughts(metrics: dict[str, Any]) -> dict[str, Any]:
    """Say in sentences what the stages, the tokens and the images were worth."""
    from aquatint.reports.covt_comparison import compare

    return compare(metrics)


def summarise_thoughts(comparison: dict[str, Any], metrics: dict[str, Any]) -> str:
    """Write findings and accuracies as Markdown."""
    from aquatint.reports.covt_comparison import summarise

    return summarise(comparison, metrics)


def draw_thoughts(
    metrics: dict[str, Any], stage1: pd.DataFrame, stage234: pd.DataFrame
) -> tuple[Any, Any, Any, Any]:
    """Draw accuracies, kinds of questions, the trainings and the anchors."""
    from aquatint.reports import covt_figures as figures

    return (
        figures.draw_accuracies(metrics),
        figures.draw_kinds(metrics),
        figures.draw_training(stage1, stage234),
        figures.draw_anchors(metrics),
    )


def show_thoughts(
    predictions: pd.DataFrame,
    turns: pd.DataFrame,
    pixels: FeatureCache,
    maps: dict[str, Any],
    params: ReportParams,
) -> str:
    """Show responses with what their anchors decode to, beside image and targets."""
    from aquatint.reports.covt_gallery import render_thoughts

    return render_thoughts(predictions, turns, pixels.open(), maps, params.num_samples)


def render_covt(  # noqa: PLR0913 - one argument for each catalog entry
    comparison: dict[str, Any],
    metrics: dict[str, Any],
    samples: str,
    data_report: dict[str, Any],
    rejects: pd.DataFrame,
    anchors: Any,  # noqa: ANN401 - AnchorTargets, whose module imports torch
    text_only: Checkpoint,
    stage1: Checkpoint,
    stage234: Checkpoint,
    **figures: Any,  # noqa: ANN401 - Figure, imported late
) -> str:
    """Put everything on one HTML page that needs no network."""
    from aquatint.reports.covt_page import CovtReport, render_report

    lineages = {
        "text_only": text_only.lineage,
        "stage1": stage1.lineage,
        "stage234": stage234.lineage,
    }
    drawn = {name: figures[f"{name}_figure"] for name in _FIGURES}
    found = CovtReport(
        comparison, metrics, drawn, samples, data_report, rejects, anchors.costs, lineages
    )
    return render_report(found)


def report_nodes(part: Part) -> list[Node]:
    """Nodes of the part ``reporting``."""
    metrics = {"metrics": "evaluation.metrics"}
    figures = {f"{name}_figure": f"{name}_figure" for name in _FIGURES}
    checkpoints = {name: f"{name}.checkpoint" for name in _TRAININGS}
    comparison = {"comparison": "comparison"}
    return [
        part.node(compare_thoughts, "compare_thoughts", metrics, "comparison", ["report"]),
        part.node(
            summarise_thoughts, "summarise_thoughts", {**comparison, **metrics}, "summary",
            ["report"],
        ),
        part.node(
            draw_thoughts,
            "draw_thoughts",
            {**metrics, "stage1": "stage1.history", "stage234": "stage234.history"},
            list(figures),
            ["report"],
        ),
        part.node(
            show_thoughts,
            "show_thoughts",
            {
                "predictions": "evaluation.predictions",
                "turns": "data.conversations",
                "pixels": "features.pixels",
                "maps": "evaluation.maps",
                "params": "params:report",
            },
            "samples",
            ["report"],
        ),
        part.node(
            render_covt,
            "render_covt",
            {
                **comparison,
                **metrics,
                **figures,
                **checkpoints,
                "samples": "samples",
                "data_report": "data.report",
                "rejects": "data.rejects",
                "anchors": "anchors.targets",
            },
            "report",
            ["report"],
        ),
    ]  # fmt: skip
