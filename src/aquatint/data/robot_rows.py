"""Recorded robot episodes as readers hand them on, and the rules that their files break."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from aquatint.data.rejects import RuleViolation

SourceName = Literal["trajectory", "episode", "bridge", "lerobot"]
JOINT_NAMES = tuple(f"joint_{number}" for number in range(1, 7))
POSE_NAMES = ("pose_x", "pose_y", "pose_z", "pose_a", "pose_b", "pose_r")
STATE_NAMES = (*JOINT_NAMES, *POSE_NAMES)
ACTION_NAMES = ("delta_x", "delta_y", "delta_z", "delta_a", "delta_b", "delta_r", "gripper")
ACTION_WIDTH = len(ACTION_NAMES)
# x, y, z come first, in mm; then three angles in degrees.
NUM_LENGTHS = 3
A_SCAN_LENGTH = 1025
SENSOR_WIDTH = 1 + A_SCAN_LENGTH

RULE_COLUMNS = "must have every column of the format"
RULE_FINITE_NUMBERS = "must hold finite numbers"
RULE_ASCENDING = "must have ascending timestamps"
RULE_SYNCHRONISED = "must have clocks that overlap within the tolerances"
RULE_SENSOR_FILE = "must be a readable npz with the arrays of the format"
RULE_SENSOR_SHAPE = "must have one row of force and 1,025 echo samples for each timestamp"
RULE_ACTION_WIDTH = "must have 7 numbers a step: six changes of the pose and the gripper"
RULE_PRESENT = "must be in every episode"
RULE_METADATA = "must be JSON with the keys of the format"
RULE_LONG_ENOUGH = "must have at least two steps"
RULE_PLAIN_VALUES = "must hold plain lists, dicts, numbers and numpy arrays"


class FieldViolation(RuleViolation):
    """A field of an episode breaks a rule.

    Args:
        name: Field, file or column.
        rule: One of the rules of this module.
        value: The offending value.
    """

    def __init__(self, name: str, rule: str, value: object) -> None:
        super().__init__(rule, value)
        self.name = name


@dataclass(frozen=True, eq=False)
class SensorTimes:
    """When the rows of a sensor's file were measured.

    Attributes:
        file: File below the data set's root.
        times_s: Time of each row, ascending, shape (N,).
        sha256: Digest of the file.
    """

    file: str
    times_s: NDArray[np.float64]
    sha256: str


@dataclass(frozen=True, eq=False)
class Frames:
    """Pictures of one view.

    Attributes:
        times_s: Time of each, ascending, shape (F,).
        refs: Where each lies, as ``frame_refs.load_frame`` takes it.
        digests: sha256 of each.
    """

    times_s: NDArray[np.float64]
    refs: list[str]
    digests: list[str]


@dataclass(frozen=True, eq=False)
class RobotEpisode:
    """One recorded episode, each stream on its own clock.

    Attributes:
        episode_id: Place below the data set's root.
        source: Raw format.
        task: Name of the task.
        instruction: What the robot was told.
        confidence: How sure the annotator of the instruction was, in [0, 1].
        times_s: Time of each robot row, ascending, shape (M,).
        states: Joints, then pose (x, y, z in mm, angles in degrees), shape (M, 12); NaN where the
            format has no such value.
        frames: Pictures by view; in the order of the views.
        sensor: Rows of the sensor; None for an episode without.
        actions: Actions of each robot row where the format states them, shape (M, 7) or
            (M - 1, 7); None where they follow from the poses.
    """

    episode_id: str
    source: SourceName
    task: str
    instruction: str
    confidence: float
    times_s: NDArray[np.float64]
    states: NDArray[np.float64]
    frames: dict[str, Frames] = field(default_factory=dict)
    sensor: SensorTimes | None = None
    actions: NDArray[np.float64] | None = None


def wrap_deg(angles: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return angles in (-180, 180].

    Args:
        angles: Angles in degrees, any shape.
    """
    return 180.0 - (180.0 - np.asarray(angles, np.float64)) % 360.0


def delta_poses(poses: NDArray[np.floating]) -> NDArray[np.float64]:
    """Differences of consecutive poses, with angles wrapped.

    Args:
        poses: x, y, z in mm and three angles in degrees, shape (T, 6).

    Returns:
        Deltas in the same units, shape (T - 1, 6); angles in (-180, 180].
    """
    deltas = np.diff(np.asarray(poses, np.float64), axis=0)
    # Before anything sees them: 179 to -179 is +2 degrees, not -358.
    deltas[:, NUM_LENGTHS:] = wrap_deg(deltas[:, NUM_LENGTHS:])
    return deltas


def check_times(name: str, times_s: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return finite, ascending times.

    Raises:
        FieldViolation: If they are not.
    """
    times = np.asarray(times_s, np.float64)
    if not np.isfinite(times).all():
        row = int(np.nonzero(~np.isfinite(times))[0][0])
        raise FieldViolation(name, RULE_FINITE_NUMBERS, f"row {row}: {times[row]}")
    falling = np.nonzero(np.diff(times) < 0)[0]
    if len(falling):
        row = int(falling[0]) + 1
        raise FieldViolation(name, RULE_ASCENDING, f"row {row}: {times[row - 1]}, {times[row]}")
    return times
