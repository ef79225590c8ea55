"""The report of the imitation recipe: steps, closed loop, maps of flown paths."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray
from PIL import Image

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
    Tone,
)
from aquatint.reports.inspection_gallery import as_uri
from aquatint.reports.markup import TEMPLATES
from aquatint.reports.page import render_page
from aquatint.reports.theme import stack_panels
from aquatint.reports.wording import (
    format_count,
    format_interval,
    format_p_value,
    format_percent,
    format_points,
)

_WORDS = {
    "cma": "CMA",
    "seq2seq": "Seq2Seq",
    "cma_misled": "CMA, another's instruction",
    "seq2seq_misled": "Seq2Seq, another's instruction",
    "expert": "expert",
    "forward": "always forward",
    "random": "by chance",
    "last_action": "as the step before",
}
_COLORS = {"expert": "#1A7F4B", "cma": "#D9601A", "seq2seq": "#3D8BCD"}
_MAP_PX = 280


class GroundMaps(Protocol):
    """Whoever knows the heights around an episode."""

    def ground_map(self, episode_id: str) -> tuple[NDArray[Any], float]:
        """Heights in metres (S, S) by y and x, and half their extent in metres."""


@dataclass(frozen=True, eq=False)
class ImitationReport:
    """What the page is made of.

    Attributes:
        counts: What the recordings hold.
        metrics: Step metrics by policy.
        histories: Histories by policy.
        rollout: Summary of the closed loop.
        episodes: One row for each flown episode.
    """

    counts: dict[str, Any]
    metrics: dict[str, dict[str, Any]]
    histories: dict[str, pd.DataFrame]
    rollout: dict[str, Any]
    episodes: pd.DataFrame


def render_imitation_report(
    report: ImitationReport, maps: GroundMaps, num_samples: int, seed: int
) -> str:
    """Return the page as HTML.

    Args:
        report: What it is made of.
        maps: Heights around episodes.
        num_samples: Episodes that are drawn.
        seed: Decides which.
    """
    items = list(_maps(report.episodes, maps, num_samples, seed))
    html = TEMPLATES.get_template("flown.html").render(
        items=items, size=_MAP_PX, colors={_WORDS[k]: v for k, v in _COLORS.items()}
    )
    sections = [
        Section("loop", "Closed loop", _loop_blocks(report.rollout)),
        Section("steps", "Step by step", [step_table(report.metrics), _step_note()]),
        Section("maps", "Flown paths", [Gallery(" ".join(html.split()))]),
        Section("training", "Training", [Chart("training", _draw_training(report.histories))]),
        Section("data", "Recordings", _data_blocks(report.counts)),
    ]
    lead = "Policies that learnt from recorded flights, told where to go in words."
    return render_page("cma: following instructions by imitation", lead, sections)


def _loop_blocks(rollout: dict[str, Any]) -> list[Block]:
    sentences: list[tuple[Tone, str]] = []
    for name, found in rollout["comparisons"].items():
        interval = found["difference_interval"]
        tone: Tone = "unclear"
        if interval is not None and not interval[0] <= 0 <= interval[1]:
            tone = "better" if interval[0] > 0 else "worse"
        between = f"{format_interval(interval)} by town" if interval else "one town: no interval"
        verdict = {"better": "more", "worse": "less", "unclear": "no clear difference in"}[tone]
        sentences.append(
            (
                tone,
                f"{_WORDS[name]} against {_WORDS[found['other']]}: {verdict} success, "
                f"{format_points(found['difference'])} points ({between}; McNemar "
                f"{format_p_value(found['p_value'])}, n = {found['n']}).",
            )
        )
    return [Findings(sentences), loop_table(rollout)]


def loop_table(rollout: dict[str, Any]) -> Table:
    """Return the closed loop's metrics by policy."""
    rows = []
    for name, found in rollout["policies"].items():
        cells = [
            Cell(
                format_percent(found["success"]),
                f"{format_interval(found['success_interval'])}, n = {found['n']}",
            ),
            Cell(format_percent(found["oracle_success"])),
            Cell(format_percent(found["spl"])),
            Cell(f"{found['navigation_error_m']:.1f} m"),
            Cell(f"{found['path_length_m']:.1f} m"),
            *(Cell(f"{found[key]:.2f}") for key in ("ndtw_score", "sdtw_score", "cls_score")),
            Cell(f"{found['num_collisions']:.1f}"),
        ]
        rows.append(Row(_WORDS[name], cells))
    head = ["flown episodes", "success", "oracle", "SPL", "error", "length", "nDTW", "sDTW", "CLS",
            "collisions"]  # fmt: skip
    note = (
        "Success: ended within the radius of the goal, by a stop of its own where "
        "rollout.loop.requires_stop asks for it. Oracle: was there at any time. "
        "Error: distance from the goal at the end. Below success: its 95 % Wilson interval."
    )
    return Table(head, rows, note)


