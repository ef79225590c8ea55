"""Who plans in the closed loop: NavDP by kind of goal, and what needs no training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from aquatint.data.navdp_goals import MountedCamera, mark_goal, point_goal
from aquatint.data.navdp_labels import waypoints_of
from aquatint.features.navdp import FrameSight, RgbEncoder, depth_shares, small_picture
from aquatint.models.navdp import GoalKind, NavDpPolicy
from aquatint.training.navdp_sampling import sample_fan, start_noise

Floats = NDArray[Any]
_MAX_RANDOM_TURN_RAD = np.radians(60.0)


class PlannerSimulator(Protocol):
    """A world in which several agents follow trajectories of their own."""

    @property
    def episode_ids(self) -> list[str]:
        """All episodes."""

    @property
    def camera(self) -> MountedCamera:
        """The camera that all agents carry."""

    def reset(self) -> None:
        """Begin all episodes anew."""

    def observe(self, agents: list[int], back: int = 0) -> tuple[NDArray[np.uint8], Floats]:
        """Pixels (B, S, S, 3) and depth in metres (B, S, S), now or some waypoints ago."""

    def goals(self, agents: list[int]) -> Floats:
        """Metres ahead and metres to the left of each agent's goal, shape (B, 2)."""

    def goal_pictures(self, agents: list[int]) -> NDArray[np.uint8]:
        """What each agent would see at its goal, shape (B, S, S, 3)."""

    def expert_waypoints(self, agents: list[int], horizon: int, spacing_m: float) -> Floats:
        """Waypoints of the shortest way, as each agent sees them, shape (B, H, 3)."""

    def follow(self, agents: list[int], waypoints: Floats) -> None:
        """Let each agent follow its waypoints (B, n, 3) until something stands in the way."""

    def stop(self, agents: list[int]) -> None:
        """Note that these agents have ended their episodes themselves."""

    def results(self) -> list[dict[str, Any]]:
        """How each episode went."""

    def ground_map(self, episode_id: str) -> tuple[Floats, float]:
        """Heights around an episode in metres (S, S) by y and x, and half their extent."""


class Plan(NamedTuple):
    """What agents want to do.

    Attributes:
        waypoints: Metres ahead, to the left, turn in radians, shape (B, H, 3).
        is_there: Whether an agent wants to end its episode, shape (B,).
    """

    waypoints: Floats
    is_there: NDArray[np.bool_]


class Planner(Protocol):
    """Plans for all agents that still act."""

    def plan(self, simulator: PlannerSimulator, agents: list[int], decision: int) -> Plan:
        """Plan for these agents.

        Args:
            simulator: The world.
            agents: Which.
            decision: Which plan of an episode, counted from 0.
        """


@dataclass(frozen=True)
class LoopRule:
    """The closed loop.

    Attributes:
        horizon: Waypoints of a plan.
        spacing_m: Distance between those of planners without a model.
        num_executed: Waypoints that are followed before the next plan.
        max_decisions: Plans of an episode.
        stop_length_m: An agent ends its episode when its plan is no longer than this.
        num_samples: Trajectories from which the critic chooses.
    """

    horizon: int
    spacing_m: float
    num_executed: int
    max_decisions: int
    stop_length_m: float
    num_samples: int


class ExpertPlanner:
    """Knows the shortest way.

    Args:
        rule: The loop.
    """

    def __init__(self, rule: LoopRule) -> None:
        self._rule = rule

    def plan(self, simulator: PlannerSimulator, agents: list[int], decision: int) -> Plan:
        """Follow the shortest way."""
        rule = self._rule
        waypoints = simulator.expert_waypoints(agents, rule.horizon, rule.spacing_m)
        near = np.linalg.norm(simulator.goals(agents), axis=1) < rule.stop_length_m
        return Plan(waypoints, near)


