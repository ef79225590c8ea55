"""Reads recordings in the layout that VLN-PE's trajectories are published in.

``<root>/<scan set>/<scene>/``: a Parquet file of steps, an array of pictures and one of depths for
each episode, and instructions as text and as token numbers.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from aquatint.data.frame_arrays import check_frames
from aquatint.data.json_lines import read_json_lines
from aquatint.data.rejects import ReadMode, RejectLog, RuleViolation
from aquatint.data.tables import SPLITS, check_table

# The scan sets of the published data, by what they are for here.
SPLIT_OF_SET = {"train": "train", "val_seen": "val", "val_unseen": "test"}
NUM_ACTIONS = 4  # stop, forward, left, right
RULE_TASKS = "must have tasks, each with text and instruction_tokens of whole numbers above 0"
RULE_TABLE = "must exist and be a Parquet file"
RULE_STEPS = "must have at least one step, with actions from 0 to 3 and progress in [0, 1]"
RULE_POSITIONS = "must be finite positions and yaws"
_COLUMNS = ("observation.robot_position", "observation.robot_yaw", "observation.progress",
            "observation.step", "observation.action")  # fmt: skip
_CHUNK = 1000

RECORD_DTYPES = {
    "flight_id": "str",
    "split": "str",
    "scene": "str",
    "finish_status": "str",
    "num_steps": "int64",
    "num_recorded": "int64",
    "rgb_path": "str",
    "depth_path": "str",
    "sha256": "str",
}
STEP_DTYPES = {
    "flight_id": "str",
    "step": "int64",
    "action": "int64",
    "progress": "float64",
    "x_m": "float64",
    "y_m": "float64",
    "yaw_rad": "float64",
}
INSTRUCTION_DTYPES = {"instruction_id": "str", "flight_id": "str", "split": "str", "text": "str"}


@dataclass(frozen=True)
class RecordRule:
    """How recordings are judged and cut.

    Attributes:
        mode: ``strict`` stops at the first finding, ``tolerant`` leaves the flight out.
        max_rejected_fraction: Largest accepted share of flights with a finding.
        keeps_failed: Whether flights that did not succeed are kept.
        min_failed_steps: Failed flights of fewer steps go.
        num_stuck_steps: Steps that are cut off the end of a flight that got stuck.
        max_steps: Longer flights are cut here.
    """

    mode: ReadMode
    max_rejected_fraction: float
    keeps_failed: bool
    min_failed_steps: int
    num_stuck_steps: int
    max_steps: int

    def num_kept(self, status: str, num_steps: int) -> int:
        """Return how many of a flight's steps are kept, 0 for none."""
        if status != "success" and (not self.keeps_failed or num_steps < self.min_failed_steps):
            return 0
        kept = num_steps - (self.num_stuck_steps if status == "stuck" else 0)
        return max(0, min(kept, self.max_steps))


@dataclass(frozen=True, eq=False)
class FlightRecords:
    """Recordings as tables.

    Attributes:
        records: One row for each flight, ``RECORD_DTYPES``; paths relative to the root.
        steps: One row for each kept step, ``STEP_DTYPES``.
        instructions: One row for each instruction, ``INSTRUCTION_DTYPES`` and ``tokens``.
        rejects: Findings.
        dropped: Flights that the rule left out, by status.
    """

    records: pd.DataFrame
    steps: pd.DataFrame
    instructions: pd.DataFrame
    rejects: pd.DataFrame
    dropped: dict[str, int]


