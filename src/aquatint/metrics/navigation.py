"""How well a path follows a reference and reaches its goal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aquatint.metrics.intervals import confidence_interval

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class FlownPath:
    """A path and what it is judged by; positions over the ground in metres.

    Attributes:
        path: Positions of the agent, shape (T, 2).
        reference: Positions of the expert, from the same start to where it stopped, shape (R, 2).
        goal: Where to go, shape (2,).
        geodesic_m: Length of the shortest way from start to goal.
        has_stopped: Whether the agent ended the episode itself.
        num_collisions: Steps that ended at an obstacle.
    """

    path: Floats
    reference: Floats
    goal: Floats
    geodesic_m: float
    has_stopped: bool
    num_collisions: int = 0

    def __post_init__(self) -> None:
        for name in ("path", "reference"):
            points = getattr(self, name)
            if points.ndim != 2 or points.shape[1] != 2 or not len(points):
                raise ValueError(f"{name} needs shape (T, 2) with T >= 1, got {points.shape}.")
            if not np.isfinite(points).all():
                raise ValueError(f"{name} needs finite positions.")
        if self.goal.shape != (2,) or not np.isfinite(self.goal).all():
            raise ValueError(f"goal needs a finite position of shape (2,), got {self.goal}.")
        if not self.geodesic_m >= 0:
            raise ValueError(f"geodesic_m must be at least 0, got {self.geodesic_m}.")


def path_length_m(path: Floats) -> float:
    """Return the length of a path of shape (T, 2)."""
    return float(np.linalg.norm(np.diff(path, axis=0), axis=1).sum())


def dtw_m(path: Floats, reference: Floats) -> float:
    """Return the cost of the best monotone alignment of two paths, in metres.

    Every position of each path is aligned with at least one of the other, in order; the cost is
    the sum of their distances.

    Args:
        path: Shape (T, 2).
        reference: Shape (R, 2).
    """
    gaps = np.linalg.norm(path[:, None] - reference[None], axis=2)
    costs = np.full(gaps.shape, np.inf)
    for i in range(len(path)):
        for j in range(len(reference)):
            if i == j == 0:
                best = 0.0
            else:
                best = min(
                    costs[i - 1, j] if i else np.inf,
                    costs[i, j - 1] if j else np.inf,
                    costs[i - 1, j - 1] if i and j else np.inf,
                )
            costs[i, j] = gaps[i, j] + best
    return float(costs[-1, -1])


def ndtw_score(path: Floats, reference: Floats, threshold_m: float) -> float:
    """Return exp(-DTW / (R d)): 1 on the reference, towards 0 away from it.

    Standing still costs the distance to every position of the reference, and so does not score.

    References:
        Magalhaes et al., "Effective and General Evaluation for Instruction Conditioned Navigation
        using Dynamic Time Warping", 2019, https://arxiv.org/abs/1907.05446.
    """
    return float(np.exp(-dtw_m(path, reference) / (len(reference) * threshold_m)))


def cls_score(path: Floats, reference: Floats, threshold_m: float) -> float:
    """Return coverage of the reference weighted by how far the length agrees, in [0, 1].

    References:
        Jain et al., "Stay on the Path: Instruction Fidelity in Vision-and-Language Navigation",
        ACL 2019, https://arxiv.org/abs/1905.12255.
    """
    nearest = np.linalg.norm(reference[:, None] - path[None], axis=2).min(1)
    coverage = float(np.exp(-nearest / threshold_m).mean())
    expected_m = coverage * path_length_m(reference)
    length_m = path_length_m(path)
    total = expected_m + abs(expected_m - length_m)
    return coverage * (expected_m / total if total else 1.0)


def navigation_metrics(
    flown: FlownPath, success_radius_m: float, oracle_radius_m: float, requires_stop: bool
) -> dict[str, float]:
    """Judge one episode.

    Args:
        flown: The path and its reference.
        success_radius_m: Distance from the goal below which the end counts as success; also the
            threshold of nDTW and CLS, as in the literature.
        oracle_radius_m: The same for the nearest position of the whole path.
        requires_stop: Whether success needs the agent to end the episode itself.

    Returns:
        ``navigation_error_m`` (NE), ``oracle_success`` (OS), ``success`` (SR), ``spl``,
        ``path_length_m`` (TL), ``ndtw_score``, ``sdtw_score``, ``cls_score``, ``num_collisions``.
    """
    distances = np.linalg.norm(flown.path - flown.goal, axis=1)
    is_near = distances[-1] < success_radius_m
    success = float(is_near and (flown.has_stopped or not requires_stop))
    length_m = path_length_m(flown.path)
    longest_m = max(flown.geodesic_m, length_m)
    ndtw = ndtw_score(flown.path, flown.reference, success_radius_m)
    return {
        "navigation_error_m": float(distances[-1]),
        "oracle_success": float(distances.min() < oracle_radius_m),
        "success": success,
        "spl": success * (flown.geodesic_m / longest_m if longest_m else 1.0),
        "path_length_m": length_m,
        "ndtw_score": ndtw,
        "sdtw_score": success * ndtw,
        "cls_score": cls_score(flown.path, flown.reference, success_radius_m),
        "num_collisions": float(flown.num_collisions),
    }


def summarise_navigation(episodes: list[dict[str, float]]) -> dict[str, Any]:
    """Return means over episodes, 95 % intervals of the shares, and n.

    Args:
        episodes: What ``navigation_metrics`` returns, one for each episode.

    Returns:
        Every metric's mean, None without episodes; ``success_interval`` and
        ``oracle_success_interval``; ``n``.
    """
    names = list(episodes[0]) if episodes else []
    means: dict[str, Any] = {
        name: float(np.mean([episode[name] for episode in episodes])) for name in names
    }
    for name in ("success", "oracle_success"):
        hits = int(sum(episode[name] for episode in episodes))
        means[f"{name}_interval"] = confidence_interval(hits, len(episodes))
    return {**means, "n": len(episodes)}
