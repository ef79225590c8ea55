"""Nodes that compare, draw and write the report and the source's records."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from kedro.pipeline import Node

from aquatint.data.sources import YoloExport
from aquatint.nodes.graph import Part
from aquatint.pipelines.inspection.params import BalanceParams, PromptParams, ReportParams
from aquatint.training.checkpoint import Checkpoint

_RECIPE = "inspection"
_FIGURES = ("accuracy", "confusion", "training", "calibration")


def compare_inspection(
    zero_shot_metrics: dict[str, Any],
    finetune_metrics: dict[str, Any],
    image_use: dict[str, Any],
    second_mode: dict[str, Any],
    params: ReportParams,
    **predictions: pd.DataFrame,
) -> dict[str, Any]:
    """Put both models beside each other and beside what sees no image."""
    from aquatint.reports.inspection_comparison import compare_inspection as compare

    return compare(
        {"zero_shot": zero_shot_metrics, "finetune": finetune_metrics},
        {part: predictions[f"{part}_predictions"] for part in ("zero_shot", "finetune")},
        image_use,
        second_mode,
        {"zero_shot": params.zero_shot_target, "finetune": params.tuned_target},
    )


def summarise_inspection(comparison: dict[str, Any]) -> str:
    """Write findings and the headline table as Markdown."""
    from aquatint.reports.inspection_comparison import summarise_inspection as summarise

    return summarise(_RECIPE, comparison)


def draw_inspection(
    comparison: dict[str, Any],
    zero_shot_metrics: dict[str, Any],
    finetune_metrics: dict[str, Any],
    history: pd.DataFrame,
) -> tuple[Any, Any, Any, Any]:
    """Draw accuracies, confusions, the training and calibration."""
    from aquatint.reports import inspection_figures as figures

    metrics = {"zero_shot": zero_shot_metrics, "finetune": finetune_metrics}
    return (
        figures.draw_accuracies(comparison),
        figures.draw_confusions(metrics),
        figures.draw_training(history),
        figures.draw_calibration(metrics),
    )


def sample_inspection(
    folder: YoloExport,
    instances: pd.DataFrame,
    tuned: pd.DataFrame,
    untouched: pd.DataFrame,
    params: ReportParams,
) -> str:
    """Show crops of test objects that nobody picked, half of them named wrong."""
    from aquatint.reports import inspection_gallery as gallery

    chosen = gallery.choose_objects(tuned, params.num_samples, params.seed)
    shown = gallery.gather_objects(chosen, untouched, instances, Path(folder.root))
    note = "Test objects drawn by a fixed seed, errors first. Orange edge: named wrong."
    return gallery.render_objects("Errors and hits of the tuned model", note, shown)


def write_source_records(  # noqa: PLR0913 - one argument for each catalog entry
    predictions: pd.DataFrame,
    metrics: dict[str, Any],
    instances: pd.DataFrame,
    checkpoint: Checkpoint,
    history: pd.DataFrame,
    prompting: PromptParams,
    balance: BalanceParams,
) -> tuple[dict[str, Any], dict[str, Any], str]:
    """Write the records that the source document names: results, training info, training log."""
    from aquatint.reports import inspection_outputs as outputs

    num_val = int((instances["split"] == "val").sum())
    return (
        outputs.zeroshot_results(predictions, metrics),
        outputs.training_info(
            checkpoint.lineage, {**prompting.model_dump(), **balance.model_dump()}, num_val
        ),
        outputs.training_log(history),
    )


def render_inspection(  # noqa: PLR0913 - one argument for each catalog entry
    comparison: dict[str, Any],
    zero_shot_metrics: dict[str, Any],
    finetune_metrics: dict[str, Any],
    samples: str,
    analysis: dict[str, Any],
    rejects: pd.DataFrame,
    checkpoint: Checkpoint,
    **figures: Any,  # noqa: ANN401 - Figure, imported late
) -> str:
    """Put everything on one HTML page that needs no network."""
    from aquatint.reports.inspection_page import InspectionReport, render_inspection_report

    return render_inspection_report(
        InspectionReport(
            comparison,
            {"zero_shot": zero_shot_metrics, "finetune": finetune_metrics},
            {name: figures[f"{name}_figure"] for name in _FIGURES},
            samples,
            analysis,
            checkpoint.lineage,
            len(rejects),
        )
    )


_METRICS = {f"{name}_metrics": f"{name}.metrics" for name in ("zero_shot", "finetune")}
_FIGURE_NAMES = {f"{name}_figure": f"{name}_figure" for name in _FIGURES}
_COMPARED = {
    **_METRICS,
    "params": "params:report",
    "image_use": "finetune.image_use",
    "second_mode": "spatial_mlp.metrics",
    "zero_shot_predictions": "zero_shot.predictions",
    "finetune_predictions": "finetune.predictions",
}
_SAMPLED = {
    "folder": "data.raw",
    "instances": "data.instances",
    "tuned": "finetune.predictions",
    "untouched": "zero_shot.predictions",
    "params": "params:report",
}
_RECORDED = {
    "predictions": "zero_shot.predictions",
    "metrics": "zero_shot.metrics",
    "instances": "data.instances",
    "checkpoint": "finetune.checkpoint",
    "history": "finetune.history",
    "prompting": "params:data.prompts",
    "balance": "params:finetune.balance",
}
_RENDERED = {
    **_METRICS,
    **_FIGURE_NAMES,
    "comparison": "comparison",
    "samples": "samples",
    "analysis": "data.analysis",
    "rejects": "data.rejects",
    "checkpoint": "finetune.checkpoint",
}


def report_nodes(part: Part) -> list[Node]:
    """Nodes of the part ``reporting``."""
    drawn = {"comparison": "comparison", **_METRICS, "history": "finetune.history"}
    records = ["zeroshot_results", "training_info_enhanced", "training_log"]
    plan: list[tuple[Callable[..., object], dict[str, str], list[str] | str]] = [
        (compare_inspection, _COMPARED, "comparison"),
        (summarise_inspection, {"comparison": "comparison"}, "summary"),
        (draw_inspection, drawn, list(_FIGURE_NAMES)),
        (sample_inspection, _SAMPLED, "samples"),
        (write_source_records, _RECORDED, records),
        (render_inspection, _RENDERED, "report"),
    ]
    return [
        part.node(func, func.__name__, inputs, outputs, ["report"])
        for func, inputs, outputs in plan
    ]
