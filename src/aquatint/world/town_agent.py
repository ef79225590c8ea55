"""An agent over a town: four actions, two cameras, an expert that knows the way."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from aquatint.geometry.poses import intrinsic_matrix, look_pose
from aquatint.world.arrays import FloatArray
from aquatint.world.render import Camera, View, render
from aquatint.world.scenes import Scene
from aquatint.world.town_map import TownMap

# So that an expert turns to shorten its way, not for a rounding of the map.
_TURN_COST_M = 0.02


class Action(IntEnum):
    """What an agent can do, by the numbers of VLN-CE's trajectories."""

    STOP = 0
    FORWARD = 1
    LEFT = 2
    RIGHT = 3


@dataclass(frozen=True)
class AgentSpec:
    """An agent and its cameras.

    Args:
        altitude_m: Height over the ground.
        step_m: Way of one step forward.
        turn_deg: Angle of one turn.
        clearance_m: Least height above whatever it flies over.
        radius_m: Least distance from what is too high.
        pitch_deg: Pitch of frames in general, below the horizon, 45 to 90.
        look_down_deg: Pitch of the frames in which goals are pointed at, likewise.
        fov_deg: Angle of view over the full image.
        size_px: Edge of the frames.
    """

    altitude_m: float = 10.0
    step_m: float = 2.5
    turn_deg: float = 15.0
    clearance_m: float = 3.0
    radius_m: float = 1.0
    pitch_deg: int = 45
    look_down_deg: int = 60
    fov_deg: float = 79.0
    size_px: int = 96

    @property
    def intrinsics(self) -> NDArray[np.float64]:
        """Matrix of both cameras, shape (3, 3)."""
        return intrinsic_matrix(self.size_px, self.size_px, self.fov_deg)


@dataclass(frozen=True)
class AgentState:
    """Where an agent is.

    Args:
        x_m: World x.
        y_m: World y.
        heading_rad: Direction of flight, counter-clockwise from world x.
    """

    x_m: float
    y_m: float
    heading_rad: float

    @property
    def position(self) -> FloatArray:
        """Place over the ground in metres, shape (2,)."""
        return np.array([self.x_m, self.y_m])


def act(
    state: AgentState, action: Action, town: TownMap, spec: AgentSpec
) -> tuple[AgentState, bool]:
    """Carry out one action.

    Returns:
        The new state, and whether an obstacle kept the agent from moving.
    """
    turn = np.radians(spec.turn_deg)
    if action in (Action.LEFT, Action.RIGHT):
        heading = state.heading_rad + (turn if action == Action.LEFT else -turn)
        heading = (heading + np.pi) % (2 * np.pi) - np.pi
        return AgentState(state.x_m, state.y_m, float(heading)), False
    if action == Action.STOP:
        return state, False
    ahead = np.array([np.cos(state.heading_rad), np.sin(state.heading_rad)]) * spec.step_m
    goal = state.position + ahead
    if not town.is_way_free(state.position, goal):
        return state, True
    return AgentState(float(goal[0]), float(goal[1]), state.heading_rad), False


def camera_pose(state: AgentState, spec: AgentSpec, pitch_deg: float) -> NDArray[np.float64]:
    """Return camera to world of one of the agent's cameras, shape (4, 4)."""
    place = np.array([state.x_m, state.y_m, spec.altitude_m])
    return look_pose(place, state.heading_rad, np.radians(pitch_deg))


def look(scene: Scene, state: AgentState, spec: AgentSpec, pitch_deg: float) -> View:
    """Render what one of the agent's cameras sees."""
    from_nadir_deg = 90.0 - pitch_deg
    reach_m = spec.altitude_m * np.tan(np.radians(from_nadir_deg))
    camera = Camera(
        altitude_m=spec.altitude_m,
        pitch_deg=from_nadir_deg,
        yaw_deg=float((90.0 - np.degrees(state.heading_rad)) % 360),
        x_m=float(state.x_m + reach_m * np.cos(state.heading_rad)),
        y_m=float(state.y_m + reach_m * np.sin(state.heading_rad)),
        fov_deg=spec.fov_deg,
    )
    return render(scene, camera, spec.size_px, supersampling=1)


class Expert:
    """Follows the shortest way to a goal.

    Args:
        town: Where an agent may fly.
        goal: Place over the ground, shape (2,).
        spec: The agent.
    """

    def __init__(self, town: TownMap, goal: FloatArray, spec: AgentSpec) -> None:
        self._town, self._goal, self._spec = town, goal, spec
        self._distances = town.distances_to(goal)

    def distance_m(self, position: FloatArray) -> float:
        """Length of the shortest way from a place of shape (2,), inf where none is."""
        return float(self._town.at(self._distances, position[None])[0])

    def decide(self, state: AgentState) -> Action | None:
        """Return the next action; None where no way leads on."""
        if np.linalg.norm(self._goal - state.position) < self._spec.step_m:
            return Action.STOP
        half = round(np.pi / np.radians(self._spec.turn_deg))
        turns = range(-half, half + 1)
        costs = dict(zip(turns, self._costs(state, np.array(turns)).tolist(), strict=True))
        best = min(costs, key=lambda turns: (costs[turns], abs(turns)))
        if not np.isfinite(costs[best]):
            return None
        if best == 0:
            return Action.FORWARD
        return Action.LEFT if best > 0 else Action.RIGHT

    def _costs(self, state: AgentState, turns: NDArray[np.int64]) -> FloatArray:
        """Way that is left after turns (N,) and one step, with a little for each turn, (N,)."""
        headings = state.heading_rad + turns * np.radians(self._spec.turn_deg)
        steps = np.stack([np.cos(headings), np.sin(headings)], axis=1) * self._spec.step_m
        ends = state.position + steps
        is_free = self._town.are_ways_free(state.position, ends)
        ways = self._town.at(self._distances, ends) + _TURN_COST_M * np.abs(turns)
        return np.where(is_free, ways, np.inf)
