"""Robot data sets to one table of steps: finds folders, reads, aligns, counts, checks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from aquatint.data import bridge_reader, episode_reader, trajectory_reader
from aquatint.data.lerobot_layout import INFO
from aquatint.data.lerobot_reader import iterate_lerobot, read_lerobot_meta
from aquatint.data.rejects import ReadMode, RejectLog, RuleViolation
from aquatint.data.robot_rows import ACTION_NAMES, STATE_NAMES, FieldViolation, RobotEpisode
from aquatint.data.split import check_disjoint, split_by_group
from aquatint.data.time_alignment import AlignmentCounts, AlignmentRules, align_episode

SOURCES = ("trajectory", "episode", "bridge", "lerobot")
_Found = tuple[str, RobotEpisode | RuleViolation]


@dataclass(frozen=True)
class ReadingRules:
    """How folders are read.

    Attributes:
        mode: ``strict`` stops at the first faulty episode, ``tolerant`` lists them all.
        max_rejected_fraction: Of the episodes, in tolerant mode.
        max_pixels: Of one image.
        template: Sentence with ``{task}`` that makes an instruction of a task's folder name.
    """

    mode: ReadMode
    max_rejected_fraction: float
    max_pixels: int
    template: str


def read_episodes(
    root: Path, reading: ReadingRules, alignment: AlignmentRules
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Read every episode below a folder, whatever its format.

    Args:
        root: Folder with any number of data sets: ``recv_all_*``, ``episode_*`` with a
            metadata.json, ``traj*`` with a policy_out.pkl, folders with ``meta/info.json``.
        reading: How strict, which instruction.
        alignment: Rates and tolerances.

    Returns:
        Steps, what became of each episode's steps, and rejected episodes.

    Raises:
        ValueError: If nothing is found, or too much is rejected, or, in strict mode, at the first
            rejected episode.
    """
    root = root.resolve()
    log = RejectLog(root, reading.mode)
    tables, counts, number = [], [], -1
    found = tqdm(_find(root, reading), desc="reading episodes", disable=None, unit="episode")
    for number, (episode_id, episode) in enumerate(found):
        try:
            if isinstance(episode, RuleViolation):
                raise episode
            table, count = align_episode(episode, alignment)
        except RuleViolation as fault:
            log.add(number, episode_id, getattr(fault, "name", "image"), fault)
            continue
        tables.append(table)
        counts.append({"episode_id": episode_id, "source": episode.source, **count.as_dict()})
    if number < 0:
        raise ValueError(
            f"{root} holds no episode: no recv_all_*, episode_*, traj* folder and no {INFO}. Point "
            "the raw entry of the catalog at your recordings (docs/recipes/vla.md)."
        )
    log.check_limit(number + 1, reading.max_rejected_fraction)
    columns = ["episode_id", "source", *AlignmentCounts().as_dict()]
    return pd.concat(tables, ignore_index=True), pd.DataFrame(counts, columns=columns), log.table()


def _find(root: Path, reading: ReadingRules) -> Iterator[_Found]:
    """Every episode in the order of its format and place."""
    pixels, template = reading.max_pixels, reading.template
    readers: list[tuple[str, str, Callable[[Path], RobotEpisode]]] = [
        (
            trajectory_reader.FOLDER_PATTERN,
            "",
            lambda path: trajectory_reader.read_trajectory(root, path, template, pixels),
        ),
        (
            episode_reader.FOLDER_PATTERN,
            "metadata.json",
            lambda path: episode_reader.read_episode(root, path, template, pixels),
        ),
        (
            bridge_reader.FOLDER_PATTERN,
            "policy_out.pkl",
            lambda path: bridge_reader.read_bridge(root, path, pixels),
        ),
    ]
    for pattern, needs, read in readers:
        for folder in sorted(path for path in root.rglob(pattern) if path.is_dir()):
            if not needs or (folder / needs).exists():
                yield folder.relative_to(root).as_posix(), _caught(read, folder)
    for info in sorted(root.rglob(INFO)):
        folder = info.parent.parent
        try:
            yield from iterate_lerobot(root, read_lerobot_meta(folder), pixels)
        except FieldViolation as fault:
            yield folder.relative_to(root).as_posix(), fault


def _caught(read: Callable[[Path], RobotEpisode], folder: Path) -> RobotEpisode | RuleViolation:
    try:
        return read(folder)
    except RuleViolation as fault:
        return fault


