"""The report of a two-stage retrieval recipe: one page, and its headline as Markdown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from aquatint.reports.background_sections import (
    data_section,
    lineage_section,
    relations_section,
    robustness_section,
)
from aquatint.reports.blocks import Chart, Gallery, Section
from aquatint.reports.page import render_page
from aquatint.reports.result_sections import (
    differences_section,
    headline_table,
    numbers_fold,
    result_section,
    training_section,
)
from aquatint.reports.wording import NOTHING, format_count

_NOTES = {
    "recall": "Whiskers: 95 % intervals. Dotted: chance, the exact expectation of a random order.",
    "progress": "Validation split, once an epoch. The buttons choose what the cost is counted in.",
    "loss": "Unweighted terms of the loss; thin lines are single steps, thick ones their running "
    "mean. Stage 2 goes on where stage 1 ends.",
    "confusion": "Stage 2, test split. Rows: annotated relation of the second box to the first; "
    "columns: predicted. Numbers are pairs, the shade is the share of the row.",
    "robustness": "Stage 2 on test images that were corrupted; captions are unchanged. Whiskers: "
    "95 % intervals.",
}


@dataclass(frozen=True)
class ReportInputs:
    """All that the report shows.

    Attributes:
        recipe: Name of the recipe's pipeline.
        comparison: What ``compare_parts`` returns.
        metrics: Metrics by part.
        figures: ``loss``, ``progress``, ``recall``, ``confusion`` and ``robustness``.
        samples: HTML of the gallery.
        robustness: Recalls on corrupted images.
        ingestion: Ingestion report.
        near_duplicates: Images nearly alike in two splits.
    """

    recipe: str
    comparison: dict[str, Any]
    metrics: dict[str, dict[str, Any]]
    figures: dict[str, go.Figure]
    samples: str
    robustness: pd.DataFrame
    ingestion: dict[str, Any]
    near_duplicates: dict[str, Any]


def render_retrieval_report(inputs: ReportInputs) -> str:
    """Return the report as one HTML page.

    Args:
        inputs: All that it shows.
    """
    charts = {name: Chart(name, figure, _NOTES[name]) for name, figure in inputs.figures.items()}
    chance = inputs.comparison["references"]["text_to_image.recall_at_10"]
    result = result_section(inputs.comparison, charts["recall"])
    sections = [
        Section(result.anchor, result.title, [*result.blocks, numbers_fold(inputs.metrics)]),
        differences_section(inputs.comparison),
        training_section(inputs.comparison, charts["progress"], charts["loss"]),
        Section("samples", "Samples", [Gallery(inputs.samples)]),
        relations_section(inputs.metrics, charts["confusion"]),
        robustness_section(inputs.robustness, chance, charts["robustness"]),
        data_section(inputs.ingestion, inputs.near_duplicates),
        lineage_section(inputs.recipe, inputs.comparison),
    ]
    return render_page(f"{inputs.recipe}: what the stages were worth", _lead(inputs), sections)


def _lead(inputs: ReportInputs) -> str:
    test = inputs.ingestion["splits"].get("test", {})
    counts = [
        f"{format_count(test[name])} {name}"
        for name in ("images", "buildings", "captions")
        if name in test
    ]
    lineages = inputs.comparison["lineages"].values()
    backbones = dict.fromkeys(line.get("backbone", {}).get("name", NOTHING) for line in lineages)
    return (
        f"Cross-modal retrieval for drone navigation, judged on held-out buildings: "
        f"{', '.join(counts)}. Backbone: {', '.join(backbones)}. “Single stage” is the baseline "
        "that learns all tasks at once from the start."
    )


def summarise(recipe: str, comparison: dict[str, Any]) -> str:
    """Return findings and the headline table as Markdown.

    Args:
        recipe: Name of the recipe's pipeline.
        comparison: What ``compare_parts`` returns.
    """
    table = headline_table(comparison)
    lines = [f"# {recipe}", ""]
    lines += [f"- {_plain(item['text'])}" for item in comparison["verdicts"]]
    lines += ["", _line(table.head), "|---|" + "---:|" * (len(table.head) - 1)]
    for row in table.rows:
        cells = [f"{cell.text} ({cell.note})" if cell.note else cell.text for cell in row.cells]
        label = row.label if row.cells else f"**{row.label}**"
        lines.append(_line([label, *(cells or [""] * (len(table.head) - 1))]))
    note = table.note.replace("Below a value:", "In brackets:")
    return "\n".join([*lines, "", note, ""])


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(_plain(cell) for cell in cells)} |"


def _plain(text: str) -> str:
    # A bar would end the cell.
    return text.replace("|", "\\|")
