"""Sections of the retrieval report that say where it comes from: tasks, data, lineage."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pandas as pd

from aquatint.reports.blocks import Block, Cell, Chart, Code, Fold, Row, Section, Table, Text
from aquatint.reports.wording import (
    NOTHING,
    PART_COLORS,
    format_count,
    format_interval,
    format_percent,
    format_points,
    label_part,
)

_DIGEST_LENGTH = 12


def relations_section(metrics: dict[str, dict[str, Any]], confusion: Chart) -> Section:
    """Which relations are taken for which, and scores of each of the nine.

    Args:
        metrics: Metrics by part.
        confusion: Figure of the confusions.
    """
    parts = [part for part in metrics if "spatial" in metrics[part]]
    return Section(
        "relations",
        "Relations",
        [
            confusion,
            *(
                Fold(
                    f"Precision, recall and F1 of each relation: {label_part(part)}",
                    [_class_table(metrics[part]["spatial"])],
                )
                for part in parts
            ),
        ],
    )


def _class_table(spatial: dict[str, Any]) -> Table:
    rows: list[Row] = []
    for title, values in (
        ("both axes", spatial),
        ("horizontal", spatial["horizontal"]),
        ("vertical", spatial["vertical"]),
    ):
        rows.append(Row(title))
        for name, scores in values["per_class"].items():
            cells = [Cell(format_percent(scores[key])) for key in ("precision", "recall", "f1")]
            rows.append(Row(name, [*cells, Cell(format_count(scores["n"]))]))
    return Table(["target", "precision", "recall", "F1", "n"], rows)


def robustness_section(robustness: pd.DataFrame, chance: float | None, figure: Chart) -> Section:
    """Recall on corrupted test images.

    Args:
        robustness: corruption, severity, recalls, interval of R@10 and n.
        chance: R@10 of a random order.
        figure: The same drawn.
    """
    clean = robustness.loc[robustness["severity"] == 0, "recall_at_10"]
    rows = [
        Row(
            f"{row['corruption'].replace('_', ' ')}"
            + (f", severity {row['severity']}" if row["severity"] else ""),
            [
                *(Cell(format_percent(row[f"recall_at_{k}"])) for k in (1, 5)),
                Cell(
                    format_percent(row["recall_at_10"]),
                    format_interval([row["recall_at_10_low"], row["recall_at_10_high"]]),
                ),
                Cell(format_points(row["recall_at_10"] - clean.iloc[0]) if len(clean) else NOTHING),
                Cell(format_count(row["n"])),
            ],
        )
        for _, row in robustness.iterrows()
    ]
    head = ["text → image, stage 2", "R@1", "R@5", "R@10", "R@10 − clean", "n"]
    worst = _describe_worst(robustness, chance)
    blocks: list[Block] = [Text(worst), figure, Fold("As a table", [Table(head, rows)])]
    return Section("robustness", "Robustness", blocks)


def _describe_worst(robustness: pd.DataFrame, chance: float | None) -> str:
    corrupted = robustness[robustness["severity"] > 0]
    if corrupted.empty:
        return "No corruption was tried."
    worst = corrupted.sort_values("recall_at_10", kind="stable").iloc[0]
    against = f" (chance: {format_percent(chance)})" if chance is not None else ""
    return (
        f"The worst of {len(corrupted)} corruptions is {worst['corruption'].replace('_', ' ')} of "
        f"severity {worst['severity']}: text → image R@10 {format_percent(worst['recall_at_10'])}"
        f"{against}."
    )


def data_section(report: dict[str, Any], near_duplicates: dict[str, Any]) -> Section:
    """What came in, what was refused and what looks wrong.

    Args:
        report: Ingestion report.
        near_duplicates: What ``data.near_duplicates.near_duplicates`` returns.
    """
    splits = report["splits"]
    names = ("images", "buildings", "captions", "regions", "boxes")
    counts = Table(
        ["split", *names],
        [
            Row(split, [Cell(format_count(values[name])) for name in names])
            for split, values in sorted(splits.items(), key=_split_order)
        ],
    )
    leaks = report["leakage"]
    shared = [
        f"{len(leaks['buildings'])} buildings" if leaks["buildings"] else "",
        f"{leaks['num_files']} identical files" if leaks["num_files"] else "",
    ]
    found = " and ".join(name for name in shared if name)
    leakage = (
        f"Leak: {found} stand in more than one split; the recalls above are too high."
        if found
        else "No building and no identical file stands in two splits."
    )
    return Section(
        "data", "Data", [counts, Text(leakage), _findings_table(report, near_duplicates)]
    )


def _split_order(item: tuple[str, dict[str, int]]) -> tuple[int, str]:
    order = ("train", "val", "test")
    return (order.index(item[0]) if item[0] in order else len(order), item[0])


def _findings_table(report: dict[str, Any], near_duplicates: dict[str, Any]) -> Table:
    counted = {
        "image files missing": report["missing"]["image_files"],
        "images unreadable": report["missing"]["readable_images"],
        "images without a caption": report["missing"]["captions_of_images"],
        "regions without a sentence": report["missing"]["sentences"],
        "regions without a box": report["missing"]["boxes"],
        "boxes refused": report["bad_boxes"],
        "captions repeated": {
            "count": report["duplicates"]["captions"],
            "n": report["n"]["captions"],
        },
        "files repeated in a split": {
            "count": report["duplicates"]["files"],
            "n": report["duplicates"]["n"],
        },
        **{
            f"images nearly alike in {splits.replace('-', ' and ')}": {
                "count": pairs["num_images"],
                "n": pairs["n"],
            }
            for splits, pairs in near_duplicates["splits"].items()
        },
        **{
            f"sentences that contradict their box, {axis}": values
            for axis, values in report["side_contradictions"].items()
        },
    }
    rows = [Row("Gaps and doubts")]
    rows += [
        Row(name, [Cell(format_count(item["count"])), Cell(format_count(item["n"]))])
        for name, item in counted.items()
    ]
    rows.append(Row("Refused by rule"))
    rows += [
        Row(rule, [Cell(format_count(count)), Cell("")])
        for rule, count in report["rejects"]["per_rule"].items()
    ]
    rows.append(Row("all findings", [Cell(format_count(report["rejects"]["findings"])), Cell("")]))
    return Table(["ingestion", "found", "of"], rows)


def lineage_section(recipe: str, comparison: dict[str, Any]) -> Section:
    """Where each checkpoint comes from, and the commands that make it and this page again.

    Args:
        recipe: Name of the recipe's pipeline.
        comparison: What ``compare_parts`` returns.
    """
    lineages = comparison["lineages"]
    plan = (
        ("version", lambda line: str(line.get("version") or NOTHING)),
        ("made from", _describe_parents),
        ("backbone", lambda line: _name_digest(line.get("backbone", {}))),
        ("seed", lambda line: str(line.get("run", {}).get("seed", NOTHING))),
        ("precision", lambda line: str(line.get("run", {}).get("precision", NOTHING))),
        *((f"data: {name}", _data_digest(name)) for name in _data_names(lineages)),
    )
    rows = [Row(label, [Cell(show(line)) for line in lineages.values()]) for label, show in plan]
    heads = ["", *map(label_part, lineages)]
    colors = {label_part(part): color for part, color in PART_COLORS.items()}
    blocks: list[Block] = [
        Table(heads, rows, colors=colors),
        *_commands(recipe, comparison),
        *(
            Fold(
                f"Parameters and environment of {label_part(part)}",
                [Code(json.dumps(_settings(line), indent=1, sort_keys=True))],
            )
            for part, line in lineages.items()
        ),
    ]
    return Section("lineage", "Lineage", blocks)


def _settings(lineage: dict[str, Any]) -> dict[str, Any]:
    return {name: lineage.get(name) for name in ("params", "run", "environment")}


def _describe_parents(lineage: dict[str, Any]) -> str:
    parents = [
        f"{label_part(str(parent.get('stage')))} @ {parent.get('version')} "
        f"({str(parent.get('digest'))[:_DIGEST_LENGTH]})"
        for parent in lineage.get("parents", [])
    ]
    return ", ".join(parents) or "fresh weights"


def _name_digest(backbone: dict[str, Any]) -> str:
    return f"{backbone.get('name', NOTHING)} ({str(backbone.get('digest', ''))[:_DIGEST_LENGTH]})"


def _data_names(lineages: dict[str, dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for line in lineages.values() for name in line.get("data", {})))


def _data_digest(name: str) -> Any:  # noqa: ANN401 - a function of the lineage
    return lambda line: str(line.get("data", {}).get(name, NOTHING))[:_DIGEST_LENGTH]


def _commands(recipe: str, comparison: dict[str, Any]) -> list[Block]:
    versions = {part: version for part, version in comparison["versions"].items() if version}
    pins = ",".join(f"{recipe}.{part}.checkpoint:{version}" for part, version in versions.items())
    run = f"kedro run --pipelines={shlex.quote(recipe)}"
    again = f"{run} --tags=eval,report --load-versions={shlex.quote(pins)}"
    note = (
        "These numbers and this page again, from these checkpoints (add the run's --env, if any):"
    )
    blocks: list[Block] = [Code(again, note)] if pins else []
    if "stage1" in versions:
        pin = shlex.quote(f"{recipe}.stage1.checkpoint:{versions['stage1']}")
        stage2 = f"{run} --tags=stage2 --load-versions={pin}"
        blocks.append(Code(stage2, "Stage 2 again, from this stage 1:"))
    return [*blocks, Code(run, "All of it again, from raw annotations:")]