def split_episodes(steps: pd.DataFrame, val: float, test: float, seed: int) -> pd.DataFrame:
    """Put whole episodes into train, val and test, in like shares of every format.

    Args:
        steps: Table of steps; chunks of one episode overlap, so rows must not be split.
        val: Share of the episodes for validation.
        test: Share for the test.
        seed: Decides which.
    """
    parts = []
    # A recording with the sensor and one without are told apart, so that each split has both.
    kinds = steps["source"] + np.where(steps["sensor_file"] != "", "+sensor", "")
    for _, rows in steps.groupby(kinds, sort=True):
        if rows["episode_id"].nunique() < 3:
            parts.append(rows.assign(split="train"))
            continue
        is_test = split_by_group(rows, "episode_id", test, seed) == "val"
        rest = split_by_group(rows[~is_test], "episode_id", val / (1 - test), seed + 1)
        parts.append(rows.assign(split=rest.reindex(rows.index).fillna("test")))
    table = pd.concat(parts).sort_index()
    check_disjoint(table, "episode_id")
    return table


def report_episodes(
    steps: pd.DataFrame, counts: pd.DataFrame, rejects: pd.DataFrame
) -> dict[str, Any]:
    """Count what was read, dropped and refused."""
    totals = counts.groupby("source")[list(AlignmentCounts().as_dict())].sum()
    episodes = steps.drop_duplicates("episode_id")
    moved = steps[steps["has_action"]]
    return {
        "episodes": {
            "read": len(counts),
            "rejected": int(rejects["record"].nunique()),
            "by_split": _counts(episodes["split"]),
            "by_source": _counts(episodes["source"]),
            "with_sensor": int((episodes["sensor_file"] != "").sum()),
            "without_state": int((~episodes["has_state"]).sum()),
        },
        "steps": {
            "by_split": _counts(steps["split"]),
            "alignment": {str(k): {n: int(v) for n, v in row.items()}
                          for k, row in totals.iterrows()},
            "with_sensor": int(steps["has_sensor"].sum()),
            "n": len(steps),
        },
        "frames": int(steps.groupby("episode_id")["frame"].nunique().sum()),
        "instructions": {"distinct": int(steps["instruction"].nunique())},
        "actions": {
            name: {
                "min": float(moved[name].min()),
                "mean": float(moved[name].mean()),
                "max": float(moved[name].max()),
                "is_constant": bool(moved[name].nunique() <= 1),
            }
            for name in ACTION_NAMES
        },
        "rejects": rejects.assign(record=rejects["record"].astype(int)).to_dict(orient="records"),
    }  # fmt: skip


def _counts(values: pd.Series) -> dict[str, int]:
    return {str(name): int(count) for name, count in values.value_counts().sort_index().items()}


def check_steps(table: pd.DataFrame) -> None:
    """Check a table of steps.

    Args:
        table: What ``read_episodes`` returns, with or without ``split``.

    Raises:
        ValueError: If a column is missing, a value breaks its rule, or an episode stands in two
            splits.
    """
    needed = ["episode_id", "source", "instruction", "confidence", "step", "frame", "has_action",
              "has_state", "has_sensor", "sensor_start", "sensor_stop", "views", "image_refs",
              "image_digests", *STATE_NAMES, *ACTION_NAMES]  # fmt: skip
    missing = [name for name in needed if name not in table.columns]
    if missing:
        raise ValueError(f"steps must have the columns {', '.join(missing)}, which are missing.")
    if table.empty:
        raise ValueError("steps must have at least one row, got 0.")
    if table.duplicated(["episode_id", "step"]).any():
        raise ValueError("steps must be unique by episode_id and step.")
    _require(table, table.loc[table["has_action"], list(ACTION_NAMES)].map(np.isfinite).all(axis=1),
             "finite actions where has_action is true")  # fmt: skip
    _require(table, table["confidence"].between(0, 1), "confidence in [0, 1]")
    _require(table, table["source"].isin(SOURCES), f"source in {SOURCES}")
    _require(table, table["instruction"].str.strip() != "", "an instruction")
    _require(table, table["sensor_stop"] >= table["sensor_start"], "windows that run forward")
    if "split" in table.columns:
        check_disjoint(table, "episode_id")


def _require(table: pd.DataFrame, is_good: pd.Series, rule: str) -> None:
    if not is_good.all():
        first = table.loc[is_good.index[~is_good][0]]
        raise ValueError(
            f"steps must have {rule}; {int((~is_good).sum())} rows have not, the first is step "
            f"{first['step']} of {first['episode_id']}."
        )
