"""One clock for robot, cameras and sensor: rows at the rate of the actions."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aquatint.data.robot_rows import (
    ACTION_NAMES,
    RULE_LONG_ENOUGH,
    RULE_SYNCHRONISED,
    STATE_NAMES,
    FieldViolation,
    Frames,
    RobotEpisode,
    delta_poses,
)
from aquatint.data.sensor_windows import WindowAlignment, window_rows

# Room for timestamps that were rounded to milliseconds.
_ROUNDING_S = 1e-3


@dataclass(frozen=True)
class AlignmentRules:
    """How streams are brought together.

    Attributes:
        action_hz: Steps a second.
        robot_tolerance_s: Largest distance of a robot row from its step; also how much later than
            the step a frame may be.
        image_tolerance_s: Largest age of a frame.
        sensor_tolerance_s: Largest age of a window's last row.
        sensor_window: Rows of a window.
        sensor_alignment: ``end`` takes the last rows before the step, ``interval`` those since the
            frame before the step's own.
    """

    action_hz: float
    robot_tolerance_s: float
    image_tolerance_s: float
    sensor_tolerance_s: float
    sensor_window: int
    sensor_alignment: WindowAlignment


@dataclass
class AlignmentCounts:
    """What became of an episode's steps.

    Attributes:
        steps: Steps between the first frame and the last.
        kept: Steps with robot and all views.
        without_robot: Dropped: no robot row near enough.
        without_frame: Dropped: no frame that is recent enough.
        without_sensor: Kept, in an episode with a sensor, but the sensor was silent.
    """

    steps: int = 0
    kept: int = 0
    without_robot: int = 0
    without_frame: int = 0
    without_sensor: int = 0

    def as_dict(self) -> dict[str, int]:
        """The counts by name."""
        return asdict(self)


def align_episode(
    episode: RobotEpisode, rules: AlignmentRules
) -> tuple[pd.DataFrame, AlignmentCounts]:
    """Return one row for each step of an episode.

    Args:
        episode: What a reader found.
        rules: Rates and tolerances.

    Returns:
        Table of steps: episode_id, source, task, instruction, confidence, step, time_s since the
        first, the twelve values of the state, the seven of the action (NaN where the next step is
        missing), has_action, has_state, views and frame references with their digests, frame_step
        and frame_digest lists, sensor_file, sensor_sha256, sensor_start, sensor_stop, has_sensor;
        and what was dropped.

    Raises:
        FieldViolation: If no step is left, or fewer than two.
    """
    grid, rows = _steps(episode, rules)
    counts = AlignmentCounts(steps=len(grid))
    has_robot = np.abs(episode.times_s[rows] - grid) <= rules.robot_tolerance_s
    chosen = {view: _latest(frames, grid, rules) for view, frames in episode.frames.items()}
    has_frames = np.all([index >= 0 for index in chosen.values()], axis=0)
    counts.without_robot = int((~has_robot).sum())
    counts.without_frame = int((has_robot & ~has_frames).sum())
    kept = np.nonzero(has_robot & has_frames)[0]
    counts.kept = len(kept)
    if not len(kept):
        ends = [frames.times_s[[0, -1]].tolist() for frames in episode.frames.values()]
        raise FieldViolation(
            "timestamps",
            RULE_SYNCHRONISED,
            f"robot {episode.times_s[[0, -1]].tolist()} s, frames {ends} s",
        )
    if len(kept) < 2:
        raise FieldViolation("timestamps", RULE_LONG_ENOUGH, f"{len(kept)} of {len(grid)} kept")
    table = _table(episode, grid, rows, kept)
    table = table.assign(**_frame_columns(episode, chosen, kept))
    sensor = _sensor_columns(episode, grid, chosen, kept, rules)
    counts.without_sensor = int((~sensor["has_sensor"]).sum()) if episode.sensor else 0
    return table.assign(**sensor), counts


def _steps(
    episode: RobotEpisode, rules: AlignmentRules
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Times of the steps and the robot row nearest to each."""
    if episode.actions is not None:
        # The format has its own steps: every robot row is one.
        return episode.times_s, np.arange(len(episode.times_s))
    firsts = [frames.times_s[0] for frames in episode.frames.values()]
    lasts = [frames.times_s[-1] for frames in episode.frames.values()]
    # The last frame shows where the robot stands when the last action is done.
    num = int(np.floor((max(lasts) - max(firsts)) * rules.action_hz + 0.5)) + 1
    grid = max(firsts) + np.arange(num) / rules.action_hz
    right = np.searchsorted(episode.times_s, grid).clip(1, len(episode.times_s) - 1)
    is_left = grid - episode.times_s[right - 1] <= episode.times_s[right] - grid
    return grid, np.where(is_left, right - 1, right)


