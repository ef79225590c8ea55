"""Pictures of flights: paths of expert and policies on the site, and filmstrips."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from aquatint.reports.inspection_gallery import as_uri
from aquatint.reports.markup import TEMPLATES
from aquatint.reports.vla_comparison import PART_WORDS
from aquatint.reports.vla_figures import COLORS

_SHOWN = ("expert", "stage2", "stage1", "state_only")
_STRIPS = ("expert", "stage2", "stage2, shuffled_instruction", "state_only")
_PAGE_PX, _FRAME_PX, _NUM_FRAMES, _MARGIN_PX = 480, 84, 8, 40


class Sites(Protocol):
    """What pictures are drawn from."""

    def picture(self, run_id: int) -> tuple[NDArray[np.uint8], list[dict[str, Any]]]:
        """A site from above and its pads, with their places in pixels."""

    def place(
        self, x_m: NDArray[np.floating], y_m: NDArray[np.floating]
    ) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """Columns and rows of places in metres."""

    def view_along(
        self, run_id: int, path: NDArray[np.floating], steps: list[int]
    ) -> NDArray[np.uint8]:
        """What a camera saw at some steps of a path."""


def render_flights(runs: pd.DataFrame, simulator: Sites | None, num_shown: int, seed: int) -> str:
    """Show flights that nobody picked: half of those in which stage 2 failed, if there are.

    Args:
        runs: Table of ``fly_all``.
        simulator: Where they flew; None where nothing did.
        num_shown: Most flights.
        seed: Decides which.
    """
    if simulator is None or runs.empty:
        return "<p>There is no simulator of these recordings; nothing was flown.</p>"
    chosen = _choose(runs, num_shown, seed)
    flights = [_show(runs[runs["run_id"] == run_id], simulator, run_id) for run_id in chosen]
    html = TEMPLATES.get_template("flights.html").render(
        note="Flights drawn by a fixed seed, failures of stage 2 first. Strips show what the "
        "camera saw from the first step to the last; every policy starts at the same place.",
        keys=[(PART_WORDS[name], COLORS[name]) for name in _SHOWN],
        flights=flights,
    )
    return " ".join(html.split())


def _choose(runs: pd.DataFrame, num: int, seed: int) -> list[int]:
    tuned = runs[runs["policy"] == "stage2"].set_index("run_id")["is_success"]
    rng = np.random.default_rng([seed, 83])
    failed, reached = (
        rng.permutation([int(run_id) for run_id in tuned.index[tuned == outcome]]).tolist()
        for outcome in (False, True)
    )
    kept = failed[: num // 2]
    return [*kept, *reached[: num - len(kept)]]


def _show(rows: pd.DataFrame, simulator: Sites, run_id: int) -> dict[str, Any]:
    by_policy = rows.set_index("policy")
    ground, pads = simulator.picture(run_id)
    paths = {
        str(name): np.asarray(path, float).reshape(-1, 4)
        for name, path in by_policy["path"].items()
    }
    window = _window(paths, pads, simulator, ground.shape[0])
    scale = _PAGE_PX / (window[2] - window[0])
    image = Image.fromarray(ground).resize(
        (_PAGE_PX, _PAGE_PX), Image.Resampling.BICUBIC, (window[0], window[1], window[2], window[3])
    )
    pen = ImageDraw.Draw(image)
    for pad in pads:
        if pad["is_goal"]:
            _ring(pen, [(pad["x"] - window[0]) * scale, (pad["y"] - window[1]) * scale])
    for name in reversed(_SHOWN):
        columns, lines = simulator.place(paths[name][:, 0], paths[name][:, 1])
        points = list(zip((columns - window[0]) * scale, (lines - window[1]) * scale, strict=True))
        _draw_path(pen, points, COLORS[name])
    strips = []
    for name in _STRIPS:
        steps = np.linspace(0, len(paths[name]) - 1, _NUM_FRAMES).round().astype(int).tolist()
        frames = simulator.view_along(run_id, paths[name], steps)
        strips.append(
            {
                "name": PART_WORDS[name],
                "uri": as_uri(_strip(frames)),
                "outcome": _outcome(by_policy.loc[name]),
            }
        )
    return {
        "instruction": by_policy["instruction"].iloc[0],
        "site": as_uri(image),
        "edge_m": round((window[2] - window[0]) / 10),
        "strips": strips,
    }


def _window(
    paths: dict[str, np.ndarray], pads: list[dict[str, Any]], simulator: Sites, size: int
) -> list[float]:
    """A square of the picture that holds all pads and all shown paths."""
    xs, ys = [pad["x"] for pad in pads], [pad["y"] for pad in pads]
    for name in _SHOWN:
        columns, rows = simulator.place(paths[name][:, 0], paths[name][:, 1])
        xs, ys = [*xs, *columns], [*ys, *rows]
    low, high = np.array([min(xs), min(ys)]), np.array([max(xs), max(ys)])
    edge = min(float((high - low).max()) + 2 * _MARGIN_PX, float(size))
    corner = np.clip((low + high) / 2 - edge / 2, 0, size - edge)
    return [*corner.tolist(), *(corner + edge).tolist()]


def _ring(pen: ImageDraw.ImageDraw, center: list[float]) -> None:
    for radius, color in ((30, (0, 0, 0)), (28, (255, 255, 255))):
        box = [center[0] - radius, center[1] - radius, center[0] + radius, center[1] + radius]
        pen.ellipse(box, outline=color, width=2)


def _draw_path(pen: ImageDraw.ImageDraw, points: list[tuple[float, float]], color: str) -> None:
    # A dark edge below: no single color shows on every ground.
    pen.line(points, fill=(15, 15, 15), width=7, joint="curve")
    pen.line(points, fill=color, width=4, joint="curve")
    for (x, y), radius in ((points[0], 5), (points[-1], 7)):
        pen.ellipse(
            [x - radius, y - radius, x + radius, y + radius], fill=color, outline=(15, 15, 15)
        )


def _strip(frames: NDArray[np.uint8]) -> Image.Image:
    strip = Image.new("RGB", (len(frames) * (_FRAME_PX + 3) - 3, _FRAME_PX), (128, 128, 128))
    for number, frame in enumerate(frames):
        small = Image.fromarray(frame).resize((_FRAME_PX, _FRAME_PX), Image.Resampling.BICUBIC)
        strip.paste(small, (number * (_FRAME_PX + 3), 0))
    return strip


def _outcome(row: Any) -> str:  # noqa: ANN401 - a row
    reached = "reached" if row["is_success"] else f"missed, nearest pad {row['nearest_pad']}"
    return (
        f"{reached}; {row['flat_error_m']:.1f} m beside the pad, {row['height_error_m']:.1f} m of "
        f"height, {row['heading_error_deg']:.0f}° of heading"
    )
