"""Closed loop: agents follow instructions in a simulator, and are judged by where they get."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aquatint.metrics.navigation import FlownPath, navigation_metrics, summarise_navigation
from aquatint.metrics.paired import group_bootstrap_interval, mcnemar

STOP, FORWARD = 0, 1
# How often the expert does each of stop, forward, left and right.
_EXPERT_SHARES = (0.04, 0.6, 0.18, 0.18)


class NavigationSimulator(Protocol):
    """A world in which several agents act at once, each in an episode of its own."""

    @property
    def episode_ids(self) -> list[str]:
        """All episodes."""

    def reset(
        self, episode_ids: list[str], wording: int | None = 0, *, is_misled: bool = False
    ) -> None:
        """Begin these episodes; misled agents are told another episode's instruction."""

    def word_vectors(self) -> NDArray[Any]:
        """The frozen vector of each word, in the order of the tokens' numbers, shape (V, W)."""

    def tokens(self) -> list[list[int]]:
        """Numbers of the words of each agent's instruction."""

    def observe(self, agents: list[int]) -> tuple[NDArray[np.uint8], NDArray[Any]]:
        """Pixels (B, S, S, 3) and depth in metres (B, S, S) of these agents."""

    def poses(self, agents: list[int]) -> NDArray[Any]:
        """World x, y and heading of these agents, shape (B, 3)."""

    def expert_actions(self, agents: list[int]) -> NDArray[np.int64]:
        """What the expert, who knows the goal, would do, shape (B,)."""

    def step(self, agents: list[int], actions: NDArray[np.int64]) -> None:
        """Carry out one action of each of these agents, shape (B,)."""

    def results(self) -> list[dict[str, Any]]:
        """Positions, reference, goal, length of the way, stop and collisions of each episode."""


class Policy(Protocol):
    """Decides for all agents that still act."""

    def begin(self, simulator: NavigationSimulator, num_agents: int) -> None:
        """Forget earlier episodes."""

    def decide(self, simulator: NavigationSimulator, agents: list[int]) -> NDArray[np.int64]:
        """Action of each of these agents, shape (B,)."""


class SimplePolicy:
    """A policy without memory.

    Args:
        decide: From simulator and agents to actions.
    """

    def __init__(
        self, decide: Callable[[NavigationSimulator, list[int]], NDArray[np.int64]]
    ) -> None:
        self._decide = decide

    def begin(self, simulator: NavigationSimulator, num_agents: int) -> None:
        """Nothing to forget."""

    def decide(self, simulator: NavigationSimulator, agents: list[int]) -> NDArray[np.int64]:
        """Action of each of these agents."""
        return self._decide(simulator, agents)


class RandomPolicy:
    """Draws as often as the expert does each action, so it stops after 25 steps on average.

    Args:
        seed: Of the draw; each agent has random numbers of its own, whoever flies with it.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._draws: dict[int, np.random.Generator] = {}

    def begin(self, simulator: NavigationSimulator, num_agents: int) -> None:
        """Forget earlier episodes."""
        self._draws = {n: np.random.default_rng([self._seed, 95, n]) for n in range(num_agents)}

    def decide(self, simulator: NavigationSimulator, agents: list[int]) -> NDArray[np.int64]:
        """Action of each of these agents."""
        return np.array([self._draws[agent].choice(4, p=_EXPERT_SHARES) for agent in agents])


def simple_policies(seed: int) -> dict[str, Policy]:
    """Return what needs no training: the expert, always forward, and chance.

    Args:
        seed: Of chance.
    """
    return {
        "expert": SimplePolicy(lambda simulator, agents: simulator.expert_actions(agents)),
        "forward": SimplePolicy(lambda simulator, agents: np.full(len(agents), FORWARD)),
        "random": RandomPolicy(seed),
    }


def roll_out(
    simulator: NavigationSimulator,
    policy: Policy,
    max_steps: int,
    *,
    wording: int | None = 0,
    is_misled: bool = False,
    agents: Sequence[int] | None = None,
) -> list[dict[str, Any]]:
    """Run episodes of a simulator to their end, at once.

    Args:
        simulator: The world.
        policy: Who decides.
        max_steps: Longest episode in actions.
        wording: Which of an episode's instructions; None for each in its turn.
        is_misled: Whether agents are told the instruction of another episode.
        agents: Numbers of those that fly; None for all.

    Returns:
        The simulator's results of these agents.
    """
    episode_ids = simulator.episode_ids
    simulator.reset(episode_ids, wording, is_misled=is_misled)
    policy.begin(simulator, len(episode_ids))
    flying = list(range(len(episode_ids)) if agents is None else agents)
    live = flying
    for _ in range(max_steps):
        if not live:
            break
        actions = policy.decide(simulator, live)
        simulator.step(live, actions)
        live = [
            agent for agent, action in zip(live, actions.tolist(), strict=True) if action != STOP
        ]
    results = simulator.results()
    return [results[agent] for agent in flying]


def judge(
    results: list[dict[str, Any]],
    success_radius_m: float,
    oracle_radius_m: float,
    requires_stop: bool,
) -> pd.DataFrame:
    """Return the metrics of each episode, one row each, with its path.

    Args:
        results: What ``roll_out`` returns.
        success_radius_m: Distance from the goal that counts as success.
        oracle_radius_m: The same for the nearest position of the path.
        requires_stop: Whether success needs the agent to stop by itself.
    """
    rows = []
    for result in results:
        flown = FlownPath(
            result["path"],
            result["reference"],
            result["goal"],
            result["geodesic_m"],
            result["has_stopped"],
            result["num_collisions"],
        )
        rows.append(
            {
                **{name: result[name] for name in ("episode_id", "scene", "instruction")},
                **navigation_metrics(flown, success_radius_m, oracle_radius_m, requires_stop),
                "has_stopped": result["has_stopped"],
                "path": result["path"].ravel().tolist(),
                "reference": result["reference"].ravel().tolist(),
                "goal": result["goal"].tolist(),
            }
        )
    return pd.DataFrame(rows)


def compare_policies(episodes: pd.DataFrame, pairs: Mapping[str, str]) -> dict[str, Any]:
    """Summarise policies and compare some of them on the same episodes.

    Args:
        episodes: Tables of ``judge`` with a column ``policy``.
        pairs: Policy to the one that it is compared with.

    Returns:
        ``policies``: summary by policy; ``comparisons``: difference of success by policy, with its
        interval by town and McNemar's test.
    """
    metric_names = [name for name in episodes.columns if name.endswith(("_m", "_score"))]
    metric_names += ["oracle_success", "success", "spl", "num_collisions"]
    by_policy = {str(name): rows.set_index("episode_id").sort_index()
                 for name, rows in episodes.groupby("policy", sort=False)}  # fmt: skip
    summaries = {
        name: summarise_navigation(
            [
                dict(zip(metric_names, row, strict=True))
                for row in rows[metric_names].to_numpy(float)
            ]
        )
        for name, rows in by_policy.items()
    }
    comparisons = {}
    for name, other in pairs.items():
        ours, theirs = by_policy[name]["success"], by_policy[other]["success"]
        groups = by_policy[name]["scene"].to_numpy()
        difference = (ours - theirs).to_numpy()
        comparisons[name] = {
            "other": other,
            "difference": float(difference.mean()),
            "difference_interval": group_bootstrap_interval(difference, groups),
            **mcnemar(ours.to_numpy(bool), theirs.to_numpy(bool)),
        }
    return {"policies": summaries, "comparisons": comparisons}
