"""Samples of a navigation model: where to look, what to answer, and how often."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from aquatint.data.navigation_prompts import LEFT, RIGHT, STOP, write_actions, write_pixel
from aquatint.data.pixel_goals import NO_GOAL
from aquatint.data.tables import check_table
from aquatint.data.trajectory_names import TrajectorySet, is_sampled

SampleKind = Literal["pixel", "turn", "stop"]
SPLITS = ("train", "val", "test")
SAMPLE_DTYPES = {
    "sample_id": "str",
    "flight_id": "str",
    "scene": "str",
    "split": "str",
    "instruction": "str",
    "kind": "str",
    "frame": "int64",
    "goal_row": "int64",
    "goal_column": "int64",
    "goal_offset": "int64",
    "answer": "str",
    "repeats": "int64",
}


@dataclass(frozen=True)
class SampleRule:
    """Which samples trajectories give.

    Attributes:
        sample_stride: Frames between two samples of a trajectory.
        num_history: Most earlier frames that are shown, spread over the whole past.
        max_turns: Longest answer in turns.
        min_goal_offset: Fewest frames up to a pixel goal.
        stop_repeats: How often the last frame of a trajectory stands in an epoch.
        pixel_goal_only: Whether turns and stops are left out, as for a System 1 that only flies to
            pixel goals.
    """

    sample_stride: int
    num_history: int
    max_turns: int
    min_goal_offset: int
    stop_repeats: int
    pixel_goal_only: bool = False


def history_frames(frame: int, num_history: int) -> list[int]:
    """Return earlier frames, spread evenly over the whole past; all of them where there are few.

    Args:
        frame: Current frame, counted from 0.
        num_history: Most frames that are returned.
    """
    if frame == 0 or num_history == 0:
        return []
    return np.unique(np.linspace(0, frame - 1, num_history).astype(np.int64)).tolist()


def build_samples(
    flights: pd.DataFrame,
    frames: pd.DataFrame,
    goals: pd.DataFrame,
    rule: SampleRule,
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Turn trajectories into samples; each instruction of a flight is an episode of its own.

    Of every ``sample_stride``-th frame: one that sees a goal far enough ahead becomes ``pixel``;
    one that sees none, and where the agent turned, ``turn``. The last frame becomes ``stop``.

    Args:
        flights: Table of ``read_trajectories`` with ``split``.
        frames: Likewise.
        goals: Pixel goals of these frames.
        rule: What is drawn.

    Returns:
        ``SAMPLE_DTYPES``; and how many frames were looked at and gave nothing, by reason.

    Raises:
        ValueError: If a frame lacks its goal.
    """
    joined = frames.drop(columns=["scene"]).merge(
        goals[["flight_id", "frame", "goal_row", "goal_column", "goal_offset"]],
        on=["flight_id", "frame"], how="left", validate="1:1",
    )  # fmt: skip
    if joined["goal_offset"].isna().any():
        first = joined[joined["goal_offset"].isna()].iloc[0]
        raise ValueError(
            f"Every frame needs a row in the goals; {first['flight_id']}, frame {first['frame']} "
            "has none. Label the same trajectories that are read."
        )
    counts = {"forward_without_goal": 0, "goal_too_near": 0, "left_out_kind": 0}
    rows: list[dict[str, Any]] = []
    by_flight = dict(list(joined.groupby("flight_id", sort=False)))
    for flight in flights.to_dict(orient="records"):
        drawn = _draw(by_flight[flight["flight_id"]], rule, counts)
        rows += [
            {
                **{name: flight[name] for name in ("flight_id", "scene", "split")},
                "sample_id": f"{flight['flight_id']}/{number}/{sample['frame']}",
                "instruction": text,
                **sample,
            }
            for number, text in enumerate(flight["instructions"])
            for sample in drawn
        ]
    return pd.DataFrame(rows, columns=list(SAMPLE_DTYPES)).astype(SAMPLE_DTYPES), counts


def _draw(rows: pd.DataFrame, rule: SampleRule, counts: dict[str, int]) -> list[dict[str, Any]]:
    """Samples of one flight, without an instruction."""
    actions = rows["action"].tolist()
    goals = rows[["goal_row", "goal_column", "goal_offset"]].to_numpy(np.int64).tolist()
    last = len(actions) - 1
    drawn = []
    for frame in sorted({*range(0, last + 1, rule.sample_stride), last}):
        row, column, offset = goals[frame]
        kind, answer = _classify(frame, actions, goals[frame], rule)
        if kind not in ("pixel", "turn", "stop"):
            counts[kind] += 1
            continue
        if rule.pixel_goal_only and kind != "pixel":
            counts["left_out_kind"] += 1
            continue
        is_pixel = kind == "pixel"
        drawn.append(
            {
                "kind": kind,
                "frame": frame,
                "goal_row": row if is_pixel else NO_GOAL,
                "goal_column": column if is_pixel else NO_GOAL,
                "goal_offset": offset if is_pixel else NO_GOAL,
                "answer": answer,
                "repeats": rule.stop_repeats if kind == "stop" else 1,
            }
        )
    return drawn


def _classify(frame: int, actions: list[int], goal: list[int], rule: SampleRule) -> tuple[str, str]:
    """Kind of a frame's sample with its answer, or the reason why it gives none."""
    row, column, offset = goal
    if frame == len(actions) - 1:
        return "stop", write_actions([STOP])
    if offset >= rule.min_goal_offset:
        return "pixel", write_pixel(row, column)
    if offset != NO_GOAL:
        return "goal_too_near", ""
    turns = list(_turns(actions[frame : frame + rule.max_turns]))
    return ("turn", write_actions(turns)) if turns else ("forward_without_goal", "")


