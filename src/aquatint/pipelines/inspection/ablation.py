"""The graph that trains every enhancement on its own, on the data of the inspection recipe."""

from __future__ import annotations

import warnings
from typing import Any

import pandas as pd
from kedro.pipeline import Node, Pipeline

from aquatint.nodes.graph import Part
from aquatint.params import RunParams
from aquatint.pipelines.inspection import ingest, nodes

VARIANTS = (
    "none",
    "class_weighting",
    "condition_weighting",
    "oversampling",
    "position_encoding",
    "spatial_reasoning",
    "every",
    "shuffled_labels",  # a control: nothing of a picture can be learnt from it
)
_RECIPE, _GIVEN = "inspection_ablation", "inspection"
_TABLES = {"instances": "data.instances", "frames": "features.frames", "views": "features.views"}
_SETTINGS = {
    "classes": "data.classes",
    "params": "finetune.train",
    "decoding": "evaluation.decoding",
    "viewing": "features.views",
}


def shuffle_labels(instances: pd.DataFrame, run: RunParams) -> pd.DataFrame:
    """Exchange labels between objects of one type; what still tells them apart is no picture."""
    from aquatint.data.inspection_tables import shuffle_labels as shuffle

    return shuffle(instances, run.seed)


def compare_variants(**results: Any) -> tuple[dict[str, Any], Any]:  # noqa: ANN401
    """Table and draw what each enhancement changes, against none of them."""
    from aquatint.reports.inspection_ablation import compare_variants as compare

    metrics = {name: results[f"{name}_metrics"] for name in VARIANTS}
    predictions = {name: results[f"{name}_predictions"] for name in VARIANTS}
    return compare(metrics, predictions)


def summarise_variants(comparison: dict[str, Any]) -> str:
    """Write the table of variants as Markdown."""
    from aquatint.reports.inspection_ablation import summarise_variants as summarise

    return summarise(comparison)


def render_variants(comparison: dict[str, Any], accuracy_figure: Any) -> str:  # noqa: ANN401 - Figure
    """Put table and figure on one HTML page."""
    from aquatint.reports.inspection_ablation import render_variants as render

    return render(comparison, accuracy_figure)


def create_ablation() -> Pipeline:
    """Train, judge and table every enhancement on its own, none of them and all."""
    parts = [node for name in VARIANTS for node in _variant(Part(_RECIPE, name))]
    parts.append(
        Part(_RECIPE, "shuffled_labels").node(
            shuffle_labels,
            "shuffle_labels",
            {"instances": "data.instances", "run": "params:run"},
            "instances",
            ["ingest"],
        )
    )
    parts += _reporting(Part(_RECIPE, "reporting"))
    given = {f"{_RECIPE}.{name}": f"{_GIVEN}.{name}" for name in _TABLES.values()}
    parameters = {
        f"params:{_RECIPE}.{name}": f"params:{_GIVEN}.{name}" for name in _SETTINGS.values()
    }
    with warnings.catch_warnings():
        # Kedro warns of a dotted name outside of the node's namespace: another recipe's result.
        warnings.filterwarnings("ignore", "One or more dataset names contain", UserWarning)
        return Pipeline(parts, inputs=given, parameters=parameters)


def _variant(part: Part) -> list[Node]:
    prompting, balance = "params:prompts", "params:balance"
    settings = {name: f"params:{place}" for name, place in _SETTINGS.items()}
    data = {**_TABLES, "backbone": "qwen2_vl_backbone", "prompts": "prompts"}
    learnt = {"instances": "instances"} if part.name == "shuffled_labels" else {}
    return [
        part.node(
            ingest.write_prompts,
            f"write_prompts_{part.name}",
            {
                "instances": "data.instances",
                "classes": settings["classes"],
                "params": prompting,
            },
            "prompts",
            ["ingest"],
        ),
        part.node(
            nodes.train_finetune,
            f"train_{part.name}",
            {
                **data,
                **learnt,
                **settings,
                "states": "training_state",
                "prompting": prompting,
                "balance": balance,
                "run": "params:run",
            },
            ["checkpoint", "history"],
            ["train", "gpu"],
        ),
        part.node(
            nodes.answer_finetune,
            f"answer_{part.name}",
            {
                **data,
                "checkpoint": "checkpoint",
                "classes": settings["classes"],
                "params": settings["decoding"],
                "run": "params:run",
            },
            "predictions",
            ["eval", "gpu"],
        ),
        part.node(
            nodes.evaluate_answers,
            f"evaluate_{part.name}",
            {
                "predictions": "predictions",
                "instances": "data.instances",
                "classes": settings["classes"],
            },
            "metrics",
            ["eval"],
        ),
    ]  # fmt: skip


def _reporting(part: Part) -> list[Node]:
    results = {f"{name}_{kind}": f"{name}.{kind}" for name in VARIANTS
               for kind in ("metrics", "predictions")}  # fmt: skip
    return [
        part.node(
            compare_variants,
            "compare_variants",
            results,
            ["comparison", "accuracy_figure"],
            ["report"],
        ),
        part.node(
            summarise_variants,
            "summarise_variants",
            {"comparison": "comparison"},
            "summary",
            ["report"],
        ),
        part.node(
            render_variants,
            "render_variants",
            {"comparison": "comparison", "accuracy_figure": "accuracy_figure"},
            "report",
            ["report"],
        ),
    ]
