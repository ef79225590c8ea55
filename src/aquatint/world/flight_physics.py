"""How the drone moves, what its expert does, and what its range finder hears."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aquatint.world.arrays import FloatArray, Rng
from aquatint.world.flight_sites import Site

ACTION_HZ, ROBOT_HZ, SENSOR_HZ = 10, 100, 650
STEPS_PER_FRAME = 3
HEADINGS_DEG = {"north": 0.0, "east": -90.0, "south": 180.0, "west": 90.0}
TARGET_CLEARANCE_M = 4.0
NUM_ROTORS = 6
A_SCAN_LENGTH = 1025
BIN_M = 0.025
_MAX_STEP_M, _MAX_TURN_DEG = 1.0, 30.0
_GAIN_XY, _GAIN_Z, _GAIN_YAW = 0.2, 0.15, 0.25
_WIND_M = 0.02
_START_HEADING_DEG = 50.0
_HOVER_N = 12.0
_ECHO_WIDTH_BINS = 18.0
_NOISE_ROWS = 512
_SHIFTS_PER_BIN = 2


@dataclass(frozen=True)
class Goal:
    """What an instruction asks for.

    Attributes:
        color: Color of the pad to hover above.
        heading: One of ``HEADINGS_DEG``.
    """

    color: str
    heading: str

    @property
    def task(self) -> str:
        """Name of the task's folder: the instruction with underscores."""
        return f"fly_to_the_{self.color}_pad_and_face_{self.heading}"

    @property
    def instruction(self) -> str:
        """The instruction as a sentence."""
        return instruction_of(self.task)


def instruction_of(task: str) -> str:
    """Return the sentence that a task's name stands for."""
    text = task.replace("_", " ").strip()
    return f"{text[:1].upper()}{text[1:]}."


def wrap_deg(angle: FloatArray | float) -> FloatArray:
    """Return angles in (-180, 180]."""
    return 180.0 - (180.0 - np.asarray(angle, float)) % 360.0


def goal_pose(site: Site, goal: Goal) -> FloatArray:
    """East, north, altitude in metres and heading in degrees that end a flight, shape (4,)."""
    pad = site.pad(goal.color)
    altitude = site.elevation_m + TARGET_CLEARANCE_M
    return np.array([pad.x_m, pad.y_m, altitude, HEADINGS_DEG[goal.heading]])


def expert_action(position: FloatArray, target: FloatArray) -> FloatArray:
    """Step of the expert: towards the pad, down to the clearance, round to the heading.

    Args:
        position: East, north, altitude in metres, heading in degrees, shape (4,).
        target: The same of the goal.

    Returns:
        Change of each in one step, same units, shape (4,).
    """
    error = target - position
    flat = _GAIN_XY * error[:2]
    length = float(np.hypot(*flat))
    flat = flat * min(1.0, _MAX_STEP_M / max(length, 1e-9))
    climb = np.clip(_GAIN_Z * error[2], -_MAX_STEP_M, _MAX_STEP_M)
    turn = np.clip(_GAIN_YAW * wrap_deg(error[3]), -_MAX_TURN_DEG, _MAX_TURN_DEG)
    return np.array([*flat, climb, turn], float)


def move(position: FloatArray, action: FloatArray, rng: Rng) -> FloatArray:
    """Carry out a step, with a little wind; no step is longer than the drone can fly."""
    limited = np.array(action, float)
    limited[:3] = np.clip(limited[:3], -2 * _MAX_STEP_M, 2 * _MAX_STEP_M)
    limited[3] = np.clip(limited[3], -2 * _MAX_TURN_DEG, 2 * _MAX_TURN_DEG)
    wind = np.append(rng.normal(0, _WIND_M, 3), rng.normal(0, 0.3))
    after = position + limited + wind
    after[3] = wrap_deg(after[3])
    return after


def sample_start(site: Site, rng: Rng) -> FloatArray:
    """Draw where a flight begins: pads in view, more often facing north than not."""
    middle = np.mean([(pad.x_m, pad.y_m) for pad in site.pads], axis=0)
    x, y = middle + rng.uniform(-3, 3, 2)
    clearance = rng.uniform(11, 17)
    heading = _START_HEADING_DEG * rng.standard_normal()
    return np.array([x, y, site.elevation_m + clearance, float(wrap_deg(heading))])


def sample_place(site: Site, rng: Rng) -> FloatArray:
    """Draw where a recording begins: half of them far off, half anywhere near one of the pads.

    As demonstrations that are put off their way on purpose: a policy that drifts finds itself in
    states that it has seen.
    """
    if rng.random() < 0.5:
        return sample_start(site, rng)
    pad = site.pads[int(rng.integers(len(site.pads)))]
    clearance = rng.uniform(4.5, 13)
    x, y = (pad.x_m, pad.y_m) + rng.uniform(-0.45, 0.45, 2) * clearance
    heading = float(wrap_deg(rng.uniform(-180, 180)))
    return np.array([x, y, site.elevation_m + clearance, heading])


def rotor_speeds(rng: Rng, num: int) -> FloatArray:
    """Speeds of the six rotors in percent, about those of hovering, shape (num, 6)."""
    return 55 + rng.normal(0, 0.8, (num, NUM_ROTORS))


class RangeFinder:
    """Pulsed range finder under the drone: the echo's place tells the clearance.

    Args:
        seed: Decides the noise.
    """

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng([seed, 71])
        bins = np.arange(A_SCAN_LENGTH, dtype=np.float32)
        haze = 260 * np.exp(-bins / 70)
        noise = np.abs(rng.normal(0, 35, (_NOISE_ROWS, A_SCAN_LENGTH)))
        self._noise = (noise + haze).astype(np.float32)
        centers = np.arange(A_SCAN_LENGTH * _SHIFTS_PER_BIN, dtype=np.float32) / _SHIFTS_PER_BIN
        offsets = (bins - centers[:, None]) / _ECHO_WIDTH_BINS
        self._pulses = np.exp(-(offsets**2) / 2).astype(np.float32)

    def listen(self, clearance_m: FloatArray, climb_m: FloatArray, rng: Rng) -> NDArray[np.float16]:
        """Return one row for each moment: force in newtons, then the echo's 1,025 samples.

        Args:
            clearance_m: Height over the ground, shape (N,).
            climb_m: Change of altitude at that moment, metres a step, shape (N,).
            rng: Noise.

        Returns:
            Shape (N, 1026).
        """
        num = len(clearance_m)
        jittered = np.asarray(clearance_m) + rng.normal(0, 0.06, num)
        index = np.round(jittered / BIN_M * _SHIFTS_PER_BIN).astype(np.int64)
        index = index.clip(0, len(self._pulses) - 1)
        strength = 700 * np.exp(rng.normal(0, 0.25, num)).astype(np.float32)
        rows = np.empty((num, 1 + A_SCAN_LENGTH), np.float16)
        rows[:, 0] = _HOVER_N + 4 * np.asarray(climb_m) + rng.normal(0, 0.6, num)
        chosen = rng.integers(0, _NOISE_ROWS, num)
        rows[:, 1:] = strength[:, None] * self._pulses[index] + self._noise[chosen]
        return rows