def _turns(actions: Iterable[int]) -> Iterable[int]:
    for action in actions:
        if action not in (LEFT, RIGHT):
            return
        yield action


def split_scenes(
    scenes: Iterable[str], val_share: float, test_share: float, seed: int
) -> dict[str, str]:
    """Assign scenes to splits: all samples of a scene stand in one.

    Args:
        scenes: Names; order and repetitions do not matter.
        val_share: Share of scenes in ``val``, rounded, at least one.
        test_share: Likewise for ``test``.
        seed: Decides which.

    Raises:
        ValueError: If no scene is left to train on.
    """

    def draw(name: str) -> str:
        return hashlib.sha256(f"{seed} {name}".encode()).hexdigest()

    ordered = sorted(set(scenes), key=draw)
    num_val, num_test = (max(1, round(share * len(ordered))) for share in (val_share, test_share))
    if num_val + num_test >= len(ordered):
        raise ValueError(
            f"{len(ordered)} scenes cannot be split: val takes {num_val} and test {num_test}. "
            "Read more scenes, or lower val_share and test_share."
        )
    names = ["val"] * num_val + ["test"] * num_test
    names += ["train"] * (len(ordered) - len(names))
    return dict(zip(ordered, names, strict=True))


def draw_samples(  # noqa: PLR0913 - one argument for each thing that decides samples
    flights: pd.DataFrame,
    frames: pd.DataFrame,
    goals: pd.DataFrame,
    chosen: Sequence[TrajectorySet],
    rule: SampleRule,
    shares: tuple[float, float],
    seed: int,
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Split scenes, build all samples, and keep the share of each set that its name asks for.

    Args:
        flights: Flights of all sets with ``token``.
        frames: Their frames.
        goals: Their pixel goals.
        chosen: The sets.
        rule: What is drawn.
        shares: Shares of scenes in ``val`` and ``test``.
        seed: Of the split and of the sets' shares.

    Returns:
        As ``build_samples``. Held-out samples are never thinned.
    """
    splits = split_scenes(flights["scene"], *shares, seed)
    samples, skipped = build_samples(
        flights.assign(split=flights["scene"].map(splits)), frames, goals, rule
    )
    percents = {item.token: item.percent for item in chosen}
    is_kept = [
        split != "train" or is_sampled(name, percents[name.partition("/")[0]], seed)
        for name, split in zip(samples["sample_id"], samples["split"], strict=True)
    ]
    return samples[is_kept].reset_index(drop=True), skipped


def choose_pixels(
    samples: pd.DataFrame, percent: int, seed: int, max_held_out: int | None = None
) -> pd.DataFrame:
    """Keep samples with a pixel goal, and of them a share by id and seed alone.

    Args:
        samples: Samples of System 2; splits stay what they are.
        percent: Share, 1 to 100.
        seed: Seed of the draw.
        max_held_out: Most samples of the val split, and of the test split: every n-th; None for
            all.
    """
    pixels = samples[samples["kind"] == "pixel"]
    # Under another name: by its own, a sample that a set's share kept would be kept here again.
    is_kept = [is_sampled(f"system1 {name}", percent, seed) for name in pixels["sample_id"]]
    kept = pixels[is_kept].reset_index(drop=True)
    if max_held_out is None:
        return kept
    of_split = kept.groupby("split")
    step = -(-of_split["split"].transform("size") // max_held_out)
    is_shown = (kept["split"] == "train") | (of_split.cumcount() % step == 0)
    return kept[is_shown].reset_index(drop=True)


def check_samples(table: pd.DataFrame) -> None:
    """Check a table of samples.

    Raises:
        ValueError: If a column, an id, a kind or a goal breaks its rule.
    """
    check_table("samples", table, SAMPLE_DTYPES, ["sample_id"], is_empty_allowed=False)
    wrong = sorted({*table["kind"]} - {"pixel", "turn", "stop"} | ({*table["split"]} - {*SPLITS}))
    if wrong:
        raise ValueError(f"samples have kinds pixel, turn, stop in {SPLITS}, got {wrong}.")
    has_goal = (table[["goal_row", "goal_column"]] >= 0).all(axis=1)
    if not (has_goal == (table["kind"] == "pixel")).all():
        raise ValueError("samples of kind pixel, and no others, have a goal.")
    shared = table.groupby("scene")["split"].nunique()
    if (shared > 1).any():
        raise ValueError(f"a scene stands in one split; {shared.index[shared > 1][0]} does not.")


def summarise_samples(
    samples: pd.DataFrame, skipped: Mapping[str, int], num_rejects: int
) -> dict[str, Any]:
    """Count samples by split and kind, and frames that gave none."""
    counts = samples.groupby(["split", "kind"]).size()
    return {
        "n": {
            "samples": len(samples),
            "flights": int(samples["flight_id"].nunique()),
            "scenes": int(samples["scene"].nunique()),
            "findings": num_rejects,
        },
        "kinds": {
            split: {kind: int(counts.get((split, kind), 0)) for kind in ("pixel", "turn", "stop")}
            for split in SPLITS
        },
        "scenes": {s: int(samples.loc[samples["split"] == s, "scene"].nunique()) for s in SPLITS},
        "shown_in_an_epoch": int(samples.loc[samples["split"] == "train", "repeats"].sum()),
        "frames_without_sample": dict(skipped),
    }
