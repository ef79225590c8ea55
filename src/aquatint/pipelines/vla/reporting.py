"""Nodes that compare, draw and write the report."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
from kedro.pipeline import Node

from aquatint.nodes.graph import Part
from aquatint.pipelines.vla.params import ArchitectureParams, ReportParams
from aquatint.training.checkpoint import Checkpoint

_FIGURES = ("flights", "horizon", "dimensions", "sensor", "training")
_PARTS = {"state_only": "baseline", "stage1": "stage1", "stage2": "stage2"}


def compare_policies(
    probe: dict[str, Any],
    flights: dict[str, Any],
    report: dict[str, Any],
    latency: dict[str, Any],
    architecture: ArchitectureParams,
    **metrics: dict[str, Any],
) -> dict[str, Any]:
    """Put all policies beside each other, offline and in flight."""
    from aquatint.reports.vla_comparison import compare_vla

    named = {part: metrics[f"{part}_metrics"] for part in _PARTS}
    return compare_vla(architecture.kind, named, probe, flights, report, latency)


def summarise_policies(comparison: dict[str, Any]) -> str:
    """Write findings and the main tables as Markdown."""
    from aquatint.reports.vla_comparison import summarise_vla

    return summarise_vla(f"vla_{comparison['expert']}", comparison)


def draw_policies(flights: dict[str, Any], **results: Any) -> tuple[Any, ...]:  # noqa: ANN401
    """Draw flights, errors by step and dimension, the sensor's curves and the training."""
    from aquatint.reports import vla_figures as figures

    metrics = {part: results[f"{part}_metrics"] for part in _PARTS}
    histories = {part: results[f"{part}_history"] for part in _PARTS}
    return (
        figures.draw_flights(flights),
        figures.draw_horizon(metrics),
        figures.draw_dimensions(metrics),
        figures.draw_sensor(histories),
        figures.draw_training(histories),
    )


def picture_flights(runs: pd.DataFrame, simulator: Any, params: ReportParams) -> str:  # noqa: ANN401
    """Draw paths of expert and policies on the sites, with filmstrips."""
    from aquatint.reports.vla_flights import render_flights

    return render_flights(runs, simulator, params.num_shown, params.seed)


def render_policies(  # noqa: PLR0913 - one argument for each catalog entry
    comparison: dict[str, Any],
    samples: str,
    report: dict[str, Any],
    inspection: dict[str, Any],
    state_only: Checkpoint,
    stage1: Checkpoint,
    stage2: Checkpoint,
    **results: Any,  # noqa: ANN401 - metrics and figures
) -> str:
    """Put everything on one HTML page that needs no network."""
    from aquatint.reports.vla_page import VlaReport, render_vla_report

    checkpoints = {"state_only": state_only, "stage1": stage1, "stage2": stage2}
    return render_vla_report(
        VlaReport(
            recipe=f"vla_{comparison['expert']}",
            comparison=comparison,
            metrics={part: results[f"{part}_metrics"] for part in _PARTS},
            figures={name: results[f"{name}_figure"] for name in _FIGURES},
            samples=samples,
            report=report,
            inspection=inspection,
            lineages={part: checkpoint.lineage for part, checkpoint in checkpoints.items()},
        )
    )


def report_nodes(part: Part) -> list[Node]:
    """Nodes of the part ``reporting``."""
    metrics = {f"{name}_metrics": f"{place}.metrics" for name, place in _PARTS.items()}
    histories = {f"{name}_history": f"{place}.history" for name, place in _PARTS.items()}
    checkpoints = {name: f"{place}.checkpoint" for name, place in _PARTS.items()}
    figures = {f"{name}_figure": f"{name}_figure" for name in _FIGURES}
    flights = {"flights": "rollout.metrics"}
    comparison, report = {"comparison": "comparison"}, {"report": "data.report"}
    plan: list[tuple[Callable[..., object], dict[str, str], list[str] | str]] = [
        (
            compare_policies,
            {
                **metrics,
                **flights,
                **report,
                "probe": "stage2.probe",
                "latency": "stage2.latency",
                "architecture": "params:policy.architecture",
            },
            "comparison",
        ),
        (summarise_policies, comparison, "summary"),
        (draw_policies, {**metrics, **histories, **flights}, list(figures)),
        (
            picture_flights,
            {
                "runs": "rollout.episodes",
                "simulator": "data.simulator",
                "params": "params:report",
            },
            "samples",
        ),
        (
            render_policies,
            {
                **comparison,
                **report,
                **metrics,
                **figures,
                **checkpoints,
                "samples": "samples",
                "inspection": "stage2.inspection",
            },
            "report",
        ),
    ]
    return [
        part.node(func, f"{func.__name__}_{part.recipe}", inputs, outputs, ["report"])
        for func, inputs, outputs in plan
    ]
