"""The report of a vision-language-action recipe as one HTML file that needs no network."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from aquatint.reports.blocks import (
    Block,
    Cell,
    Chart,
    Code,
    Findings,
    Fold,
    Gallery,
    Row,
    Section,
    Table,
    Text,
    Tiles,
)
from aquatint.reports.page import render_page
from aquatint.reports.vla_comparison import PART_WORDS, PARTS, VARIANT_WORDS
from aquatint.reports.vla_figures import COLORS
from aquatint.reports.wording import (
    NOTHING,
    THIN_SPACE,
    format_count,
    format_interval,
    format_percent,
    format_seconds,
)

_NOTES = {
    "flights": "Whiskers: 95 % intervals, Wilson's for rates, bootstrap for distances. All fly "
    "from the same starts in the same wind, over grounds that no recording shows.",
    "horizon": "Test episodes. An error of 1 is as large as the train actions' spread.",
    "dimensions": "Mean absolute error of a step, in physical units, over all steps of a chunk.",
    "sensor": "Loss on validation steps, after each epoch.",
    "training": "Thin: single steps; thick: running mean; diamonds: validation, the same loss on "
    "episodes that never train.",
}


@dataclass(frozen=True)
class VlaReport:
    """All that the report shows.

    Attributes:
        recipe: Name of the recipe.
        comparison: What ``compare_vla`` returns.
        metrics: Offline metrics by part.
        figures: Figures by name.
        samples: HTML of flights.
        report: What came in.
        inspection: What the checkpoints hold.
        lineages: Lineage of each part's checkpoint.
    """

    recipe: str
    comparison: dict[str, Any]
    metrics: dict[str, dict[str, Any]]
    figures: dict[str, go.Figure]
    samples: str
    report: dict[str, Any]
    inspection: dict[str, Any]
    lineages: dict[str, dict[str, Any]]


def render_vla_report(report: VlaReport) -> str:
    """Return the report as one HTML page."""
    charts = {name: Chart(name, figure, _NOTES[name]) for name, figure in report.figures.items()}
    sections = [
        _result(report, charts),
        Section("flights", "Flights", [Gallery(report.samples)]),
        Section("offline", "Offline errors", [*_offline(report), charts["horizon"],
                                              charts["dimensions"]]),
        Section("sensor", "The sensor", [*_sensor(report), charts["sensor"]]),
        *_diffusion(report),
        Section("training", "Training", [charts["training"], _efficiency(report)]),
        Section("data", "Data", _data(report.report)),
        Section("checkpoints", "Checkpoints", _checkpoints(report)),
    ]  # fmt: skip
    flown = report.comparison["flights"]["n"]
    lead = (
        f"A {report.comparison['expert']} expert on a frozen, then tuned vision-language backbone "
        f"({report.lineages['stage2']['backbone']['name']}). Judged on "
        f"{report.comparison['offline']['stage2']['num_episodes']} episodes that no training saw, "
        f"and on {flown} flights over new grounds, beside policies that see nothing."
    )
    return render_page(f"{report.recipe}: what each stage was worth", lead, sections)


def _result(report: VlaReport, charts: dict[str, Chart]) -> Section:
    policies = report.comparison["flights"]["policies"]
    shown = [name for name in ("expert", "state_only", "stage1", "stage2") if name in policies]
    tiles = [
        (PART_WORDS[name], format_percent(policies[name]["success_rate"], 0),
         "flights that reach their goal", COLORS[name])
        for name in shown
    ]  # fmt: skip
    findings: list[Any] = [
        (item["outcome"], item["text"]) for item in report.comparison["findings"]
    ]
    blocks: list[Block] = [Tiles(tiles)] if tiles else []
    blocks += [Findings(findings)]
    if policies:
        blocks += [charts["flights"], _flight_table(policies)]
    else:
        blocks.append(Text("There is no simulator of these recordings; nothing was flown."))
    return Section("result", "Result", blocks)


def _flight_table(policies: dict[str, Any]) -> Table:
    rows = []
    for name, values in policies.items():
        cells = [
            Cell(
                format_percent(values["success_rate"]),
                f"{format_interval(values['success_interval'])}, n = {values['n']}",
            ),
            Cell(f"{values['final_error_m']:.2f}", f"median {values['final_error_m_median']:.2f}"),
            Cell(f"{values['flat_error_m']:.2f}"),
            Cell(f"{values['height_error_m']:.2f}"),
            Cell(f"{values['heading_error_deg']:.0f}"),
            Cell(f"{values['path_length_m']:.1f}"),
            Cell(f"{values['spl']:.2f}"),
        ]
        rows.append(Row(PART_WORDS[name], cells))
    head = ["policy", "success", "final error, m", "beside the pad, m", "height, m", "heading, °",
            "path, m", "SPL"]  # fmt: skip
    return Table(
        head,
        rows,
        "Success: within 1 m of the pad's middle, 1 m of the height asked for and 20° of the "
        "heading. SPL: success weighted by the expert's path over the policy's.",
    )


def _offline(report: VlaReport) -> list[Block]:
    comparison = report.comparison
    rows = [Row("without a model")]
    rows += [Row(PART_WORDS[n], _offline_cells(v)) for n, v in comparison["baselines"].items()]
    rows.append(Row("policies"))
    for part in PARTS:
        rows.append(Row(PART_WORDS[part], _offline_cells(comparison["offline"][part])))
    head = ["test split", "squared error", "absolute error", "first action", "chunks"]
    main = Table(
        head,
        rows,
        "In deviations of the train actions, constant dimensions left out. Below: 95 % interval, "
        "episodes as the unit of chance.",
    )
    detail = [
        Row(
            name,
            [
                cell
                for part in PARTS
                for cell in (
                    Cell(_number(report.metrics[part]["by_dimension"][name]["mae"], 1)),
                    Cell(_number(report.metrics[part]["by_dimension"][name]["correlation"], 2)),
                )
            ],
        )
        for name in report.metrics["stage2"]["by_dimension"]
    ]
    heads = [f"{PART_WORDS[part]}, {kind}" for part in PARTS for kind in ("error", "corr.")]
    ends = [
        Row(PART_WORDS[part], [Cell(_number(values["position_mm"], 0)),
                               Cell(_number(values["angle_deg"], 1)),
                               Cell(format_count(values["n"]))])
        for part, values in comparison["end_point"].items()
    ]  # fmt: skip
    return [
        main,
        Table(["end of a chunk", "position, mm", "angle, °", "n"], ends),
        Fold("By dimension", [Table(["mm or degrees a step", *heads], detail,
                                    "No correlation where a dimension never varies.")]),
    ]  # fmt: skip


def _offline_cells(values: dict[str, Any]) -> list[Cell]:
    interval = values.get("scaled_mse_interval")
    note = f"{interval[0]:.4f} to {interval[1]:.4f}" if interval else ""
    return [
        Cell(_number(values["scaled_mse_error"], 4), note),
        Cell(_number(values["scaled_mae_error"], 4)),
        Cell(_number(values["first_mae_error"], 4)),
        Cell(format_count(values["n"])),
    ]


def _number(value: float | None, digits: int) -> str:
    return NOTHING if value is None else f"{value:.{digits}f}".replace("-", "−")


def _sensor(report: VlaReport) -> list[Block]:
    rows = [
        Row(
            VARIANT_WORDS[name],
            [
                Cell(_number(values["scaled_mse_error"], 4)),
                Cell(_number(values["height_mae_mm"], 0)),
                Cell(format_count(values["n"])),
            ],
        )
        for name, values in report.comparison["sensor"].items()
    ]
    kinds = (("with_sensor", "steps with a sensor"), ("without_sensor", "steps without one"))
    split = [
        Row(
            label,
            [Cell(_number(report.comparison["by_sensor"][part][kind]["scaled_mse_error"], 4),
                  f"n = {report.comparison['by_sensor'][part][kind]['n']}") for part in PARTS],
        )
        for kind, label in kinds
    ]  # fmt: skip
    return [
        Text(
            "The range finder alone tells how high the ground lies: the drone's own altitude "
            "counts from another zero, pads differ in size. Without it, how far to descend is a "
            "guess."
        ),
        Table(["stage 2 is given", "squared error", "height of a step, mm", "n"], rows),
        Table(["squared error", *(PART_WORDS[part] for part in PARTS)], split),
    ]


def _diffusion(report: VlaReport) -> list[Section]:
    samples, noise = report.comparison["samples"], report.comparison["noise_by_timestep"]
    if samples is None:
        return []
    rows = [
        Row("squared error, mean of the samples", [Cell(_number(samples["mean_mse"], 4))]),
        Row(f"squared error, best of {samples['k']}", [Cell(_number(samples["best_of_k_mse"], 4))]),
        Row("variance among the samples", [Cell(_number(samples["variance"], 4))]),
    ]
    buckets = [
        Row(f"{item['first']} to {item['last']}", [Cell(_number(item["mse"], 4)),
                                                   Cell(format_count(item["n"]))])
        for item in noise
    ]  # fmt: skip
    blocks: list[Block] = [
        Table([f"{samples['k']} samples for each of {samples['n']} steps", "stage 2"], rows),
        Table(["timesteps", "squared error of the noise", "n"], buckets,
              "The last timesteps are nearly pure noise, the first nearly none."),
    ]  # fmt: skip
    return [Section("diffusion", "Diffusion", blocks)]


def _efficiency(report: VlaReport) -> Table:
    rows = []
    for part in PARTS:
        values = report.lineages[part]["efficiency"]
        memory = values["peak_memory_mb"]
        rows.append(
            Row(
                PART_WORDS[part],
                [
                    Cell(format_count(values["num_trainable_parameters"]),
                         ", ".join(f"{k} {format_count(v)}"
                                   for k, v in values["num_trainable_by_group"].items())),
                    Cell(format_count(values["num_steps"]), f"best {values['best_step']}"),
                    Cell(format_seconds(values["train_seconds"])),
                    Cell(f"{format_count(memory.get('cuda', memory['cpu']))}{THIN_SPACE}MB"),
                ],
            )
        )  # fmt: skip
    return Table(["stage", "trainable parameters", "steps", "time", "peak memory"], rows)


def _data(report: dict[str, Any]) -> list[Block]:
    episodes, steps = report["episodes"], report["steps"]
    rows = [
        Row(source, [Cell(format_count(count)),
                     *(Cell(format_count(steps["alignment"][source][key]))
                       for key in ("steps", "kept", "without_robot", "without_frame",
                                   "without_sensor"))])
        for source, count in episodes["by_source"].items()
    ]  # fmt: skip
    rejects = [
        Row(item["image_id"], [Cell(item["field"]), Cell(item["rule"]), Cell(item["value"])])
        for item in report["rejects"]
    ]
    splits = ", ".join(f"{count} {name}" for name, count in episodes["by_split"].items())
    return [
        Text(
            f"{episodes['read']} episodes read ({splits}), {episodes['rejected']} refused; "
            f"{episodes['with_sensor']} have the sensor; {episodes['without_state']} state no pose "
            f"and are not trained on. {report['instructions']['distinct']} instructions, "
            f"{format_count(report['frames'])} pictures, {format_count(steps['n'])} steps."
        ),
        Table(
            ["format", "episodes", "steps", "kept", "no robot row", "no frame", "sensor silent"],
            rows,
            "Steps on the grid of the actions; dropped ones found no measurement within tolerance.",
        ),
        Fold("Refused recordings", [Table(["recording", "field", "rule", "value"], rejects)]),
    ]


def _checkpoints(report: VlaReport) -> list[Block]:
    rows = [
        Row(
            PART_WORDS[stage],
            [
                Cell(", ".join(values["keys"])),
                Cell(str(values["epoch"])),
                Cell(_number(values["val_loss"], 4)),
                Cell(values["digest"][:12], ", ".join(p["digest"][:12] for p in values["parents"])),
            ],
        )
        for stage, values in report.inspection.items()
    ]
    modules = [
        Row(f"{PART_WORDS[stage]}: {name}", [Cell(format_count(entry["tensors"])),
                                             Cell(format_count(entry["parameters"]))])
        for stage, values in report.inspection.items()
        for name, entry in values["modules"].items()
    ]  # fmt: skip
    decision = report.comparison["latency"]
    recipe = report.recipe
    commands = "\n".join(
        (
            f"kedro run --pipeline={recipe} --tags=stage2   # from the newest stage 1",
            f"kedro run --pipeline={recipe} --namespaces={recipe}.rollout,{recipe}.reporting",
            f"kedro lineage --pipeline={recipe} {recipe}.stage2.checkpoint",
        )
    )
    record = json.dumps(
        {part: {k: v for k, v in report.lineages[part].items() if k in ("plan", "rules", "run")}
         for part in PARTS}, indent=1, sort_keys=True,
    )  # fmt: skip
    return [
        Table(["stage", "keys", "epoch", "validation loss", "digest, parent"], rows),
        Text(
            f"One decision of the exported policy, pictures to chunk: "
            f"{decision['median_ms']:.0f} ms (median of {decision['n']}; 95 % below "
            f"{decision['p95_ms']:.0f} ms) on {decision['device']}."
        ),
        Code(commands, "To go on:"),
        Fold("Tensors by module", [Table(["module", "tensors", "parameters"], modules)]),
        Fold("Plan, rules and run", [Code(record)]),
    ]
