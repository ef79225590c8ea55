"""Several sets of trajectories as one: each as one camera saw it, with its pixel goals."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from aquatint.data.goal_tables import GOAL_DTYPES, DepthCamera, label_frames
from aquatint.data.pixel_goals import NO_GOAL, GoalRule
from aquatint.data.trajectories import ReadRule, read_trajectories, table_path
from aquatint.data.trajectory_names import TrajectorySet, parse_trajectory_name


def parse_sets(names: Sequence[str], known: Collection[str]) -> list[TrajectorySet]:
    """Read the names of several sets.

    Raises:
        ValueError: If one is unknown, breaks the grammar, or stands twice with different shares.
    """
    chosen = [parse_trajectory_name(name, known) for name in names]
    tokens = [item.token for item in chosen]
    twice = sorted({token for token in tokens if tokens.count(token) > 1})
    if twice or not chosen:
        raise ValueError(
            f"names must list sets, each once; {', '.join(twice) or 'none'} in {list(names)}."
        )
    return chosen


def read_sets(
    root: Path, chosen: Sequence[TrajectorySet], rule: ReadRule
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Read the flights of all sets.

    Returns:
        Flights, frames and rejects of ``read_trajectories``; flights carry their set's ``token``,
        also as the first part of their id: one set may be seen by several cameras.
    """
    parts = [read_trajectories(root, replace(item, percent=100), rule) for item in chosen]
    flights, frames, rejects = [], [], []
    for item, (of_flights, of_frames, of_rejects) in zip(chosen, parts, strict=True):
        flights.append(_renamed(of_flights, item).assign(token=item.token))
        frames.append(_renamed(of_frames, item))
        rejects.append(of_rejects)
    return tuple(pd.concat(tables, ignore_index=True) for tables in (flights, frames, rejects))  # type: ignore[return-value]


def _renamed(table: pd.DataFrame, chosen: TrajectorySet) -> pd.DataFrame:
    names = table["flight_id"].str.split("/").str[1:].str.join("/")
    return table.assign(flight_id=(f"{chosen.token}/" + names).astype("str"))


def label_sets(
    root: Path,
    chosen: Sequence[TrajectorySet],
    flights: pd.DataFrame,
    frames: pd.DataFrame,
    camera: DepthCamera,
    rule: GoalRule,
) -> pd.DataFrame:
    """Find the pixel goals of all sets; the rule's camera height is taken from each set's name."""
    parts = []
    for item in chosen:
        own = flights.loc[flights["token"] == item.token, "flight_id"]
        rows = frames[frames["flight_id"].isin(own)]
        parts.append(
            label_frames(root, rows, camera, replace(rule, camera_height_m=item.height_cm / 100))
        )
    return pd.concat(parts, ignore_index=True).astype(GOAL_DTYPES)


def read_goals(root: Path, chosen: Sequence[TrajectorySet], flights: pd.DataFrame) -> pd.DataFrame:
    """Read the pixel goals that published sets hold in their own columns.

    Raises:
        ValueError: If a set lacks its columns, naming all that are missing, or a goal is no pair of
            whole numbers.
    """
    views = {item.token: item.look_down_view for item in chosen}
    rows: list[dict[str, Any]] = flights.to_dict(orient="records")  # type: ignore[assignment]
    parts = [_read_flight_goals(root, row, views[row["token"]]) for row in rows]
    return pd.concat(parts, ignore_index=True).astype(GOAL_DTYPES)


def _read_flight_goals(root: Path, flight: dict[str, Any], view: str) -> pd.DataFrame:
    path = table_path(root / flight["set_name"] / flight["scene"], flight["episode_index"])
    needed = [f"goal.{view}", f"relative_goal_frame_id.{view}"]
    missing = sorted(set(needed) - set(pq.read_schema(path).names))
    if missing:
        raise ValueError(
            f"{path} lacks {', '.join(missing)} for {flight['token']}. Make them with kedro run "
            "--pipeline=pixel_goals, or let this recipe do so: data.goals.source: label."
        )
    table = pq.read_table(path, columns=needed)
    offsets = np.array(table[needed[1]].to_pylist(), float)
    places = table[needed[0]].to_pylist()
    has_goal = offsets != NO_GOAL
    is_pair = [place is not None and len(place) == 2 for place in places]
    if not np.isfinite(offsets).all() or not np.array(is_pair)[has_goal].all():
        raise ValueError(f"{path}: every goal needs two whole numbers, row and column.")
    pairs = np.array([place if pair else (NO_GOAL, NO_GOAL)
                      for place, pair in zip(places, is_pair, strict=True)], np.int64)  # fmt: skip
    pairs[~has_goal] = NO_GOAL
    return pd.DataFrame(
        {
            "flight_id": flight["flight_id"],
            "frame": range(len(offsets)),
            "goal_row": pairs[:, 0],
            "goal_column": pairs[:, 1],
            "goal_offset": offsets.astype(np.int64),
            "num_hidden": 0,
            "num_unmeasured": 0,
        }
    )