def read_records(root: Path, rule: RecordRule) -> FlightRecords:
    """Read all scan sets.

    Args:
        root: Folder of the scan sets.
        rule: How flights are judged and cut.

    Raises:
        FileNotFoundError: If a scan set or a scene's list is missing.
        ValueError: In strict mode at the first finding; above the limit of findings; if nothing is
            left of a split.
    """
    root = root.resolve()
    log = RejectLog(root, rule.mode)
    flights: list[dict[str, Any]] = []
    dropped: Counter[str] = Counter()
    number = 0
    for scene, stats, tasks in _listed_flights(root):
        flight_id = f"{scene.parent.name}/{scene.name}/{stats.get('episode_index')!s:0>6}"
        try:
            own = _tasks_of(stats, tasks)
            flight = _read_flight(root, scene, flight_id, int(stats["episode_index"]), own, rule)
        except RuleViolation as fault:
            log.add(number, flight_id, "flight", fault)
        else:
            if flight is None:
                dropped[_status(own)] += 1
            else:
                flights.append(flight)
        number += 1
    log.check_limit(number, rule.max_rejected_fraction)
    empty = sorted({*SPLITS} - {flight["records"]["split"] for flight in flights})
    if empty:
        raise ValueError(
            f"{root} leaves no flight for {', '.join(empty)}; {number} were read, {dict(dropped)} "
            "left out. Each of train, val_seen and val_unseen needs one at least."
        )
    steps, instructions = (
        pd.concat([flight[name] for flight in flights], ignore_index=True)
        for name in ("steps", "instructions")
    )
    return FlightRecords(
        records=pd.DataFrame([flight["records"] for flight in flights]).astype(RECORD_DTYPES),
        steps=steps.astype(STEP_DTYPES),
        instructions=instructions.astype(INSTRUCTION_DTYPES),
        rejects=log.table(),
        dropped=dict(dropped),
    )


def _listed_flights(
    root: Path,
) -> Iterator[tuple[Path, dict[str, Any], dict[int, dict[str, Any]]]]:
    """Scene, statistics, and the scene's tasks by number, of every flight that is listed."""
    for scan_set in SPLIT_OF_SET:
        folder = root / scan_set
        if not folder.is_dir():
            raise FileNotFoundError(f"Recordings need the folder {folder}, which is missing.")
        for scene in sorted(path for path in folder.iterdir() if path.is_dir()):
            rows = read_json_lines(scene / "meta/tasks.jsonl", "task_index")
            tasks = {row["task_index"]: row for row in rows}
            for stats in read_json_lines(scene / "meta/episodes_stats.jsonl", "episode_index"):
                yield scene, stats, tasks


def _status(tasks: list[dict[str, Any]]) -> str:
    return str(tasks[0].get("finish_status", "success"))


def _tasks_of(
    stats: Mapping[str, Any], tasks: Mapping[int, dict[str, Any]]
) -> list[dict[str, Any]]:
    """Tasks of an episode: its statistics hold the first and the last number."""
    try:
        bounds = stats["stats"]["task_index"]
        found = [tasks[i] for i in range(int(bounds["min"][0]), int(bounds["max"][0]) + 1)]
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise RuleViolation(RULE_TASKS, f"{error!r} of {stats}") from error
    for task in found:
        tokens = task.get("instruction_tokens")
        if isinstance(tokens, list):
            # Published instructions are padded with 0 to a length of 200.
            while tokens and tokens[-1] == 0:
                tokens.pop()
        is_text = isinstance(task.get("task"), str) and bool(task["task"].strip())
        if not is_text or not isinstance(tokens, list) or not tokens or not all(
            isinstance(token, int) and token > 0 for token in tokens
        ):  # fmt: skip
            raise RuleViolation(RULE_TASKS, task)
    if not found:
        raise RuleViolation(RULE_TASKS, stats)
    return found


