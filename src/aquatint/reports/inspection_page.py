"""The inspection report as one HTML file that needs no network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from aquatint.reports.blocks import (
    Block,
    Cell,
    Chart,
    Findings,
    Fold,
    Gallery,
    Row,
    Section,
    Table,
    Text,
    Tiles,
)
from aquatint.reports.inspection_background import (
    accuracy_cell,
    data_section,
    lineage_section,
    second_mode_section,
)
from aquatint.reports.inspection_comparison import BASELINE_LABELS, PART_WORDS
from aquatint.reports.inspection_figures import COLORS
from aquatint.reports.page import render_page
from aquatint.reports.wording import (
    format_count,
    format_interval,
    format_milliseconds,
    format_percent,
    format_value,
)

_NOTES = {
    "accuracy": "Test split. Grey: no picture of the object was seen. Whiskers: 95 % intervals "
    "that take photographs as the unit of chance, Wilson's for baselines.",
    "confusion": "Rows: annotated class with its number of test objects; columns: named class.",
    "training": "Thin: single steps; thick: running mean. Validation once an epoch, by scoring "
    "every allowed answer.",
    "calibration": "Dotted: a model that is right as often as it says. Larger dots: more objects.",
}


@dataclass(frozen=True)
class InspectionReport:
    """All that the report shows.

    Attributes:
        comparison: What ``compare_inspection`` returns.
        metrics: Metrics of both models.
        figures: ``accuracy``, ``confusion``, ``training``, ``calibration``.
        samples: HTML of the gallery.
        analysis: Analysis of the data set.
        lineage: Lineage of the tuned checkpoint.
        num_rejects: Label lines and images that were refused.
    """

    comparison: dict[str, Any]
    metrics: dict[str, dict[str, Any]]
    figures: dict[str, go.Figure]
    samples: str
    analysis: dict[str, Any]
    lineage: dict[str, Any]
    num_rejects: int


def render_inspection_report(report: InspectionReport) -> str:
    """Return the report as one HTML page."""
    charts = {name: Chart(name, figure, _NOTES[name]) for name, figure in report.figures.items()}
    sections = [
        _result(report, charts["accuracy"]),
        Section("samples", "Errors and hits", [Gallery(report.samples)]),
        Section(
            "classes",
            "Classes",
            [_class_table(report.metrics), charts["confusion"], *_group_tables(report.metrics)],
        ),
        Section("looking", "Does it look?", _image_use(report.comparison)),
        Section("training", "Training", [charts["training"], _weights(report.lineage)]),
        Section("calibration", "Calibration", [charts["calibration"], _calibration(report)]),
        second_mode_section(report.comparison),
        data_section(report.analysis, report.num_rejects),
        lineage_section(report.lineage),
    ]
    n = report.comparison["headline"]["finetune"]
    lead = (
        f"Condition of inspected objects, judged on {n['n']} objects of "
        f"{n['num_source_photos']} photographs that no training saw. Backbone: "
        f"{report.lineage['backbone']['name']}, LoRA on its language model. A prompt tells type "
        "and place of an object, so every number stands beside what these alone are worth."
    )
    return render_page("inspection: what a look at the object was worth", lead, sections)


def _result(report: InspectionReport, chart: Chart) -> Section:
    comparison = report.comparison
    blind = comparison["baselines"]["type_only"]
    tiles = [("type only", format_percent(blind["accuracy"]), "no image", COLORS["blind"])]
    tiles += [
        (PART_WORDS[part], format_percent(values["accuracy"]), "accuracy", COLORS[part])
        for part, values in comparison["headline"].items()
    ]
    findings: list[Any] = [
        (item["outcome"] if item["outcome"] != "unclear" else "unclear", item["text"])
        for item in comparison["findings"]
    ]
    blocks: list[Block] = [Tiles(tiles), Findings(findings), _headline(comparison), chart]
    return Section("result", "Result", blocks)


def _headline(comparison: dict[str, Any]) -> Table:
    head = ["test split", "accuracy", "balanced accuracy", "macro-F1", "types with a choice",
            "time an object"]  # fmt: skip
    rows = [Row("without an image")]
    rows += [
        Row(BASELINE_LABELS[name], [accuracy_cell(values), *[Cell("")] * 4])
        for name, values in comparison["baselines"].items()
    ]
    rows.append(Row("with it"))
    for part, values in comparison["headline"].items():
        choice = comparison["open_types"][part]
        cells = [
            Cell(
                format_percent(values["accuracy"]),
                f"{format_interval(values['accuracy_interval_by_photo'])}, n = {values['n']}",
                "best" if part == "finetune" else "",
            ),
            Cell(format_percent(values["balanced_accuracy"])),
            Cell(format_percent(values["macro_f1"])),
            Cell(
                format_percent(choice["system"]["accuracy"]),
                f"type only {format_percent(choice['type_only']['accuracy'])}, "
                f"n = {choice['system']['n']}",
            ),
            Cell(format_milliseconds(values["seconds_per_object"])),
        ]
        rows.append(Row(PART_WORDS[part], cells))
    note = "Below an accuracy: its 95 % interval by photograph. Vegetation has one condition: for "
    return Table(head, rows, f"{note}its objects there is nothing to choose.")


def _class_table(metrics: dict[str, dict[str, Any]]) -> Table:
    rows = []
    for name, tuned in metrics["finetune"]["per_class"].items():
        untouched = metrics["zero_shot"]["per_class"][name]
        cells = [
            Cell(format_count(tuned["n"])),
            Cell(format_percent(untouched["recall"])),
            Cell(format_percent(tuned["recall"]), format_interval(tuned["recall_interval"])),
            Cell(format_percent(tuned["precision"])),
            Cell(format_percent(tuned["f1"])),
        ]
        rows.append(Row(name, cells))
    head = ["class", "n", "recall, zero-shot", "recall, tuned", "precision, tuned", "F1, tuned"]
    return Table(head, rows, "Of a handful of objects a share says next to nothing: mind n.")


def _group_tables(metrics: dict[str, dict[str, Any]]) -> list[Block]:
    tables: list[Block] = []
    for key, label in (("per_condition", "condition"), ("per_object_type", "type")):
        rows = [
            Row(
                name.replace("_", " "),
                [
                    Cell(format_count(values["n"])),
                    Cell(format_percent(metrics["zero_shot"][key][name]["accuracy"])),
                    accuracy_cell(values),
                ],
            )
            for name, values in metrics["finetune"][key].items()
        ]
        tables.append(Table([label, "n", "zero-shot", "tuned"], rows))
    return tables


def _image_use(comparison: dict[str, Any]) -> list[Block]:
    words = {"own": "its own picture", "grey": "a grey picture",
             "shuffled": "the picture of an object of another photograph"}  # fmt: skip
    rows = [
        Row(words[mode], [accuracy_cell(values)])
        for mode, values in comparison["image_use"].items()
    ]
    blind = comparison["baselines"]["type_only"]
    rows.append(Row("for comparison: type only, no model", [accuracy_cell(blind)]))
    return [
        Text(
            "The same questions about the same objects, with other pictures. A model that answers "
            "from type and place alone would not care."
        ),
        Table(["the tuned model sees", "accuracy"], rows),
    ]


def _weights(lineage: dict[str, Any]) -> Fold:
    found = lineage["weighing"]
    rows = [
        Row(
            name,
            [
                Cell(f"{weight:.2f}"),
                Cell(str(found["repeats"][name])),
                Cell(format_percent(found["raw_shares"][name])),
                Cell(format_percent(found["loss_shares"][name])),
            ],
        )
        for name, weight in found["loss_weights"].items()
    ]
    head = ["class", "weight", "shown an epoch", "share of objects", "share of the loss"]
    return Fold("Weights, from the train split", [Table(head, rows)])


def _calibration(report: InspectionReport) -> Table:
    rows = [
        Row(
            PART_WORDS[part],
            [
                Cell(format_value(values["expected_calibration_error"], is_share=False)),
                Cell(format_value(values["brier_error"], is_share=False)),
                Cell(format_value(values["faulty_roc_area"], is_share=False)),
                Cell(f"{values['invalid']['count']} of {values['n']}"),
            ],
        )
        for part, values in report.comparison["headline"].items()
    ]
    head = ["test split", "calibration error", "Brier error", "ROC area, faulty", "no valid answer"]
    return Table(head, rows)
