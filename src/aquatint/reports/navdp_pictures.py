"""Fans of trajectories and flown paths, seen from above."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from aquatint.geometry.poses import to_local_frame
from aquatint.reports.flown_paths import GroundMaps, polyline_on_map
from aquatint.reports.inspection_gallery import as_uri
from aquatint.reports.markup import TEMPLATES

_FAN_PX, _MAP_PX = 300, 280
_AHEAD_M, _BEHIND_M = 32.0, 4.0
_LEAST_M = 8.0  # of the way to a goal: nearer ones hide what they are about
_RAMP = ("#8f3b76", "#d9601a", "#f0b429", "#2e9e7b")
_COLORS = {"expert": ("expert", "#1A7F4B"), "straight": ("straight to the goal", "#8B6FC0"),
           "point": ("NavDP, goal as a place", "#D9601A")}  # fmt: skip
Floats = NDArray[Any]


def draw_fans(predictions: pd.DataFrame, obstacles: pd.DataFrame, num: int, seed: int) -> str:
    """Return HTML of frames that nobody picked, each with its fan and obstacles.

    Args:
        predictions: Table of ``predict_fans``.
        obstacles: Obstacles of all scenes.
        num: Frames that are drawn.
        seed: Decides which.
    """
    rows = predictions[(predictions["kind"] == "point") & ~predictions["is_colliding"]]
    far = rows[rows["goal"].map(lambda goal: float(np.hypot(*goal[:2]))) > _LEAST_M]
    rows = far if len(far) >= num else rows
    order = np.random.default_rng([seed, 88]).permutation(len(rows))
    # Those first whose straight way is blocked: elsewhere a fan is a line.
    blocked = _straight_collides(predictions)
    keys = [(row["path_id"], row["frame"]) in blocked for _, row in rows.iterrows()]
    chosen = sorted(order, key=lambda place: not keys[place])[:num]
    items = [_fan_item(rows.iloc[place], obstacles) for place in chosen]
    html = TEMPLATES.get_template("fans.html").render(items=items, size=_FAN_PX, ramp=_RAMP)
    return " ".join(html.split())


def _straight_collides(predictions: pd.DataFrame) -> set[tuple[str, int]]:
    lines = predictions[predictions["kind"] == "straight"]
    return {
        (row["path_id"], row["frame"]) for _, row in lines.iterrows() if any(row["has_collided"])
    }


def _fan_item(row: Any, obstacles: pd.DataFrame) -> dict[str, Any]:  # noqa: ANN401 - a table's row
    pose = np.array(row["pose"])
    fan = np.array(row["fan"]).reshape(len(row["values"]), -1, 3)
    values = np.array(row["values"])
    order = np.argsort(values)
    span = max(float(np.ptp(values)), 1e-6)
    best = int(order[-1])
    lines = [
        {
            "points": _points(fan[k]),
            "color": _color((values[k] - values.min()) / span),
            "width": 4 if k == best else 1.4,
            "opacity": 1 if k == best else 0.75,
        }
        for k in order
    ]
    own = obstacles[obstacles["scene_id"] == row["scene_id"]][["x_m", "y_m"]].to_numpy()
    seen = to_local_frame(np.column_stack([own, np.zeros(len(own))]), pose)[:, :2]
    half_m = (_AHEAD_M + _BEHIND_M) / 2
    near = seen[(np.abs(seen[:, 1]) < half_m) & (seen[:, 0] > -_BEHIND_M) & (seen[:, 0] < _AHEAD_M)]
    # Squares of a turned grid leave no gaps when they are as wide as its diagonal.
    cell = 1.45 * _FAN_PX / (_AHEAD_M + _BEHIND_M)
    truths, collided = np.array(row["true_values"]), np.array(row["has_collided"])
    goal_m = float(np.hypot(*row["goal"][:2]))
    return {
        "obstacles": [(f"{x - cell / 2:.1f}", f"{y - cell / 2:.1f}") for x, y in _pixels(near)],
        "cell": f"{cell:.1f}",
        "lines": lines,
        "label": _points(np.array(row["label"]).reshape(-1, 3)),
        "goal": [f"{value:.1f}" for value in _clip(_pixels(np.array([row["goal"][:2]]))[0])],
        "start": [f"{value:.1f}" for value in _pixels(np.zeros((1, 2)))[0]],
        "text": f"goal {goal_m:.0f} m away; {int(collided.sum())} of {len(values)} collide",
        "name": f"{row['path_id']}, frame {row['frame']}: true value of the choice "
                f"{truths[best]:.2f}, of the best {truths.max():.2f}".replace("-", "−"),
    }  # fmt: skip


def _pixels(places: Floats) -> Floats:
    """Places ahead and to the left as x and y of a picture whose agent looks up."""
    scale = _FAN_PX / (_AHEAD_M + _BEHIND_M)
    return np.stack([_FAN_PX / 2 - places[:, 1] * scale, (_AHEAD_M - places[:, 0]) * scale], axis=1)


def _clip(place: Floats) -> Floats:
    return np.clip(place, 8, _FAN_PX - 8)


def _points(way: Floats) -> str:
    places = _pixels(np.concatenate([np.zeros((1, 2)), way[:, :2]]))
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)


def _color(share: float) -> str:
    """Color of a share in [0, 1] on the ramp."""
    place = share * (len(_RAMP) - 1)
    low = min(int(place), len(_RAMP) - 2)
    ends = [[int(_RAMP[i][k : k + 2], 16) for k in (1, 3, 5)] for i in (low, low + 1)]
    mixed = [round(a + (b - a) * (place - low)) for a, b in zip(*ends, strict=True)]
    return "#" + "".join(f"{value:02x}" for value in mixed)


def draw_flights(episodes: pd.DataFrame, maps: GroundMaps, num: int, seed: int) -> str:
    """Return HTML of maps with flown paths.

    Args:
        episodes: One row for each flown episode.
        maps: Heights around episodes.
        num: Episodes that are drawn.
        seed: Decides which.
    """
    items = list(_flight_items(episodes, maps, num, seed))
    html = TEMPLATES.get_template("flown.html").render(
        items=items, size=_MAP_PX, colors=dict(_COLORS.values())
    )
    return " ".join(html.split())


def _flight_items(
    episodes: pd.DataFrame, maps: GroundMaps, num: int, seed: int
) -> Iterator[dict[str, Any]]:
    tables = {str(name): rows.set_index("episode_id")
              for name, rows in episodes.groupby("policy", sort=False)}  # fmt: skip
    ids = tables["expert"].index.to_numpy()
    for episode_id in np.random.default_rng([seed, 89]).permutation(ids)[:num]:
        heights, half_m = maps.ground_map(episode_id)
        shade = (235 - 150 * (heights[::-1] / 8).clip(0, 1)).astype(np.uint8)
        picture = Image.fromarray(np.stack([shade] * 3, -1)).resize((_MAP_PX, _MAP_PX))
        paths = [
            polyline_on_map(tables[name].loc[episode_id, "path"], half_m, color, _MAP_PX)
            for name, (_, color) in _COLORS.items()
        ]
        row = tables["point"].loc[episode_id]
        ended = "reaches the goal" if row["success"] else "does not reach the goal"
        yield {
            "uri": as_uri(picture),
            "paths": paths,
            "discs": [],
            "start": paths[0]["start"],
            "text": f"NavDP {ended}, {int(row['num_collisions'])} collisions",
            "name": f"{episode_id}: {row['navigation_error_m']:.0f} m from the goal at its end",
        }
