"""Metrics of closed-loop runs: success rate, final error, path length, for any agent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from aquatint.metrics.intervals import confidence_interval
from aquatint.metrics.paired import mcnemar

_QUANTILES = (0.025, 0.975)


def rollout_metrics(runs: pd.DataFrame, num_draws: int = 2000, seed: int = 0) -> dict[str, Any]:
    """Summarise runs of one agent.

    Args:
        runs: One row for each run: is_success, final_error_m, path_length_m, expert_length_m (how
            long the expert's path is from the same start), and optionally further columns that end
            in ``_error`` or ``_m`` or ``_deg``, which are averaged.
        num_draws: Resamples of the intervals of means.
        seed: Seed of the resamples.

    Returns:
        ``success_rate`` with Wilson's interval, means with bootstrap intervals, ``spl`` (success
        weighted by path length) and n; None for all of them without runs.

    References:
        SPL: Anderson et al., "On Evaluation of Embodied Navigation Agents", 2018,
        https://arxiv.org/abs/1807.06757. Differs: the expert's path stands for the shortest one.
    """
    n = len(runs)
    successes = int(runs["is_success"].sum()) if n else 0
    found: dict[str, Any] = {
        "success_rate": successes / n if n else None,
        "success_interval": confidence_interval(successes, n),
        "successes": successes,
        "n": n,
    }
    measured = [c for c in runs.columns if c.endswith(("_error", "_m", "_deg", "_error_m"))]
    for name in measured:
        found[name] = float(runs[name].mean()) if n else None
        found[f"{name}_median"] = float(runs[name].median()) if n else None
        found[f"{name}_interval"] = mean_interval(runs[name].to_numpy(float), num_draws, seed)
    found["spl"] = success_by_path_length(runs) if n else None
    return found


def success_by_path_length(runs: pd.DataFrame) -> float:
    """Mean over runs of success times the ratio of the expert's path to the agent's."""
    shortest = runs["expert_length_m"].to_numpy(float)
    taken = np.maximum(runs["path_length_m"].to_numpy(float), shortest)
    ratio = np.divide(shortest, taken, out=np.ones_like(taken), where=taken > 0)
    return float((runs["is_success"].to_numpy(float) * ratio).mean())


def mean_interval(values: np.ndarray, num_draws: int = 2000, seed: int = 0) -> list[float] | None:
    """Return the bootstrap 95 % interval of a mean; None with fewer than two values."""
    if len(values) < 2:
        return None
    rng = np.random.default_rng(seed)
    means = values[rng.integers(len(values), size=(num_draws, len(values)))].mean(1)
    return [float(value) for value in np.quantile(means, _QUANTILES)]


def compare_rollouts(runs: Mapping[str, pd.DataFrame], reference: str) -> dict[str, Any]:
    """Compare every agent with one of them on the same starts, by McNemar's test.

    Args:
        runs: Runs by agent, each with ``run_id`` and ``is_success``.
        reference: Agent that the others are compared with.

    Returns:
        By agent: difference of success rates (reference minus agent), and the test.
    """
    base = runs[reference].set_index("run_id")["is_success"]
    found = {}
    for name, table in runs.items():
        if name == reference:
            continue
        other = table.set_index("run_id")["is_success"].reindex(base.index)
        if other.isna().any():
            raise ValueError(f"{name} and {reference} must have the same runs to be compared.")
        found[name] = {
            "difference": float(base.mean() - other.astype(float).mean()),
            **mcnemar(base.to_numpy(bool), other.to_numpy(bool)),
        }
    return found
