"""Paths of agents in closed loop: their metrics as a table, and maps that show them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from aquatint.reports.blocks import Block, Cell, Findings, Gallery, Row, Table, Tone
from aquatint.reports.inspection_gallery import as_uri
from aquatint.reports.markup import TEMPLATES
from aquatint.reports.wording import (
    format_interval,
    format_p_value,
    format_percent,
    format_points,
)

_MAP_PX = 280


class GroundMaps(Protocol):
    """Whoever knows the heights around an episode."""

    def ground_map(self, episode_id: str) -> tuple[NDArray[Any], float]:
        """Heights in metres (S, S) by y and x, and half their extent in metres."""


@runtime_checkable
class PadMaps(Protocol):
    """Whoever knows the pads around an episode."""

    def pads(self, episode_id: str) -> list[tuple[str, float, float, float]]:
        """Color, x, y and radius in metres of each."""


@dataclass(frozen=True)
class MapStyle:
    """How paths are drawn.

    Attributes:
        leader: Policy whose instruction and error stand below each map.
        colors: Color by policy; the others are not drawn. The first is where paths begin.
        words: Name of each policy in words.
        reach_m: Half the edge of what is shown around the map's middle; None for all of it.
    """

    leader: str
    colors: Mapping[str, str]
    words: Mapping[str, str]
    reach_m: float | None = None


def loop_blocks(rollout: dict[str, Any], words: Mapping[str, str]) -> list[Block]:
    """Return what policies are worth in closed loop: comparisons, and their table.

    Args:
        rollout: What ``compare_policies`` returns.
        words: Name of each policy in words.
    """
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
                f"{words[name]} against {words[found['other']]}: {verdict} success, "
                f"{format_points(found['difference'])} points ({between}; McNemar "
                f"{format_p_value(found['p_value'])}, n = {found['n']}).",
            )
        )
    return [Findings(sentences), loop_table(rollout, words)]


def loop_table(rollout: dict[str, Any], words: Mapping[str, str]) -> Table:
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
        rows.append(Row(words[name], cells))
    head = ["flown episodes", "success", "oracle", "SPL", "error", "length", "nDTW", "sDTW", "CLS",
            "collisions"]  # fmt: skip
    note = (
        "Success: ended within the radius of the goal, by a stop of its own where "
        "rollout.loop.requires_stop asks for it. Oracle: was there at any time. "
        "Error: distance from the goal at the end. Below success: its 95 % Wilson interval."
    )
    return Table(head, rows, note)


def draw_flown_paths(
    episodes: pd.DataFrame, maps: GroundMaps, style: MapStyle, num_samples: int, seed: int
) -> Gallery:
    """Return maps with the paths of policies in episodes that nobody picked.

    Args:
        episodes: Tables of ``judge`` with ``policy``.
        maps: Heights around episodes.
        style: Which policies, how.
        num_samples: Episodes that are drawn.
        seed: Decides which.
    """
    items = list(_maps(episodes, maps, style, num_samples, seed))
    html = TEMPLATES.get_template("flown.html").render(
        items=items, size=_MAP_PX, colors={style.words[k]: v for k, v in style.colors.items()}
    )
    return Gallery(" ".join(html.split()))


def _maps(
    episodes: pd.DataFrame, maps: GroundMaps, style: MapStyle, num: int, seed: int
) -> Iterator[dict[str, Any]]:
    """Episodes that nobody picked, with the paths of expert and policies."""
    tables = {str(name): rows.set_index("episode_id")
              for name, rows in episodes.groupby("policy", sort=False)}  # fmt: skip
    ids = tables["expert"].index.to_numpy()
    rng = np.random.default_rng([seed, 87])
    for episode_id in rng.permutation(ids)[:num]:
        heights, half_m = maps.ground_map(episode_id)
        reach = min(style.reach_m or half_m, half_m)
        shade = (235 - 150 * (heights[::-1] / 12).clip(0, 1)).astype(np.uint8)
        cut = round((half_m - reach) / (2 * half_m) * len(shade))
        shade = shade[cut : len(shade) - cut, cut : len(shade) - cut]
        picture = Image.fromarray(np.stack([shade] * 3, -1)).resize((_MAP_PX, _MAP_PX))
        paths = [
            polyline_on_map(tables[name].loc[episode_id, "path"], reach, color)
            for name, color in style.colors.items()
        ]
        row = tables[style.leader].loc[episode_id]
        who = style.words[style.leader]
        pads = maps.pads(episode_id) if isinstance(maps, PadMaps) else []
        yield {
            "uri": as_uri(picture),
            "paths": paths,
            "discs": [_disc(pad, reach) for pad in pads],
            "start": paths[0]["start"],
            "text": row["instruction"],
            "name": f"{episode_id}: {who} ends {row['navigation_error_m']:.0f} m from the goal",
        }


def _disc(pad: tuple[str, float, float, float], reach_m: float) -> dict[str, Any]:
    """A pad in pixels of a map."""
    color, x, y, radius = pad
    scale = _MAP_PX / (2 * reach_m)
    place = ((x + reach_m) * scale, (reach_m - y) * scale)
    return {"x": f"{place[0]:.1f}", "y": f"{place[1]:.1f}", "r": f"{radius * scale:.1f}",
            "color": color}  # fmt: skip


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
