"""Closed-loop flights over grounds that no recording shows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from aquatint.world.arrays import FloatArray, Rng
from aquatint.world.flight_physics import (
    ACTION_HZ,
    SENSOR_HZ,
    TARGET_CLEARANCE_M,
    Goal,
    RangeFinder,
    expert_action,
    goal_pose,
    move,
    rotor_speeds,
    sample_start,
    wrap_deg,
)
from aquatint.world.flight_recording import to_pose
from aquatint.world.flight_sites import Site, look_down, sample_site, to_pixels
from aquatint.world.flights import FlightWorldSpec, ground_path, sample_goal, test_grounds

MAX_FLAT_ERROR_M, MAX_HEIGHT_ERROR_M, MAX_HEADING_ERROR_DEG = 1.0, 1.0, 20.0
_WINDOW_S = 0.1


@dataclass
class _Flight:
    site: Site
    goal: Goal
    misleading: Goal
    path: list[FloatArray]
    # Apart from each other: how often a policy looks must not change the wind it meets.
    wind: Rng
    noise: Rng


class FlightSimulator:
    """Several drones, each over a site of its own.

    Args:
        folder: Folder that ``write_flights`` wrote.
        spec: Its specification.
    """

    def __init__(self, folder: Path, spec: FlightWorldSpec) -> None:
        self._folder, self._spec = folder, spec
        self._sensor = RangeFinder(spec.seed)
        self._flights: dict[int, _Flight] = {}
        self.num_steps, self.num_views = spec.num_rollout_steps, 1

    def reset(self, run_ids: list[int]) -> None:
        """Begin these flights."""
        self._flights = {run_id: self._begin(run_id) for run_id in run_ids}

    def _begin(self, run_id: int) -> _Flight:
        seeds = test_grounds(self._spec)
        with Image.open(ground_path(self._folder, seeds[run_id % len(seeds)])) as image:
            ground = np.asarray(image.convert("RGB"))
        rng = np.random.default_rng([self._spec.seed, 73, run_id])
        site = sample_site(ground, rng)
        goal = sample_goal(site, rng)
        others = [pad.color for pad in site.pads if pad.color != goal.color]
        misleading = Goal(str(rng.choice(others)), goal.heading)
        wind, noise = (np.random.default_rng([self._spec.seed, kind, run_id]) for kind in (75, 76))
        return _Flight(site, goal, misleading, [sample_start(site, rng)], wind, noise)

    def observe(self, *, is_misled: bool = False, is_deaf: bool = False) -> dict[str, Any]:
        """Pictures, instructions, states and sensor rows of all drones."""
        flights = list(self._flights.values())
        goals = [flight.misleading if is_misled else flight.goal for flight in flights]
        sensors = [self._listen(flight) for flight in flights]
        return {
            "views": [[self._look(flight)] for flight in flights],
            "instructions": [goal.instruction for goal in goals],
            "states": self.states(),
            "sensors": [np.zeros_like(rows) for rows in sensors] if is_deaf else sensors,
        }

    def states(self) -> NDArray[np.float64]:
        """Joints and pose of all drones, shape (B, 12)."""
        rows = np.stack([flight.path[-1] for flight in self._flights.values()])
        step = len(next(iter(self._flights.values())).path)
        rng = np.random.default_rng([self._spec.seed, 74, step])
        return np.concatenate([rotor_speeds(rng, len(rows)), to_pose(rows)], axis=1)

    def step(self, actions: NDArray[np.floating]) -> None:
        """Carry out an action of each drone: x, y, z in mm, roll and pitch ignored, heading."""
        for flight, action in zip(self._flights.values(), actions, strict=True):
            change = np.array([*(action[:3] / 1000), action[5]], float)
            flight.path.append(move(flight.path[-1], change, flight.wind))

    def expert_actions(self) -> NDArray[np.float64]:
        """What the expert would do now, shape (B, 7)."""
        rows = []
        for flight in self._flights.values():
            change = expert_action(flight.path[-1], goal_pose(flight.site, flight.goal))
            rows.append([*(1000 * change[:3]), 0.0, 0.0, change[3], 1.0])
        return np.array(rows)

    def results(self) -> pd.DataFrame:
        """How the flights ended.

        Returns:
            One row for each: run_id, instruction, is_success, final_error_m, flat_error_m,
            height_error_m, heading_error_deg, path_length_m, path (x, y, height over the ground and
            heading of every step, flat), nearest_pad (color).
        """
        return pd.DataFrame([self._result(run_id) for run_id in self._flights])

    def _result(self, run_id: int) -> dict[str, Any]:
        flight = self._flights[run_id]
        path = np.array(flight.path)
        gap = path[-1] - goal_pose(flight.site, flight.goal)
        flat, height = float(np.hypot(*gap[:2])), abs(float(gap[2]))
        heading = abs(float(wrap_deg(gap[3])))
        pads = flight.site.pads
        distances = [np.hypot(pad.x_m - path[-1, 0], pad.y_m - path[-1, 1]) for pad in pads]
        shown = path.copy()
        shown[:, 2] -= flight.site.elevation_m
        return {
            "run_id": run_id,
            "instruction": flight.goal.instruction,
            "goal": flight.goal.color,
            "is_success": flat < MAX_FLAT_ERROR_M
            and height < MAX_HEIGHT_ERROR_M
            and heading < MAX_HEADING_ERROR_DEG,
            "is_at_pad": flat < MAX_FLAT_ERROR_M,
            "final_error_m": float(np.linalg.norm(gap[:3])),
            "flat_error_m": flat,
            "height_error_m": height,
            "heading_error_deg": heading,
            "path_length_m": float(np.linalg.norm(np.diff(path[:, :3], axis=0), axis=1).sum()),
            "path": shown.ravel().astype(np.float32),
            "nearest_pad": pads[int(np.argmin(distances))].color,
        }

    def picture(self, run_id: int) -> tuple[NDArray[np.uint8], list[dict[str, Any]]]:
        """The site of a flight from above, and its pads with their places in the picture."""
        flight = self._flights.get(run_id) or self._begin(run_id)
        pads = []
        for pad in flight.site.pads:
            column, row = to_pixels(pad.x_m, pad.y_m)
            is_goal = pad.color == flight.goal.color
            pads.append({"color": pad.color, "x": column, "y": row, "is_goal": is_goal})
        return flight.site.ground, pads

    def place(self, x_m: FloatArray, y_m: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Columns and rows of places in a picture."""
        points = [to_pixels(float(x), float(y)) for x, y in zip(x_m, y_m, strict=True)]
        columns, rows = zip(*points, strict=True)
        return np.array(columns), np.array(rows)

    def view_along(self, run_id: int, path: FloatArray, steps: list[int]) -> NDArray[np.uint8]:
        """What the camera saw at some steps of a path (K, 4), shape (len(steps), S, S, 3)."""
        site = (self._flights.get(run_id) or self._begin(run_id)).site
        rng = np.random.default_rng(run_id)
        size = self._spec.size_px
        return np.stack([look_down(site, path[step, :3], size, rng) for step in steps])

    def _look(self, flight: _Flight) -> NDArray[np.uint8]:
        place = flight.path[-1][:3] - (0, 0, flight.site.elevation_m)
        return look_down(flight.site, place, self._spec.size_px, flight.noise)

    def _listen(self, flight: _Flight) -> NDArray[np.float16]:
        num = round(_WINDOW_S * SENSOR_HZ)
        before = flight.path[-2] if len(flight.path) > 1 else flight.path[-1]
        heights = np.linspace(before[2], flight.path[-1][2], num) - flight.site.elevation_m
        climb = np.full(num, (flight.path[-1][2] - before[2]) * 1.0)
        return self._sensor.listen(heights, climb, flight.noise)


__all__ = ["ACTION_HZ", "TARGET_CLEARANCE_M", "FlightSimulator"]
