"""NavDP in closed loop, by kind of goal, with and without its critic, beside simple planners."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from aquatint.features.navdp import FrameSight, RgbEncoder
from aquatint.metrics.paired import group_bootstrap_interval
from aquatint.models.navdp import GOAL_KINDS
from aquatint.models.teacher_source import TeacherSource
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
from aquatint.training.shared_flights import (
    FlightGroup,
    Pilot,
    count_pilots,
    group_flights,
    pilot_run,
    share_flights,
)

KINDS = (*GOAL_KINDS, "none")
UNJUDGED = "_unjudged"
SIMPLE = ("straight", "forward", "random")
# Agents that plan at once: large enough for whole batches, small enough that processes end
# together.
_GROUP = 32


def fly_all(
    simulator: PlannerSimulator,
    planner: Planner,
    rule: LoopRule,
    agents: Sequence[int] | None = None,
) -> list[dict[str, Any]]:
    """Run episodes of a simulator to their end, at once.

    Args:
        simulator: The world.
        planner: Who plans.
        rule: The loop.
        agents: Numbers of those that fly; None for all.

    Returns:
        The simulator's results of these agents.
    """
    simulator.reset()
    flying = list(range(len(simulator.episode_ids)) if agents is None else agents)
    live = flying
    for decision in range(rule.max_decisions):
        if not live:
            break
        plan = planner.plan(simulator, live, decision)
        there = [agent for agent, done in zip(live, plan.is_there, strict=True) if done]
        simulator.stop(there)
        rows = [place for place, done in enumerate(plan.is_there) if not done]
        live = [live[place] for place in rows]
        simulator.follow(live, plan.waypoints[rows, : rule.num_executed])
    results = simulator.results()
    return [results[agent] for agent in flying]


def roll_out_navdp(  # noqa: PLR0913 - the world, the policy, its eyes, and the rules
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
    num_episodes = len(simulator.episode_ids)
    planned = tuple(f"{kind}{suffix}" for kind in KINDS for suffix in ("", UNJUDGED))
    groups = group_flights(("expert", *SIMPLE, *planned), num_episodes, _GROUP)
    # A decision renders what the policy remembers, and samples: several steps of other loops.
    num_looks = rule.max_decisions * checkpoint.spec["rule"]["memory_size"]
    arguments = (encoder, checkpoint, sight, rule, success_radius_m, pilot_run(run))
    tables = share_flights(open_planners, arguments, simulator, groups,
                           count_pilots(run, len(planned) * num_episodes * num_looks))  # fmt: skip
    episodes = pd.concat(tables, ignore_index=True)
    return episodes, summarise_rollout(episodes)


def open_planners(
    encoder: TeacherSource,
    checkpoint: Checkpoint,
    sight: FrameSight,
    rule: LoopRule,
    success_radius_m: float,
    run: RunParams,
) -> Pilot[pd.DataFrame]:
    """Load the policy and its encoder.

    Returns:
        Flies a group and returns its table of ``judge`` with ``policy`` and ``is_detour``.
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

    def fly(simulator: PlannerSimulator, group: FlightGroup) -> pd.DataFrame:
        results = fly_all(simulator, planners[group.policy], rule, group.agents)
        judged = judge(results, success_radius_m, success_radius_m, requires_stop=True)
        extra = {"policy": group.policy, "is_detour": [row["is_detour"] for row in results]}
        return judged.drop(columns="instruction").assign(**extra)

    return fly


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


def compare_pairs(episodes: pd.DataFrame, pairs: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
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