def _latest(frames: Frames, grid: NDArray[np.float64], rules: AlignmentRules) -> NDArray[np.intp]:
    """Index of the latest frame at each step; -1 where none is recent enough."""
    slack = rules.robot_tolerance_s + _ROUNDING_S
    index = np.searchsorted(frames.times_s, grid + slack, side="right") - 1
    age = grid - frames.times_s[np.maximum(index, 0)]
    return np.where((index >= 0) & (age <= rules.image_tolerance_s), index, -1)


def _table(
    episode: RobotEpisode,
    grid: NDArray[np.float64],
    rows: NDArray[np.intp],
    kept: NDArray[np.intp],
) -> pd.DataFrame:
    states = episode.states[rows[kept]]
    is_followed = np.append(np.diff(kept) == 1, False)
    actions = np.full((len(kept), len(ACTION_NAMES)), np.nan)
    if episode.actions is None:
        actions[:-1, :6] = delta_poses(states[:, 6:])
        # The gripper of this recorder is always closed; the normaliser finds it constant.
        actions[:, 6] = 1.0
        actions[~is_followed] = np.nan
        has_action = is_followed
    else:
        inside = kept < len(episode.actions)
        actions[inside] = episode.actions[kept[inside]]
        has_action = inside
    values = dict(zip(STATE_NAMES, states.T, strict=True))
    values |= dict(zip(ACTION_NAMES, actions.T, strict=True))
    return pd.DataFrame(
        {
            "episode_id": episode.episode_id,
            "source": episode.source,
            "task": episode.task,
            "instruction": episode.instruction,
            "confidence": float(episode.confidence),
            "step": kept.astype(np.int64),
            "time_s": grid[kept] - grid[0],
            **values,
            "has_action": has_action,
            "has_state": np.isfinite(states).all(axis=1),
        }
    )


def _frame_columns(
    episode: RobotEpisode, chosen: dict[str, NDArray[np.intp]], kept: NDArray[np.intp]
) -> dict[str, Any]:
    views = list(episode.frames)
    refs = [[episode.frames[v].refs[chosen[v][i]] for v in views] for i in kept]
    digests = [[episode.frames[v].digests[chosen[v][i]] for v in views] for i in kept]
    return {
        "views": [views] * len(kept),
        "image_refs": refs,
        "image_digests": digests,
        # Which picture of the first view: steps that share one share its features.
        "frame": chosen[views[0]][kept].astype(np.int64),
    }


def _sensor_columns(
    episode: RobotEpisode,
    grid: NDArray[np.float64],
    chosen: dict[str, NDArray[np.intp]],
    kept: NDArray[np.intp],
    rules: AlignmentRules,
) -> dict[str, Any]:
    spans = np.zeros((len(kept), 2), np.int64)
    if episode.sensor is not None:
        frames = next(iter(episode.frames.values()))
        index = next(iter(chosen.values()))[kept]
        before = np.where(index > 0, frames.times_s[np.maximum(index - 1, 0)], -np.inf)
        starts = before if rules.sensor_alignment == "interval" else np.full(len(kept), -np.inf)
        spans = window_rows(
            episode.sensor.times_s,
            starts,
            grid[kept] + _ROUNDING_S,
            rules.sensor_window,
            rules.sensor_tolerance_s,
        )
    return {
        "sensor_file": episode.sensor.file if episode.sensor else "",
        "sensor_sha256": episode.sensor.sha256 if episode.sensor else "",
        "sensor_start": spans[:, 0],
        "sensor_stop": spans[:, 1],
        "has_sensor": spans[:, 1] > spans[:, 0],
    }