def _read_flight(
    root: Path,
    scene: Path,
    flight_id: str,
    index: int,
    own: list[dict[str, Any]],
    rule: RecordRule,
) -> dict[str, Any] | None:
    """Rows of each table; None for a flight that the rule leaves out."""
    chunk = f"chunk-{index // _CHUNK:03d}"
    table = _read_steps(scene / "data" / chunk / f"episode_{index:06d}.parquet")
    status = _status(own)
    kept = rule.num_kept(status, len(table))
    if not kept:
        return None
    paths = {}
    for kind in ("rgb", "depth"):
        place = scene / "videos" / chunk / f"observation.images.{kind}" / f"episode_{index:06d}.npy"
        check_frames(place, kind, len(table))
        paths[kind] = place.relative_to(root).as_posix()
    split = SPLIT_OF_SET[flight_id.partition("/")[0]]
    digest = hashlib.sha256((root / paths["rgb"]).read_bytes())
    digest.update((root / paths["depth"]).read_bytes())
    return {
        "records": {
            "flight_id": flight_id,
            "split": split,
            "scene": scene.name,
            "finish_status": status,
            "num_steps": kept,
            "num_recorded": len(table),
            "rgb_path": paths["rgb"],
            "depth_path": paths["depth"],
            "sha256": digest.hexdigest(),
        },
        "steps": table.head(kept).assign(flight_id=flight_id)[list(STEP_DTYPES)],
        "instructions": pd.DataFrame(
            {
                "instruction_id": [f"{flight_id}#{i}" for i in range(len(own))],
                "flight_id": flight_id,
                "split": split,
                "text": [task["task"] for task in own],
                "tokens": [task["instruction_tokens"] for task in own],
            }
        ),
    }


def _read_steps(path: Path) -> pd.DataFrame:
    try:
        present = pq.read_schema(path).names
    except (OSError, ValueError) as error:
        raise RuleViolation(RULE_TABLE, f"{path.name}: {error}") from error
    missing = [name for name in _COLUMNS if name not in present]
    if missing:
        # Not a fault of one flight, but another layout.
        raise ValueError(
            f"{path} needs the columns {', '.join(_COLUMNS)}; it lacks {', '.join(missing)}."
        )
    table = pq.read_table(path, columns=list(_COLUMNS)).to_pandas()
    actions, progress = table["observation.action"], table["observation.progress"]
    is_right = actions.isin(range(NUM_ACTIONS)).all() and progress.between(0, 1).all()
    if not len(table) or not is_right:
        raise RuleViolation(RULE_STEPS, f"{path.name}: {sorted(set(actions))[:8]}")
    positions = np.array(table["observation.robot_position"].to_list(), float)
    yaws = table["observation.robot_yaw"].to_numpy(float)
    if not np.isfinite(positions).all() or not np.isfinite(yaws).all():
        wrong = np.nonzero(~np.isfinite(positions).all(1) | ~np.isfinite(yaws))[0]
        raise RuleViolation(RULE_POSITIONS, f"{path.name}, steps {wrong[:5].tolist()}")
    return pd.DataFrame(
        {
            "step": range(len(table)),
            "action": actions.to_numpy(int),
            "progress": progress.to_numpy(float),
            "x_m": positions[:, 0],
            "y_m": positions[:, 1],
            # Wrapped: recordings count turns on.
            "yaw_rad": (yaws + np.pi) % (2 * np.pi) - np.pi,
        }
    )


def check_records(table: pd.DataFrame) -> None:
    """Check a table of flights.

    Raises:
        ValueError: If a column, an id, a split or a number of steps breaks its rule.
    """
    check_table("records", table, RECORD_DTYPES, ["flight_id"], is_empty_allowed=False)
    if not table["split"].isin(SPLITS).all() or (table["num_steps"] < 1).any():
        raise ValueError(f"every flight needs a split of {SPLITS} and at least one step.")


def check_steps(table: pd.DataFrame) -> None:
    """Check a table of steps.

    Raises:
        ValueError: If a column is missing or a step repeats.
    """
    check_table("steps", table, STEP_DTYPES, ["flight_id", "step"], is_empty_allowed=False)


def check_instructions(table: pd.DataFrame) -> None:
    """Check a table of instructions.

    Raises:
        ValueError: If a column is missing or an id repeats.
    """
    key = ["instruction_id"]
    check_table("instructions", table, INSTRUCTION_DTYPES, key, is_empty_allowed=False)
