"""Sections behind the inspection report's results, and the page of predictions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from aquatint.reports.blocks import (
    Block,
    Cell,
    Code,
    Findings,
    Fold,
    Gallery,
    Row,
    Section,
    Table,
    Text,
)
from aquatint.reports.inspection_comparison import BASELINE_LABELS
from aquatint.reports.inspection_gallery import render_photos
from aquatint.reports.page import render_page
from aquatint.reports.wording import (
    NOTHING,
    format_count,
    format_interval,
    format_percent,
    format_seconds,
    format_value,
)


def accuracy_cell(values: dict[str, Any]) -> Cell:
    """An accuracy with its interval and n."""
    note = f"{format_interval(values['accuracy_interval'])}, n = {values['n']}"
    return Cell(format_percent(values["accuracy"]), note)


def second_mode_section(comparison: dict[str, Any]) -> Section:
    """What frozen features, type and place reach on the easier question."""
    found = comparison["second_mode"]
    rows = [
        Row(BASELINE_LABELS[name], [accuracy_cell(values)])
        for name, values in found["baselines"].items()
    ]
    rows.append(Row("features, type and nine spatial numbers", [accuracy_cell(found)]))
    text = (
        f"A small network on the frozen tower's features answers {' or '.join(found['answers'])}: "
        "an easier question, with baselines of its own. Calibration error "
        f"{format_value(found['expected_calibration_error'], is_share=False)}, Brier error "
        f"{format_value(found['brier_error'], is_share=False)}, ROC area of faulty "
        f"{format_value(found['faulty_roc_area'], is_share=False)}."
    )
    return Section("second", "Second mode", [Text(text), Table(["test split", "accuracy"], rows)])


def data_section(analysis: dict[str, Any], num_rejects: int) -> Section:
    """What the data set holds, and what is wrong with it."""
    found = analysis
    rows = [
        Row(
            name,
            [Cell(format_count(counts.get(key, 0))) for key in ("all", "train", "val", "test")],
        )
        for name, counts in found["counts"]["class"].items()
    ]
    overlap = found["split_overlap"]
    sentences: list[Any] = [
        (
            "worse" if overlap["as_exported"] else "",
            f"{len(overlap['as_exported'])} source photographs stand in several splits of the "
            f"export, {len(overlap['in_use'])} in the splits in use.",
        ),
        ("", f"{found['near_duplicates']['num_pairs_across_splits']} pairs of pictures of "
             "different photographs in two splits look alike."),
        ("", f"{num_rejects} label lines or images were refused; "
             f"{found['n']['images_without_objects']} images have no object and are kept."),
        ("", f"{found['relations']['num_pairs']} pairs of objects share an image."),
    ]  # fmt: skip
    return Section(
        "data",
        "Data",
        [
            Findings(sentences),
            Table(["class", "all", "train", "val", "test"], rows),
            Fold("The whole analysis", [Code(json.dumps(found, indent=1))]),
        ],
    )


def lineage_section(lineage: dict[str, Any]) -> Section:
    """Where the checkpoint comes from, and how to go on."""
    efficiency = lineage["efficiency"]
    rows = [
        Row("version", [Cell(str(lineage.get("version") or NOTHING))]),
        Row("backbone", [Cell(lineage["backbone"]["name"], lineage["backbone"]["digest"][:12])]),
        Row("trained", [Cell(f"{format_count(efficiency['num_trainable_parameters'])} of "
                             f"{format_count(efficiency['num_parameters'])} parameters")]),
        Row("steps", [Cell(format_count(efficiency["num_steps"]))]),
        Row("time", [Cell(format_seconds(efficiency["train_seconds"]))]),
    ]  # fmt: skip
    keys = ("plan", "run", "environment")
    record = json.dumps({key: lineage.get(key) for key in keys}, indent=1, sort_keys=True)
    commands = "\n".join(
        (
            "kedro run --pipeline=inspection --tags=train,eval,report   # train and judge again",
            "kedro run --pipeline=inspection --namespaces=inspection.predict   # new photographs",
            "kedro run --pipeline=inspection_ablation   # every enhancement on its own",
            "kedro lineage --pipeline=inspection inspection.finetune.checkpoint",
        )
    )
    blocks: list[Block] = [
        Table(["", "finetune"], rows),
        Code(commands, "To go on:"),
        Fold("Plan, run and environment", [Code(record)]),
    ]
    return Section("lineage", "Lineage", blocks)


def render_prediction_page(
    image_root: Path,
    photos: pd.DataFrame,
    predictions: pd.DataFrame,
    metrics: dict[str, Any],
    num_shown: int,
) -> str:
    """Return a page with photographs, boxes, crops and what was named.

    Args:
        image_root: Folder of the photographs.
        photos: Photographs.
        predictions: Table of ``predict_detections``.
        metrics: What ``evaluate_detections`` returns.
        num_shown: Most photographs.
    """
    blocks: list[Block] = []
    if metrics.get("num_annotated"):
        shown = (("detector's recall", metrics["detection"]["recall"]),
                 ("detector's precision", metrics["detection"]["precision"]),
                 ("right class of a found object", metrics["matched"]),
                 ("found and named right", metrics["end_to_end"]))  # fmt: skip
        rows = [
            Row(label, [Cell(format_percent(v["value"]), f"{format_interval(v['interval'])}, "
                             f"n = {v['n']}")])
            for label, v in shown
        ]  # fmt: skip
        blocks.append(Table(["against the annotations", ""], rows))
    blocks.append(Gallery(render_photos(image_root, photos, predictions, num_shown)))
    lead = (
        f"{len(predictions)} detected objects in {len(photos)} photographs; the first "
        f"{min(num_shown, len(photos))} are shown. Green: normal, orange: damaged, pink: blocked."
    )
    return render_page("inspection: predictions", lead, [Section("photos", "Photographs", blocks)])
