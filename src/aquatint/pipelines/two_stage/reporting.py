"""Nodes that compare the parts of the recipe and draw the report."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
from kedro.pipeline import Node

from aquatint.data.sources import GeoTextFolder
from aquatint.nodes.graph import Part
from aquatint.pipelines.two_stage.params import ReportParams

_PARTS = ("zero_shot", "stage1", "stage2", "baseline")
_TRAINED = ("stage1", "stage2", "baseline")
_FIGURES = ("loss", "progress", "recall", "confusion", "robustness")
_RECIPE = "two_stage"
_SHOWN = "stage2"  # whose retrievals and boxes the gallery shows


def compare_stages(
    images: pd.DataFrame,
    captions: pd.DataFrame,
    params: ReportParams,
    **results: Any,  # noqa: ANN401 - metrics, ranks, histories and checkpoints by part
) -> dict[str, Any]:
    """Put stage beside stage and beside the baseline: deltas, steps, seconds, parameters."""
    from aquatint.reports.comparison import compare_parts

    buildings = {
        **dict(zip(images["image_id"], images["building_id"], strict=True)),
        **dict(zip(captions["caption_id"], captions["building_id"], strict=True)),
    }
    return compare_parts(
        {part: results[f"{part}_metrics"] for part in _PARTS},
        {part: results[f"{part}_ranks"] for part in _PARTS},
        _trainings(results),
        buildings,
        params.target_r_mean,
        params.seed,
    )


def _trainings(results: dict[str, Any]) -> Any:  # noqa: ANN401 - Trainings, imported late
    from aquatint.reports.progress import Trainings

    return Trainings(
        {part: results[f"{part}_history"] for part in _TRAINED},
        {part: results[f"{part}_checkpoint"].lineage for part in _TRAINED},
    )


def draw_curves(params: ReportParams, **results: Any) -> tuple[Any, Any]:  # noqa: ANN401
    """Draw losses by step, and validation scores by what they cost."""
    from aquatint.reports.curves import draw_losses, draw_progress

    trainings = _trainings(results)
    return draw_losses(trainings), draw_progress(trainings, params.target_r_mean)


def draw_recalls(**metrics: dict[str, Any]) -> Any:  # noqa: ANN401 - Figure, imported late
    """Draw recall of each part with intervals and chance."""
    from aquatint.reports.figures import draw_recalls as draw

    return draw({part: metrics[f"{part}_metrics"] for part in _PARTS})


def draw_confusion(stage2_metrics: dict[str, Any]) -> Any:  # noqa: ANN401 - Figure, imported late
    """Draw which spatial relations stage 2 takes for which."""
    from aquatint.reports.figures import draw_confusion as draw

    return draw(stage2_metrics["spatial"])


def draw_robustness(robustness: pd.DataFrame, stage2_metrics: dict[str, Any]) -> Any:  # noqa: ANN401 - Figure, imported late
    """Draw stage 2's recall on corrupted images, with chance."""
    from aquatint.reports.figures import draw_robustness as draw

    return draw(robustness, stage2_metrics["text_to_image"]["chance_at_10"])


def sample_predictions(
    folder: GeoTextFolder,
    images: pd.DataFrame,
    captions: pd.DataFrame,
    params: ReportParams,
    **predictions: pd.DataFrame,
) -> str:
    """Show stage 2's retrievals and boxes for samples that nobody picked."""
    from aquatint.reports.gallery import render_gallery
    from aquatint.reports.samples import (
        ImageShelf,
        choose_boxes,
        choose_captions,
        gather_retrievals,
    )

    shelf = ImageShelf(folder.image_root, images)
    embeds = predictions["image_embeds"], predictions["text_embeds"]
    ranks = {part: predictions[f"{part}_ranks"] for part in _PARTS}
    num, seed = params.num_samples, params.seed
    chosen = choose_captions(ranks[_SHOWN], num, seed)
    retrievals = gather_retrievals(shelf, captions, embeds, ranks, chosen)
    boxes = choose_boxes(shelf, predictions["boxes"], num, seed)
    return render_gallery(retrievals, boxes, _SHOWN)


def summarise_stages(comparison: dict[str, Any]) -> str:
    """Write findings and the headline table as Markdown."""
    from aquatint.reports.retrieval_report import summarise

    return summarise(_RECIPE, comparison)


def render_report(
    comparison: dict[str, Any],
    samples: str,
    robustness: pd.DataFrame,
    ingestion_report: dict[str, Any],
    near_duplicates: dict[str, Any],
    **results: Any,  # noqa: ANN401 - metrics by part, and figures
) -> str:
    """Put everything on one HTML page that needs no network."""
    from aquatint.reports.retrieval_report import ReportInputs, render_retrieval_report

    return render_retrieval_report(
        ReportInputs(
            recipe=_RECIPE,
            comparison=comparison,
            metrics={part: results[f"{part}_metrics"] for part in _PARTS},
            figures={name: results[f"{name}_figure"] for name in _FIGURES},
            samples=samples,
            robustness=robustness,
            ingestion=ingestion_report,
            near_duplicates=near_duplicates,
        )
    )


def report_nodes(part: Part) -> list[Node]:
    """Nodes of the part ``reporting``."""
    metrics = {f"{name}_metrics": f"{name}.metrics" for name in _PARTS}
    ranks = {f"{name}_ranks": f"{name}.ranks" for name in _PARTS}
    trainings = {
        **{f"{name}_history": f"{name}.history" for name in _TRAINED},
        **{f"{name}_checkpoint": f"{name}.checkpoint" for name in _TRAINED},
    }
    tables = {"images": "data.images", "captions": "data.captions"}
    params = {"params": "params:report"}
    stage2 = {"stage2_metrics": "stage2.metrics"}
    robustness = {"robustness": "stage2.robustness"}
    predictions = {name: f"{_SHOWN}.{name}" for name in ("image_embeds", "text_embeds", "boxes")}
    page = {
        "comparison": "comparison",
        "samples": "samples",
        "ingestion_report": "data.ingestion_report",
        "near_duplicates": "features.near_duplicates",
        **{f"{name}_figure": f"{name}_figure" for name in _FIGURES},
    }
    plan: list[tuple[Callable[..., object], dict[str, str], list[str] | str]] = [
        (compare_stages, {**tables, **params, **metrics, **ranks, **trainings}, "comparison"),
        (summarise_stages, {"comparison": "comparison"}, "summary"),
        (draw_curves, {**params, **trainings}, ["loss_figure", "progress_figure"]),
        (draw_recalls, metrics, "recall_figure"),
        (draw_confusion, stage2, "confusion_figure"),
        (draw_robustness, {**robustness, **stage2}, "robustness_figure"),
        (
            sample_predictions,
            {"folder": "data.raw", **tables, **params, **ranks, **predictions},
            "samples",
        ),
        (render_report, {**page, **robustness, **metrics}, "report"),
    ]
    return [
        part.node(func, func.__name__, inputs, outputs, ["report"])
        for func, inputs, outputs in plan
    ]