class LinePlanner:
    """Goes straight on: to the goal, ahead, or by chance.

    Args:
        rule: The loop.
        kind: ``straight`` to the goal, ``forward``, or ``random``.
        seed: Of chance.
    """

    def __init__(self, rule: LoopRule, kind: str, seed: int) -> None:
        self._rule, self._kind, self._seed = rule, kind, seed

    def plan(self, simulator: PlannerSimulator, agents: list[int], decision: int) -> Plan:
        """Draw a line for each agent."""
        rule = self._rule
        goals = simulator.goals(agents)
        distances = np.linalg.norm(goals, axis=1)
        angles = np.arctan2(goals[:, 1], goals[:, 0])
        reach = np.full(len(agents), np.inf)
        if self._kind == "straight":
            reach = distances
        elif self._kind == "forward":
            angles = np.zeros(len(agents))
        else:
            draws = [np.random.default_rng([self._seed, decision, n, 97]) for n in agents]
            limit = _MAX_RANDOM_TURN_RAD
            angles = np.array([rng.uniform(-limit, limit) for rng in draws])
        near = distances < rule.stop_length_m
        return Plan(lines(angles, reach, rule.horizon, rule.spacing_m), near)


def lines(angles: Floats, reach_m: Floats, horizon: int, spacing_m: float) -> Floats:
    """Return waypoints on straight lines, the end repeated, shape (B, H, 3)."""
    along = np.minimum(spacing_m * np.arange(1, horizon + 1)[None], reach_m[:, None])
    turns = np.broadcast_to(angles[:, None], along.shape)
    return np.stack([along * np.cos(turns), along * np.sin(turns), turns], axis=2)


class NavDpPlanner:
    """A trained policy.

    Args:
        policy: The policy, in evaluation mode.
        encoder: Frozen encoder of pictures.
        sight: How frames become features; the same as for recordings.
        spec: ``rule`` of the policy's specification.
        rule: The loop.
        kind: How the goal is told.
        num_samples: Trajectories from which the critic chooses; 1 leaves it no choice.
        seed: Of all noise.
        device: Where the policy computes.
    """

    def __init__(  # noqa: PLR0913 - what a policy needs to see, to sample and to stop
        self,
        policy: NavDpPolicy,
        encoder: RgbEncoder,
        sight: FrameSight,
        spec: dict[str, Any],
        rule: LoopRule,
        *,
        kind: GoalKind,
        num_samples: int,
        seed: int,
        device: torch.device,
    ) -> None:
        self._policy, self._encoder, self._sight = policy, encoder, sight
        self._spec, self._rule, self._kind = spec, rule, kind
        self._num_samples, self._seed, self._device = num_samples, seed, device

    def plan(self, simulator: PlannerSimulator, agents: list[int], decision: int) -> Plan:
        """Sample trajectories for each agent and take the one that the critic likes best."""
        batch = self._observe(simulator, agents)
        ids = [f"{simulator.episode_ids[number]} {decision}" for number in agents]
        horizon = self._rule.horizon
        start = start_noise(ids, self._num_samples, horizon, self._seed).to(self._device)
        fan = sample_fan(self._policy, batch, self._kind, start, self._seed + decision)
        best = fan.values.argmax(1)
        actions = fan.actions[torch.arange(len(agents)), best].cpu().numpy().astype(float)
        waypoints = waypoints_of(actions, self._spec["action_scale"])
        steps = np.diff(np.pad(waypoints[..., :2], ((0, 0), (1, 0), (0, 0))), axis=1)
        length = np.linalg.norm(steps, axis=2).sum(1)
        return Plan(waypoints, length < self._rule.stop_length_m)

    def _observe(self, simulator: PlannerSimulator, agents: list[int]) -> dict[str, torch.Tensor]:
        spec, sight = self._spec, self._sight
        memory, stride = spec["memory_size"], spec["memory_stride"]
        reach_m = spec["horizon"] * spec["max_step_m"]
        views = [simulator.observe(agents, back * stride) for back in range(memory)][::-1]
        rgb = np.stack([self._encoder(list(pixels)) for pixels, _ in views], axis=1)
        pixels, depth_m = views[-1]
        goals = simulator.goals(agents)
        found = {
            "rgb": rgb.astype(np.float32),
            "depth": np.stack([depth_shares(d, sight) for d in depth_m]).astype(np.float32),
            "picture": np.stack([small_picture(p, sight) for p in pixels]),
            "goal_picture": np.stack(
                [small_picture(p, sight) for p in simulator.goal_pictures(agents)]
            ),
            "goal_mark": np.stack(
                [mark_goal(simulator.camera, goal, sight.picture_px) for goal in goals]
            ),
            "point": np.stack([point_goal(goal, reach_m) for goal in goals]),
        }
        return {name: torch.from_numpy(v).to(self._device) for name, v in found.items()}
