"""Forty frames with a goal from frame 8 to 20, two turns and a stop: which samples they give."""

import numpy as np
import pandas as pd
import pytest

from aquatint.data.navigation_prompts import FORWARD, LEFT, RIGHT, STOP
from aquatint.data.navigation_samples import (
    SampleRule,
    build_samples,
    check_samples,
    choose_pixels,
    draw_samples,
    history_frames,
    split_scenes,
)
from aquatint.data.trajectory_names import parse_trajectory_name

RULE = SampleRule(sample_stride=4, num_history=8, max_turns=4, min_goal_offset=3, stop_repeats=5)
SIZE = 40


def flight(name="set/s/000000", scene="s", split="train", actions=None):
    if actions is None:
        actions = [FORWARD] * SIZE
        actions[4:6] = [LEFT, LEFT]
        actions[24:30] = [RIGHT] * 6
        actions[-1] = STOP
    frames = pd.DataFrame(
        {"flight_id": name, "scene": scene, "frame": range(len(actions)), "action": actions}
    )
    is_seen = frames["frame"].between(8, 20)
    goals = frames[["flight_id", "frame"]].assign(
        goal_row=np.where(is_seen, frames["frame"], -1),
        goal_column=np.where(is_seen, 2 * frames["frame"], -1),
        goal_offset=np.where(is_seen, 23 - frames["frame"], -1),
    )
    flights = pd.DataFrame(
        {"flight_id": [name], "scene": [scene], "split": [split], "token": [name.split("/")[0]],
         "instructions": [["Go there.", "Fly there."]]}
    )  # fmt: skip
    return flights, frames, goals


def test_a_flight_gives_exactly_these_samples():
    samples, skipped = build_samples(*flight(), RULE)
    first = samples[samples["instruction"] == "Go there."]
    found = list(zip(first["frame"], first["kind"], first["answer"], strict=True))
    assert found == [
        (4, "turn", "←←"),
        (8, "pixel", "8 16"),
        (12, "pixel", "12 24"),
        (16, "pixel", "16 32"),
        (20, "pixel", "20 40"),
        (24, "turn", "→→→→"),
        (28, "turn", "→→"),
        (39, "stop", "STOP"),
    ]
    assert len(samples) == 2 * len(found), "each instruction is an episode of its own"
    assert skipped == {"forward_without_goal": 3, "goal_too_near": 0, "left_out_kind": 0}
    assert samples["repeats"].tolist() == 2 * [1, 1, 1, 1, 1, 1, 1, 5]
    check_samples(samples)


def test_a_system_1_is_given_pixel_goals_alone():
    rule = SampleRule(4, 8, 4, 3, 5, pixel_goal_only=True)
    samples, skipped = build_samples(*flight(), rule)
    assert set(samples["kind"]) == {"pixel"}
    assert skipped["left_out_kind"] == 4
    full, _ = build_samples(*flight(), RULE)
    assert choose_pixels(full, 100, 0).equals(samples)


def test_a_goal_that_is_too_near_gives_no_sample():
    samples, skipped = build_samples(*flight(), SampleRule(4, 8, 4, 6, 5))
    assert 20 not in samples["frame"].tolist()
    assert skipped["goal_too_near"] == 1


def test_a_turn_ends_at_the_first_step_forward():
    actions = [LEFT, RIGHT, FORWARD, LEFT, STOP]
    samples, _ = build_samples(*flight(actions=actions), RULE)
    assert samples["answer"].tolist()[0] == "←→"


@pytest.mark.parametrize(
    ("frame", "expected"),
    [(0, []), (1, [0]), (5, [0, 1, 2, 3, 4]), (9, list(range(9))[:8] + [8])],
)
def test_short_pasts_are_shown_whole(frame, expected):
    found = history_frames(frame, 8)
    assert set(found) <= set(range(frame))
    assert len(found) == min(frame, 8)
    if frame < 8:
        assert found == expected


def test_a_long_past_is_shown_from_its_first_to_its_last_frame():
    found = history_frames(100, 8)
    assert (found[0], found[-1], len(found)) == (0, 99, 8)
    assert max(np.diff(found)) - min(np.diff(found)) <= 1


def test_a_frame_without_a_row_of_goals_is_named():
    flights, frames, goals = flight()
    with pytest.raises(ValueError, match=r"set/s/000000, frame 7"):
        build_samples(flights, frames, goals[goals["frame"] != 7], RULE)


def many(percent):
    parts = [flight(f"town_1000cm_45_60/s{n}/000000", f"s{n}") for n in range(12)]
    flights, frames, goals = (pd.concat(p, ignore_index=True) for p in zip(*parts, strict=True))
    name = f"town_1000cm_45_60%{percent}"
    chosen = [parse_trajectory_name(name, ["town_1000cm_45_60"])]
    return flights.drop(columns="split"), frames, goals, chosen


def test_a_share_is_the_same_for_one_seed_and_holds_the_smaller_one():
    draw = lambda percent, seed: draw_samples(*many(percent), RULE, (0.2, 0.2), seed)[0]  # noqa: E731
    full, half, third = draw(100, 0), draw(50, 0), draw(30, 0)
    assert half.equals(draw(50, 0))
    assert set(third["sample_id"]) < set(half["sample_id"]) < set(full["sample_id"])
    train = lambda table: set(table.loc[table["split"] == "train", "sample_id"])  # noqa: E731
    assert 0.3 < len(train(half)) / len(train(full)) < 0.7
    held_out = full[full["split"] != "train"]
    assert half[half["split"] != "train"]["sample_id"].tolist() == held_out["sample_id"].tolist()
    other = draw(50, 1)
    assert set(other["sample_id"]) != set(half["sample_id"])


def test_scenes_are_split_whole_whatever_their_order():
    names = [f"scene {n}" for n in range(20)]
    found = split_scenes(names, 0.1, 0.2, 0)
    assert found == split_scenes(reversed(names + names), 0.1, 0.2, 0)
    counts = pd.Series(found).value_counts().to_dict()
    assert counts == {"train": 14, "test": 4, "val": 2}
    with pytest.raises(ValueError, match="2 scenes cannot be split"):
        split_scenes(["a", "b"], 0.1, 0.1, 0)


def test_a_scene_in_two_splits_is_refused():
    samples, _ = build_samples(*flight(), RULE)
    other = samples.assign(split="test", sample_id="x" + samples["sample_id"])
    with pytest.raises(ValueError, match="a scene stands in one split"):
        check_samples(pd.concat([samples, other], ignore_index=True))


def test_a_share_of_a_share_is_drawn_anew():
    half = draw_samples(*many(50), RULE, (0.2, 0.2), 0)[0]
    pixels = half[half["kind"] == "pixel"]
    kept = choose_pixels(half, 50, 0)
    assert len(kept) < 0.8 * len(pixels), "the same draw would keep all that the first one kept"


def test_held_out_samples_are_thinned_and_those_of_the_training_are_not():
    full = draw_samples(*many(50), RULE, (0.2, 0.2), 0)[0]
    pixels, kept = (choose_pixels(full, 100, 0, most) for most in (None, 9))
    counts = kept["split"].value_counts()
    assert counts["train"] == (pixels["split"] == "train").sum()
    for split in ("val", "test"):
        every = pixels.loc[pixels["split"] == split, "sample_id"].to_list()
        step = -(-len(every) // 9)
        assert step > 1
        assert kept.loc[kept["split"] == split, "sample_id"].to_list() == every[::step]
