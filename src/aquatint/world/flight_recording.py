"""One flight as its recorder sees it: robot rows, frames and sensor rows, each on its own clock."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aquatint.world.arrays import FloatArray, Rng
from aquatint.world.flight_physics import (
    ACTION_HZ,
    ROBOT_HZ,
    SENSOR_HZ,
    STEPS_PER_FRAME,
    Goal,
    RangeFinder,
    expert_action,
    goal_pose,
    move,
    rotor_speeds,
    sample_place,
    wrap_deg,
)
from aquatint.world.flight_sites import Site, look_down

EPOCH_S = 1_761_551_500.0
SECONDS_BETWEEN_FLIGHTS = 120.0
# Before the first frame: the first window of the sensor is whole.
_LEAD_S = 0.2


@dataclass(frozen=True, eq=False)
class Flight:
    """A recorded flight of the expert.

    Attributes:
        goal: What was asked for.
        start_s: Unix time of the first frame.
        robot_times_s: Unix time of each robot row, shape (M,).
        poses: x, y, z in mm and three angles in degrees, shape (M, 6).
        rotors: Six rotor speeds in percent, shape (M, 6).
        frame_times_s: Unix time of each frame, shape (F,).
        frames: Frames as uint8, shape (F, S, S, 3).
        sensor_times_s: Unix time of each sensor row, shape (N,); empty without a sensor.
        sensor_rows: Force and echo, shape (N, 1026).
        step_poses: Poses at the action rate, from the first frame on, shape (K, 6).
    """

    goal: Goal
    start_s: float
    robot_times_s: FloatArray
    poses: FloatArray
    rotors: FloatArray
    frame_times_s: FloatArray
    frames: NDArray[np.uint8]
    sensor_times_s: FloatArray
    sensor_rows: NDArray[np.float16]
    step_poses: FloatArray


def record_flight(  # noqa: PLR0913 - what makes one flight
    site: Site,
    goal: Goal,
    number: int,
    rng: Rng,
    *,
    num_steps: int,
    size_px: int,
    sensor: RangeFinder | None,
) -> Flight:
    """Let the expert fly and record it.

    Args:
        site: Where.
        goal: What the instruction asks for.
        number: Number of the flight; decides its time of day.
        rng: Start, wind and noise.
        num_steps: Steps of the expert.
        size_px: Edge of the frames.
        sensor: Range finder; None for a drone without one.
    """
    path = fly_expert(site, goal, sample_place(site, rng), num_steps, rng)
    start_s = EPOCH_S + SECONDS_BETWEEN_FLIGHTS * number
    # The drone stands still before and after.
    times = np.arange(-_LEAD_S, num_steps / ACTION_HZ + 0.15, 1 / ROBOT_HZ)
    rows = _at_times(path, times)
    poses = to_pose(rows)
    frame_steps = np.arange(0, num_steps + 1, STEPS_PER_FRAME)
    frames = [
        look_down(site, path[step, :3] - (0, 0, site.elevation_m), size_px, rng)
        for step in frame_steps
    ]
    sensor_times = np.arange(-_LEAD_S, num_steps / ACTION_HZ + 0.05, 1 / SENSOR_HZ)
    heights = _at_times(path, sensor_times)[:, 2]
    climb = np.gradient(heights) * SENSOR_HZ / ACTION_HZ
    found = (
        sensor.listen(heights - site.elevation_m, climb, rng)
        if sensor
        else np.empty((0, 0), np.float16)
    )
    steps = np.arange(num_steps + 1) / ACTION_HZ
    return Flight(
        goal=goal,
        start_s=start_s,
        robot_times_s=start_s + times + rng.uniform(0, 0.002, len(times)),
        poses=poses,
        rotors=rotor_speeds(rng, len(times)),
        frame_times_s=start_s + frame_steps / ACTION_HZ + rng.uniform(0, 0.004, len(frame_steps)),
        frames=np.stack(frames),
        sensor_times_s=start_s + sensor_times if sensor else np.empty(0),
        sensor_rows=found,
        step_poses=to_pose(_at_times(path, steps)),
    )


def fly_expert(
    site: Site, goal: Goal, start: FloatArray, num_steps: int, rng: Rng
) -> NDArray[np.float64]:
    """Return position and heading before and after each step of the expert, shape (K + 1, 4)."""
    target = goal_pose(site, goal)
    path = [start]
    for _ in range(num_steps):
        path.append(move(path[-1], expert_action(path[-1], target), rng))
    return np.array(path)


def _at_times(path: FloatArray, times_s: FloatArray) -> NDArray[np.float64]:
    """Position and heading between steps, shape (N, 4)."""
    steps = np.clip(times_s * ACTION_HZ, 0, len(path) - 1)
    unwrapped = path.astype(float)
    unwrapped[:, 3] = np.degrees(np.unwrap(np.radians(unwrapped[:, 3])))
    columns = [np.interp(steps, np.arange(len(path)), column) for column in unwrapped.T]
    found = np.stack(columns, -1)
    found[:, 3] = wrap_deg(found[:, 3])
    return found


def to_pose(rows: FloatArray) -> NDArray[np.float64]:
    """Pose as a robot's log states it: x, y, z in mm, roll, pitch and heading in degrees.

    The airframe stays level: rotors that thrust sideways move it. Its roll and pitch are constant,
    as some dimensions of real robots' actions are.
    """
    level = np.zeros((len(rows), 2))
    return np.concatenate([1000 * rows[:, :3], level, rows[:, 3:]], axis=1)
