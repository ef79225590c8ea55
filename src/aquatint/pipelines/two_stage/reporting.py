"""Nodes that compare the parts of the recipe and draw the report."""

from __future__ import annotations

from typing import Any

import pandas as pd
from kedro.pipeline import Node

from aquatint.nodes.graph import Part
from aquatint.pipelines.two_stage.params import ReportParams

_PARTS = ("zero_shot", "stage1", "stage2", "baseline")
_TRAINED = ("stage1", "stage2", "baseline")


def compare_stages(
    images: pd.DataFrame,
    captions: pd.DataFrame,
    params: ReportParams,
    **results: Any,  # noqa: ANN401 - metrics, ranks, histories and checkpoints by part
) -> dict[str, Any]:
    """Put stage beside stage and beside the baseline: deltas, steps, seconds, parameters."""
    from aquatint.reports.comparison import compare_parts

    names = pd.concat([images.set_index("image_id"), captions.set_index("caption_id")])
    return compare_parts(
        {part: results[f"{part}_metrics"] for part in _PARTS},
        {part: results[f"{part}_ranks"] for part in _PARTS},
        _trainings(results),
        names["building_id"].to_dict(),
        params.target_r_mean,
        params.seed,
    )


def _trainings(results: dict[str, Any]) -> Any:  # noqa: ANN401 - Trainings, imported late
    from aquatint.reports.progress import Trainings

    return Trainings(
        {part: results[f"{part}_history"] for part in _TRAINED},
        {part: results[f"{part}_checkpoint"].lineage for part in _TRAINED},
    )


def report_nodes(part: Part) -> list[Node]:
    """Nodes of the part ``reporting``."""
    metrics = {f"{name}_metrics": f"{name}.metrics" for name in _PARTS}
    ranks = {f"{name}_ranks": f"{name}.ranks" for name in _PARTS}
    histories = {f"{name}_history": f"{name}.history" for name in _TRAINED}
    checkpoints = {f"{name}_checkpoint": f"{name}.checkpoint" for name in _TRAINED}
    return [
        part.node(
            compare_stages,
            "compare_stages",
            {
                "images": "data.images",
                "captions": "data.captions",
                "params": "params:report",
                **metrics,
                **ranks,
                **histories,
                **checkpoints,
            },
            "comparison",
            ["report"],
        ),
    ]