def step_table(metrics: dict[str, dict[str, Any]]) -> Table:
    """Return the metrics of single steps by policy, beside what needs no model."""
    first = next(iter(metrics.values()))
    rows = [Row("without a model")]
    rows += [Row(_WORDS[name], _step_cells(found)) for name, found in first["baselines"].items()]
    rows.append(Row("with one"))
    for name, found in metrics.items():
        rows.append(Row(_WORDS[name], _step_cells(found)))
        rows.append(Row(_WORDS[f"{name}_misled"], _step_cells(found["misled"])))
    head = ["held-out flights", "accuracy", "macro-F1", "at changes", "F1 stop", "F1 left",
            "F1 right", "progress error"]  # fmt: skip
    return Table(head, rows)


def _step_cells(found: dict[str, Any]) -> list[Cell]:
    scores = found["per_class"]
    return [
        Cell(
            format_percent(found["accuracy"]),
            f"{format_interval(found['accuracy_interval_by_flight'])}, n = {found['n']}",
        ),
        Cell(format_percent(found["macro_f1"])),
        Cell(format_percent(found["inflection_accuracy"]), f"n = {found['num_inflections']}"),
        *(Cell(format_percent(scores[name]["f1"])) for name in ("stop", "left", "right")),
        Cell(f"{found['progress_error']:.3f}"),
    ]


def _step_note() -> Text:
    return Text(
        "Every step of held-out flights, with the recorded actions so far told. Doing what the "
        "step before did is right most of the time, and never at a change. With another flight's "
        "instruction a policy that reads should do worse."
    )


def _data_blocks(counts: dict[str, Any]) -> list[Block]:
    splits = ("train", "val", "test")
    rows = [
        Row(key, [Cell(format_count(counts[key].get(split, 0))) for split in splits])
        for key in ("flights", "scenes", "steps", "instructions")
    ]
    dropped = ", ".join(f"{count} ({status})" for status, count in counts["dropped"].items())
    text = (
        f"{counts['findings']} flights have a finding and are left out; dropped by status: "
        f"{dropped or 'none'}; {format_count(counts['cut_steps'])} steps of hanging or long "
        "flights are cut off."
    )
    return [Table(["", *splits], rows), Fold("What was left out", [Text(text)])]


def _draw_training(histories: dict[str, pd.DataFrame]) -> go.Figure:
    figure = stack_panels(["loss of the action", "macro-F1 on validation"], 460)
    for name, history in histories.items():
        color, label = _COLORS[name], _WORDS[name]
        smooth = history["loss_action"].rolling(25, min_periods=1).mean()
        figure.add_scatter(x=history["step"], y=smooth, mode="lines", name=label,
                           line={"color": color, "width": 1.8}, row=1, col=1)  # fmt: skip
        scored = history.dropna(subset=["val_macro_f1"])
        figure.add_scatter(x=scored["step"], y=scored["val_macro_f1"], mode="lines+markers",
                           name=label, showlegend=False, line={"color": color, "width": 1.8},
                           row=2, col=1)  # fmt: skip
    figure.update_xaxes(title="step", row=2, col=1)
    return figure


def _maps(
    episodes: pd.DataFrame, maps: GroundMaps, num: int, seed: int
) -> Iterator[dict[str, Any]]:
    """Episodes that nobody picked, with the paths of expert and policies."""
    tables = {str(name): rows.set_index("episode_id")
              for name, rows in episodes.groupby("policy", sort=False)}  # fmt: skip
    ids = tables["expert"].index.to_numpy()
    rng = np.random.default_rng([seed, 87])
    for episode_id in rng.permutation(ids)[:num]:
        heights, half_m = maps.ground_map(episode_id)
        shade = (235 - 150 * (heights[::-1] / 12).clip(0, 1)).astype(np.uint8)
        picture = Image.fromarray(np.stack([shade] * 3, -1)).resize((_MAP_PX, _MAP_PX))
        paths = [
            polyline_on_map(tables[name].loc[episode_id, "path"], half_m, color)
            for name, color in _COLORS.items()
        ]
        row = tables["cma"].loc[episode_id]
        yield {
            "uri": as_uri(picture),
            "paths": paths,
            "start": paths[0]["start"],
            "text": row["instruction"],
            "name": f"{episode_id}: CMA ends {row['navigation_error_m']:.0f} m from the goal",
        }


def polyline_on_map(
    path: list[float], half_m: float, color: str, size_px: int = _MAP_PX
) -> dict[str, Any]:
    """Return a path in pixels of a map.

    Args:
        path: World x and y by turns, in metres.
        half_m: Half the extent of the map.
        color: Of the line.
        size_px: Edge of the map.
    """
    points = np.array(path).reshape(-1, 2)
    places = (points * (1, -1) + half_m) * size_px / (2 * half_m)
    shown = [[f"{x:.1f}", f"{y:.1f}"] for x, y in places]
    text = " ".join(",".join(place) for place in shown)
    return {"points": text, "start": shown[0], "end": shown[-1], "color": color}


def summarise_imitation(metrics: dict[str, dict[str, Any]], rollout: dict[str, Any]) -> str:
    """Return both tables as Markdown."""
    lines = ["# cma", ""]
    for table in (loop_table(rollout), step_table(metrics)):
        lines += [f"| {' | '.join(table.head)} |", "|---|" + "---:|" * (len(table.head) - 1)]
        for row in table.rows:
            if row.cells:
                cells = [f"{c.text} ({c.note})" if c.note else c.text for c in row.cells]
                lines.append(f"| {' | '.join([row.label, *cells])} |")
        lines.append("")
    return "\n".join(lines)
