"""The report of the NavDP recipe: closed loop, fans of trajectories, the critic, flown paths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from aquatint.reports.blocks import Block, Chart, Findings, Gallery, Section, Text, Tone
from aquatint.reports.imitation import GroundMaps
from aquatint.reports.navdp_pictures import draw_fans, draw_flights
from aquatint.reports.navdp_tables import data_table, fan_table, label_planner, loop_table
from aquatint.reports.page import render_page
from aquatint.reports.theme import stack_panels
from aquatint.reports.wording import SERIES_COLORS, format_interval, format_points


@dataclass(frozen=True, eq=False)
class NavDpReport:
    """What the page is made of.

    Attributes:
        counts: What the recordings hold.
        metrics: Metrics of held-out frames.
        history: One row a step of the training.
        predictions: Sampled trajectories.
        obstacles: Obstacles of all scenes.
        rollout: Summary of the closed loop.
        episodes: One row for each flown episode.
    """

    counts: dict[str, Any]
    metrics: dict[str, Any]
    history: pd.DataFrame
    predictions: pd.DataFrame
    obstacles: pd.DataFrame
    rollout: dict[str, Any]
    episodes: pd.DataFrame


def render_navdp_report(report: NavDpReport, maps: GroundMaps, num_samples: int, seed: int) -> str:
    """Return the page as HTML.

    Args:
        report: What it is made of.
        maps: Heights around episodes.
        num_samples: Frames and episodes that are drawn.
        seed: Decides which.
    """
    fans = draw_fans(report.predictions, report.obstacles, num_samples, seed)
    flights = draw_flights(report.episodes, maps, num_samples, seed)
    sections = [
        Section("loop", "Closed loop", _loop_blocks(report.rollout)),
        Section("fans", "Sampled trajectories", [Gallery(fans)]),
        Section("frames", "Held-out frames", _frame_blocks(report.metrics)),
        Section("maps", "Flown paths", [Gallery(flights)]),
        Section("training", "Training", [Chart("training", _draw_training(report.history))]),
        Section("data", "Recordings", [data_table(report.counts), _data_note(report.counts)]),
    ]
    lead = "A diffusion policy that plans around obstacles, and a critic that chooses its plan."
    return render_page("navdp: planning around obstacles", lead, sections)


def _loop_blocks(rollout: dict[str, Any]) -> list[Block]:
    sentences: list[tuple[Tone, str]] = []
    for name, where in (("policies", "all episodes"), ("detours", "straight way blocked")):
        for found in rollout["comparisons"][name]:
            if found["policy"] == "none" or (name == "detours" and found["other"] != "straight"):
                continue
            sentences.append(_sentence(found, where))
    blocks: list[Block] = [Findings(sentences), loop_table(rollout, "policies")]
    if rollout["detours"]:
        blocks.append(loop_table(rollout, "detours"))
    return blocks


def _sentence(found: dict[str, Any], where: str) -> tuple[Tone, str]:
    interval = found["success_interval"]
    tone: Tone = "unclear"
    if interval is not None and not interval[0] <= 0 <= interval[1]:
        tone = "better" if interval[0] > 0 else "worse"
    verdict = {"better": "more", "worse": "less", "unclear": "no clear difference in"}[tone]
    collisions = found["num_collisions_interval"]
    spread = f" ({collisions[0]:+.2f} to {collisions[1]:+.2f})" if collisions else ""
    known = f"{format_interval(interval)} by town" if interval else "one town: no interval"
    return tone, (
        f"{label_planner(found['policy'])} against {label_planner(found['other'])}, {where}: "
        f"{verdict} success, {format_points(found['success'])} points ({known}); collisions an "
        f"episode {found['num_collisions']:+.2f}{spread}; n = {found['n']}."
    ).replace("-", "−")


def _frame_blocks(metrics: dict[str, Any]) -> list[Block]:
    critic, point = metrics["critic"], metrics["kinds"]["point"]
    rank = point["rank_correlation"]
    known = "not known" if rank is None else f"{rank:.2f}"
    auc = "not known" if critic["auc"] is None else f"{critic['auc']:.2f}"
    limit = "not known" if critic["formula_auc"] is None else f"{critic['formula_auc']:.2f}"
    return [
        fan_table(metrics),
        Text(
            f"The critic orders the trajectories of a frame as the formula does with a rank "
            f"correlation of {known} (mean over {point['num_ranked']} frames, goal as a place), "
            f"and tells recorded paths from turned ones with an AUC of {auc}; the formula itself, "
            f"which knows all obstacles, reaches {limit}. Its choice loses {point['regret']:.3f} "
            f"against the best of the fan, a choice by chance {point['chance_regret']:.3f}."
        ),
    ]


def _draw_training(history: pd.DataFrame) -> go.Figure:
    titles = ["terms of the loss", "mean distance from validation paths, m"]
    figure = stack_panels(titles, 460)
    for color, name in zip(SERIES_COLORS, ("action", "critic", "goal"), strict=False):
        smooth = history[f"loss_{name}"].rolling(25, min_periods=1).mean()
        figure.add_scatter(x=history["step"], y=smooth, mode="lines", name=name,
                           line={"color": color, "width": 1.8}, row=1, col=1)  # fmt: skip
    scored = history.dropna(subset=["val_average_error_m"])
    figure.add_scatter(x=scored["step"], y=scored["val_average_error_m"], mode="lines+markers",
                       name="validation", line={"color": SERIES_COLORS[3], "width": 1.8},
                       row=2, col=1)  # fmt: skip
    figure.update_yaxes(type="log", row=1, col=1)
    figure.update_xaxes(title="step", row=2, col=1)
    return figure


def _data_note(counts: dict[str, Any]) -> Text:
    findings = "; ".join(f"{count} {rule}" for rule, count in counts["findings"].items())
    return Text(
        f"Paths are {counts['mean_length_m']:.0f} m long on average. Left out: "
        f"{findings or 'none'}."
    )


def summarise_navdp(metrics: dict[str, Any], rollout: dict[str, Any]) -> str:
    """Return the tables as Markdown."""
    lines = ["# navdp", ""]
    tables = [loop_table(rollout, "policies"), fan_table(metrics)]
    if rollout["detours"]:
        tables.insert(1, loop_table(rollout, "detours"))
    for table in tables:
        lines += [f"| {' | '.join(table.head)} |", "|---|" + "---:|" * (len(table.head) - 1)]
        for row in table.rows:
            if row.cells:
                cells = [f"{c.text} ({c.note})" if c.note else c.text for c in row.cells]
                lines.append(f"| {' | '.join([row.label, *cells])} |")
        lines.append("")
    return "\n".join(lines)
