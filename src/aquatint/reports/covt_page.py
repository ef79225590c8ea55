"""The covt report as one HTML file that needs no network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from aquatint.reports.blocks import (
    Block,
    Cell,
    Chart,
    Findings,
    Gallery,
    Row,
    Section,
    Table,
    Text,
    Tiles,
)
from aquatint.reports.covt_comparison import ANCHOR_MEASURES, SYSTEM_WORDS
from aquatint.reports.covt_figures import COLORS
from aquatint.reports.page import render_page
from aquatint.reports.wording import format_interval, format_percent

_NOTES = {
    "accuracy": "Held-out images. Grey: no image was seen. Whiskers: 95 % intervals that take "
    "scenes as the unit of chance, Wilson's for baselines.",
    "kinds": "Whiskers: Wilson's 95 % intervals; scenes share questions, so they are a little too "
    "narrow.",
    "training": "Thin: single steps; thick: running mean. Terms are unweighted; those of anchors "
    "end where text alone is learned.",
    "anchors": "Below 0: worse than the best prediction that sees no image.",
}


@dataclass(frozen=True)
class CovtReport:
    """All that the report shows.

    Attributes:
        comparison: What ``compare`` returns.
        metrics: What ``evaluate`` returns.
        figures: ``accuracy``, ``kinds``, ``training``, ``anchors``.
        samples: HTML of the gallery.
        data_report: What came in.
        rejects: Records that were refused.
        costs: Time and size of each anchor's targets.
        lineages: Lineage of each training.
    """

    comparison: dict[str, Any]
    metrics: dict[str, Any]
    figures: dict[str, go.Figure]
    samples: str
    data_report: dict[str, Any]
    rejects: pd.DataFrame
    costs: dict[str, dict[str, Any]]
    lineages: dict[str, dict[str, Any]]


def render_report(report: CovtReport) -> str:
    """Return the report as one HTML page."""
    charts = {name: Chart(name, figure, _NOTES[name]) for name, figure in report.figures.items()}
    sections = [
        _result(report, charts["accuracy"]),
        Section("samples", "Thoughts, decoded", [Gallery(report.samples)]),
        Section("kinds", "Kinds of questions", [charts["kinds"]]),
        Section("anchors", "What anchors hold", [charts["anchors"], _anchor_table(report)]),
        Section("tokens", "What tokens are worth", _tokens(report)),
        Section("training", "Training", [charts["training"], _training_table(report)]),
        Section("costs", "Costs of teachers", [_cost_table(report)]),
        Section("data", "Data", _data(report)),
    ]
    n = report.comparison["headline"]["trained"]["n"]
    lead = (
        f"Questions about {n} held-out turns, answered by a Qwen2.5-VL that writes visual tokens "
        "before its answer. What those tokens hold is decoded to masks, depth and features and "
        "compared with exact targets; every number stands beside what needs no image."
    )
    return render_page("covt: what visual thoughts were worth", lead, sections)


def _result(report: CovtReport, chart: Chart) -> Section:
    tiles = [
        (SYSTEM_WORDS[name], format_percent(values["accuracy"]), "accuracy", COLORS[name])
        for name, values in report.comparison["headline"].items()
    ]
    emission = report.metrics["emission"]["thinking"]["emission_score"]
    tiles.append(("thoughts written", format_percent(emission), "when begun", "#B8860B"))
    findings: list[Any] = [
        (item["outcome"], item["text"]) for item in report.comparison["findings"]
    ]
    blocks: list[Block] = [Tiles(tiles), Findings(findings), chart]
    return Section("result", "Result", blocks)


def _anchor_table(report: CovtReport) -> Table:
    rows = []
    for name, values in report.metrics["anchors"].items():
        key, words, _ = ANCHOR_MEASURES[name]
        for predictor, label in (("decoded", "decoded"), ("constant", "no image")):
            found = values[predictor]
            others = ", ".join(
                f"{measure.rsplit('_', 1)[0].replace('_', ' ')} {found[measure]:.3g}"
                for measure in found
                if measure.endswith(("_score", "_error")) and measure != key
            )
            interval = found.get(f"{key}_interval")
            note = f"{interval[0]:.3g} to {interval[1]:.3g}" if interval else ""
            alike = found.get("homogeneity")
            rows.append(
                Row(
                    f"{name}, {label}",
                    [
                        Cell(f"{found[key]:.3g}", note, "best" if predictor == "decoded" else ""),
                        Cell(words),
                        Cell(others or "–"),
                        Cell("–" if alike is None else f"{alike:.2f}"),
                        Cell(str(found["n"])),
                    ],
                )
            )
    note = (
        "Depth in metres. Homogeneity: mean cosine of the hidden states of one span's tokens; 1 "
        "means that all of them say the same."
    )
    head = ["anchor", "value", "measure", "others", "homogeneity", "images"]
    return Table(head, rows, note)


def _tokens(report: CovtReport) -> list[Block]:
    rows = []
    for manner, values in report.metrics["accuracy"]["trained"].items():
        emission, cost = report.metrics["emission"][manner], report.metrics["costs"][manner]
        compared = report.metrics["ablations"].get(manner)
        gain = "" if compared is None else f"{-100 * compared['difference']:+.1f} points"
        rows.append(
            Row(
                manner,
                [
                    Cell(
                        format_percent(values["accuracy"]),
                        format_interval(values["accuracy_interval_by_group"]),
                    ),
                    Cell(gain or "–"),
                    Cell(format_percent(emission["emission_score"])),
                    Cell(format_percent(emission["well_formed_score"])),
                    Cell(f"{cost['tokens_per_answer']:.1f}"),
                    Cell(f"{1000 * cost['seconds_per_answer']:.0f} ms"),
                ],
            )
        )
    head = ["the trained model", "accuracy", "against thinking", "holds a thought", "well-formed",
            "tokens written", "time"]  # fmt: skip
    text = (
        "thinking: its turn begins with <think>. forced spans: the whole thought is given. "
        "exchanged tokens: given, with the tokens of each anchor in another's span. without "
        "tokens: its turn begins with <answer>. free: nothing is given."
    )
    return [Text(text), Table(head, rows)]


def _training_table(report: CovtReport) -> Table:
    rows = []
    for name, lineage in report.lineages.items():
        found = lineage["efficiency"]
        groups = found["num_trainable_by_group"]
        rows.append(
            Row(
                name.replace("_", " "),
                [
                    Cell(str(found["num_steps"])),
                    Cell(f"{found['train_seconds']:.0f} s"),
                    Cell(", ".join(f"{group} {count:,}" for group, count in groups.items())),
                    Cell(f"{found['num_parameters']:,}"),
                    Cell(_memory(found["peak_memory_mb"])),
                ],
            )
        )
    head = ["training", "steps", "time", "trainable", "parameters", "peak memory"]
    return Table(head, rows)


def _memory(found: dict[str, Any]) -> str:
    """The largest of what was measured: host and GPU."""
    known = [f"{name} {value:.0f} MB" for name, value in found.items() if value]
    return ", ".join(known) or "–"


def _cost_table(report: CovtReport) -> Table:
    rows = []
    for name, cost in report.costs.items():
        per_image = cost["seconds_per_image"]
        size = cost["bytes_per_image"]
        rows.append(
            Row(
                name,
                [
                    Cell("–" if per_image is None else f"{1000 * per_image:.2f} ms"),
                    Cell("–" if size is None else f"{size / 1e3:.1f} kB"),
                    Cell(str(cost["num_computed"])),
                    Cell(f"{cost['num_parameters']:,}"),
                    Cell(f"{cost['gpu_megabytes']:.0f} MB"),
                ],
            )
        )
    head = ["anchor", "time an image", "kept of an image", "computed", "parameters", "GPU"]
    note = "Once for each image, whatever the number of steps; 0 computed: all came from the cache."
    return Table(head, rows, note)


def _data(report: CovtReport) -> list[Block]:
    found = report.data_report
    rows = [
        Row(split, [Cell(str(found["turns_by_split"].get(split, 0))), Cell(str(count))])
        for split, count in found["images_by_split"].items()
    ]
    blocks: list[Block] = [
        Text(
            f"{found['num_records']} conversations with {found['num_turns']} turns about "
            f"{found['num_images']} images of {found['num_groups']} groups, of the files "
            f"{', '.join(found['records_by_file'])}. No group stands in two splits."
        ),
        Table(["split", "turns", "images"], rows),
    ]
    if len(report.rejects):
        refused = [
            Row(str(row["image_id"]), [Cell(f"{row['field']} {row['rule']}"), Cell(row["value"])])
            for row in report.rejects.head(20).to_dict(orient="records")
        ]
        blocks.append(Table(["refused record", "rule", "value"], refused))
    return blocks
