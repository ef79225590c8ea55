"""Tables of the NavDP report."""

from __future__ import annotations

from typing import Any

from aquatint.reports.blocks import Cell, Row, Table
from aquatint.reports.wording import NOTHING, format_count, format_interval, format_percent

_GOALS = {"point": "goal as a place", "image": "goal as a picture", "pixel": "goal as a mark",
          "none": "no goal"}  # fmt: skip
_SIMPLE = {"expert": "expert", "straight": "straight to the goal", "forward": "straight ahead",
           "random": "by chance"}  # fmt: skip
_UNJUDGED = "_unjudged"
_TABLES = {"policies": "all episodes", "detours": "straight way blocked"}


def label_planner(name: str) -> str:
    """Return what a reader calls a planner."""
    if name in _SIMPLE:
        return _SIMPLE[name]
    kind = name.removesuffix(_UNJUDGED)
    return f"NavDP, {_GOALS[kind]}" + (", no critic" if name.endswith(_UNJUDGED) else "")


def loop_table(rollout: dict[str, Any], name: str) -> Table:
    """Return the closed loop's metrics by planner.

    Args:
        rollout: Summary of the closed loop.
        name: ``policies`` for all episodes, ``detours`` for those whose straight way is blocked.
    """
    rows = [
        Row(
            label_planner(policy),
            [
                Cell(
                    format_percent(found["success"]),
                    f"{format_interval(found['success_interval'])}, n = {found['n']}",
                ),
                Cell(format_percent(found["spl"])),
                Cell(format_percent(found["collided"])),
                Cell(f"{found['num_collisions']:.2f}"),
                Cell(f"{found['navigation_error_m']:.1f} m"),
                Cell(f"{found['path_length_m']:.1f} m"),
                Cell(f"{found['ndtw_score']:.2f}"),
            ],
        )
        for policy, found in rollout[name].items()
    ]
    head = [_TABLES[name], "success", "SPL", "collided", "collisions", "error", "length", "nDTW"]
    note = (
        "Success: ended by itself within the radius of the goal. Collided: share of episodes with "
        "a collision; an agent that runs into something stays where it is and plans anew. Without "
        "a goal nothing can succeed by more than chance. Below success: its 95 % Wilson interval."
    )
    return Table(head, rows, note)


def fan_table(metrics: dict[str, Any]) -> Table:
    """Return metrics of sampled trajectories, of the critic's choice and of the first sample."""
    rows = [Row("without a model")]
    rows += [
        Row(_SIMPLE[kind], [*_choice_cells(found), Cell(NOTHING), Cell(NOTHING)])
        for kind, found in metrics["baselines"].items()
    ]
    for kind, found in metrics["kinds"].items():
        rank = found["rank_correlation"]
        rows.append(Row(f"NavDP, {_GOALS[kind]}"))
        shown = [
            Cell(NOTHING if rank is None else f"{rank:.2f}"),
            Cell(f"{found['regret']:.3f}", f"by chance {found['chance_regret']:.3f}"),
        ]
        rows.append(Row("the critic's choice", [*_choice_cells(found["chosen"]), *shown]))
        rows.append(Row("the first", [*_choice_cells(found["first"]), Cell(""), Cell("")]))
    head = [f"{metrics['num_frames']} held-out frames", "ADE", "FDE", "collides", "clearance",
            "rank correlation", "regret"]  # fmt: skip
    note = (
        "ADE and FDE: mean and last distance from the recorded path, which is one way of several. "
        "Collides: share of trajectories with a waypoint too near an obstacle of the cloud. "
        "Clearance: least distance from one, on average. Intervals by scene."
    )
    return Table(head, rows, note)


def _choice_cells(found: dict[str, Any]) -> list[Cell]:
    error, share = found["average_error_m_interval"], found["collision_share_interval"]
    return [
        Cell(
            f"{found['average_error_m']:.2f} m",
            f"{error[0]:.2f} to {error[1]:.2f}" if error else "",
        ),
        Cell(f"{found['final_error_m']:.2f} m"),
        Cell(format_percent(found["collision_share"]), format_interval(share)),
        Cell(f"{found['clearance_m']:.1f} m"),
    ]


def data_table(counts: dict[str, Any]) -> Table:
    """Return what the recordings hold."""
    splits = ("train", "val", "test")
    rows = [
        Row(key, [Cell(format_count(counts[key].get(split, 0))) for split in splits])
        for key in ("paths", "scenes", "frames", "obstacles")
    ]
    return Table(["", *splits], rows)
