"""NavDP in closed loop, by kind of goal, with and without its critic, beside simple planners."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from tqdm import tqdm

from aquatint.collective import hides_bars
from aquatint.features.navdp import FrameSight, RgbEncoder
from aquatint.metrics.paired import group_bootstrap_interval
from aquatint.models.navdp import GOAL_KINDS
from aquatint.models.teachers import TeacherSource
from aquatint.params import RunParams
from aquatint.training.checkpoint import Checkpoint
from aquatint.training.navdp_planners import (
    ExpertPlanner,
    LinePlanner,
    LoopRule,
    NavDpPlanner,
    Planner,
    PlannerSimulator,
)
from aquatint.training.navdp_stage import restore_navdp
from aquatint.training.navigation_rollout import compare_policies, judge
from aquatint.training.precision import prepare_device

KINDS = (*GOAL_KINDS, "none")
UNJUDGED = "_unjudged"
SIMPLE = ("straight", "forward", "random")


def fly_all(
    simulator: PlannerSimulator, planner: Planner, rule: LoopRule, description: str
) -> list[dict[str, Any]]:
    """Run all episodes of a simulator to their end, at once.

    Args:
        simulator: The world.
        planner: Who plans.
        rule: The loop.
        description: Label of the progress bar.

    Returns:
        The simulator's results.
    """
    simulator.reset()
    live = list(range(len(simulator.episode_ids)))
    bar = tqdm(range(rule.max_decisions), desc=description, disable=hides_bars(), leave=False)
    for decision in bar:
        if not live:
            break
        plan = planner.plan(simulator, live, decision)
        there = [agent for agent, done in zip(live, plan.is_there, strict=True) if done]
        simulator.stop(there)
        rows = [place for place, done in enumerate(plan.is_there) if not done]
        live = [live[place] for place in rows]
        simulator.follow(live, plan.waypoints[rows, : rule.num_executed])
    return simulator.results()


def roll_out_navdp(
    simulator: PlannerSimulator,
    encoder: TeacherSource,
    checkpoint: Checkpoint,
    sight: FrameSight,
    rule: LoopRule,
    success_radius_m: float,
    run: RunParams,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Let NavDP and simple planners fly the same episodes.

    Args:
        simulator: The world.
        encoder: Frozen encoder of pictures.
        checkpoint: The policy.
        sight: How frames become features.
        rule: The loop.
        success_radius_m: Distance from the goal that counts as success.
        run: Seed, device, threads.

    Returns:
        Table of ``judge`` with ``policy`` and ``is_detour``; summaries and comparisons.
    """
    device = prepare_device(run)
    policy = restore_navdp(checkpoint, device)
    eyes = RgbEncoder(encoder, sight.token_grid, str(device))
    planners: dict[str, Planner] = {"expert": ExpertPlanner(rule)}
    planners |= {kind: LinePlanner(rule, kind, run.seed) for kind in SIMPLE}
    for kind in KINDS:
        for suffix, count in (("", rule.num_samples), (UNJUDGED, 1)):
            planners[f"{kind}{suffix}"] = NavDpPlanner(
                policy, eyes, sight, checkpoint.spec["rule"], rule,
                kind=kind, num_samples=count, seed=run.seed, device=device,
            )  # fmt: skip
    tables = []
    for name, planner in planners.items():
        results = fly_all(simulator, planner, rule, f"flying {name}")
        judged = judge(results, success_radius_m, success_radius_m, requires_stop=True)
        extra = {"policy": name, "is_detour": [row["is_detour"] for row in results]}
        tables.append(judged.drop(columns="instruction").assign(**extra))
    episodes = pd.concat(tables, ignore_index=True)
    return episodes, summarise_rollout(episodes)


def summarise_rollout(episodes: pd.DataFrame) -> dict[str, Any]:
    """Summarise planners over all episodes and over those whose straight way is blocked.

    Args:
        episodes: Table of ``roll_out_navdp``.

    Returns:
        ``policies`` and ``detours``: summary by policy, with ``collided``, the share of episodes
        with a collision; ``comparisons``: ``compare_pairs`` of both.
    """
    pairs = [(kind, "straight") for kind in GOAL_KINDS]
    pairs += [(kind, f"{kind}{UNJUDGED}") for kind in KINDS]
    pairs += [("none", "forward")]
    found: dict[str, Any] = {"comparisons": {}}
    for name, rows in (("policies", episodes), ("detours", episodes[episodes["is_detour"]])):
        if not len(rows):
            found[name], found["comparisons"][name] = {}, []
            continue
        summaries = compare_policies(rows, {})["policies"]
        for policy, own in rows.groupby("policy", sort=False):
            summaries[str(policy)]["collided"] = float((own["num_collisions"] > 0).mean())
        found[name] = summaries
        found["comparisons"][name] = compare_pairs(rows, pairs)
    return found


def compare_pairs(
    episodes: pd.DataFrame, pairs: Sequence[tuple[str, str]]
) -> list[dict[str, Any]]:
    """Return differences of success and collisions on the same episodes, intervals by town.

    Args:
        episodes: Table of ``roll_out_navdp``.
        pairs: Policy, and the one that it is compared with.
    """
    by_policy: Mapping[str, pd.DataFrame] = {
        str(name): rows.set_index("episode_id").sort_index()
        for name, rows in episodes.groupby("policy", sort=False)
    }
    found = []
    for name, other in pairs:
        ours, theirs = by_policy[name], by_policy[other]
        row: dict[str, Any] = {"policy": name, "other": other, "n": len(ours)}
        for metric in ("success", "num_collisions"):
            difference = (ours[metric] - theirs[metric]).to_numpy()
            row[metric] = float(difference.mean())
            row[f"{metric}_interval"] = group_bootstrap_interval(
                difference, ours["scene"].to_numpy()
            )
        found.append(row)
    return found
