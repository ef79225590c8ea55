"""Each raw format read from a fixture made by hand, and what is refused."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import robot_fixture as fixture

from aquatint.data.bridge_reader import load_plain
from aquatint.data.episode_tables import (
    ReadingRules,
    check_steps,
    read_episodes,
    report_episodes,
    split_episodes,
)
from aquatint.data.frame_refs import load_frame
from aquatint.data.lerobot_writer import LeRobotEpisode, write_lerobot
from aquatint.data.robot_rows import ACTION_NAMES, POSE_NAMES, STATE_NAMES, FieldViolation
from aquatint.data.sensor_files import read_sensor_rows
from aquatint.data.time_alignment import AlignmentRules
from aquatint.data.trajectory_reader import time_of_name

RULES = AlignmentRules(10, 0.02, 1.0, 0.1, 65, "end")
STRICT = ReadingRules("strict", 0.0, 10_000, "Perform {task} insertion task.")


def read(root, rules=RULES, reading=STRICT):
    return read_episodes(root, reading, rules)


@pytest.mark.parametrize(
    ("write", "views"),
    [(fixture.write_trajectory, ["View1/left", "View5"]), (fixture.write_episode, ["cam"])],
)
def test_recorders_of_poses_give_steps_at_the_rate_of_actions(tmp_path, write, views):
    write(tmp_path)
    steps, counts, rejects = read(tmp_path)
    check_steps(steps)
    assert len(rejects) == 0
    # 11 / 3 s between first and last frame: steps at 0.0, 0.1, ... 3.7 s.
    assert steps["step"].tolist() == list(range(38))
    assert counts.iloc[0][["steps", "kept", "without_robot"]].tolist() == [38, 38, 0]
    found = steps[list(POSE_NAMES)].to_numpy()
    assert np.abs(found - fixture.pose_at(np.arange(38) / 10)).max() < 0.6, "nearest 10 ms row"
    actions = steps.loc[steps["has_action"], list(ACTION_NAMES)].to_numpy()
    assert len(actions) == 37
    expected = np.append(fixture.SPEED / 10, 1.0)
    assert np.abs(actions - expected).max() < 1.2, "also where the heading passes 180 degrees"
    assert list(steps["views"].iloc[0]) == views
    assert steps["instruction"].unique().tolist() == ["Perform round hole insertion task."]
    # 3 Hz images: a frame serves three or four steps.
    assert steps["frame"].tolist()[:8] == [0, 0, 0, 0, 1, 1, 1, 2]
    brightness = [load_frame(tmp_path, refs[-1]).mean() for refs in steps["image_refs"]]
    assert np.allclose(brightness, 10 + 12 * steps["frame"].to_numpy(), atol=2)


@pytest.mark.parametrize("write", [fixture.write_trajectory, fixture.write_episode])
def test_windows_end_at_their_step_and_a_silent_sensor_is_counted(tmp_path, write):
    write(tmp_path)
    steps, counts, _ = read(tmp_path)
    heard = steps[steps["has_sensor"]]
    # 1.0 to 1.25 s is missing: nothing younger than 100 ms at 1.1 and 1.2 s.
    silent = steps.loc[~steps["has_sensor"], "time_s"].round(2).tolist()
    assert silent == [1.1, 1.2]
    assert counts["without_sensor"].sum() == 2
    for _, row in heard.iterrows():
        rows = read_sensor_rows(tmp_path / row["sensor_file"], 650.0)
        window = rows[row["sensor_start"] : row["sensor_stop"]]
        # The fixture writes each row's own time as its force.
        assert abs(window[-1, 0] - row["time_s"]) < 0.1
        assert 0 < len(window) <= 65
        assert (np.diff(window[:, 0]) > 0).all(), "no row twice, though windows overlap"


def test_windows_of_an_interval_hold_what_came_since_the_frame_before(tmp_path):
    fixture.write_trajectory(tmp_path)
    rules = AlignmentRules(10, 0.02, 1.0, 0.1, 650, "interval")
    steps, _, _ = read(tmp_path, rules)
    lengths = (steps["sensor_stop"] - steps["sensor_start"]).to_numpy()
    row = steps.iloc[4]  # the step just behind the second frame, at 1/3 s
    assert row["frame"] == 1
    assert lengths[4] == pytest.approx(0.4 * 650, abs=3)
    assert lengths.max() <= 650


def test_bridge_states_actions_in_metres_and_radians_and_no_pose(tmp_path):
    fixture.write_bridge(tmp_path, ["Put the can away", "confidence: 0.8"])
    steps, _, _ = read(tmp_path)
    assert steps[list(ACTION_NAMES)].iloc[0].tolist() == pytest.approx([10, 0, 0, 0, 0, 1, 1])
    assert steps["instruction"].iloc[0] == "Put the can away"
    assert steps["confidence"].iloc[0] == 0.8
    assert not steps["has_state"].any()
    assert not steps["has_sensor"].any()
    assert len(steps) == 11


def test_bridge_without_a_confidence_has_one_half(tmp_path):
    fixture.write_bridge(tmp_path)
    assert read(tmp_path)[0]["confidence"].iloc[0] == 0.5


def test_lerobot_is_read_by_the_names_of_its_features(tmp_path):
    fixture.write_lerobot_v21(tmp_path)
    steps, _, _ = read(tmp_path)
    assert len(steps) == 12
    assert steps[list(STATE_NAMES)[:6]].iloc[0].tolist() == fixture.JOINTS.tolist()
    assert steps["has_action"].all()
    assert steps["frame"].tolist() == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    assert load_frame(tmp_path, steps["image_refs"].iloc[5][0]).mean() == 22


@pytest.mark.parametrize("layout", ["v2.1", "v3.0"])
def test_a_written_lerobot_data_set_reads_back_as_it_was(tmp_path, layout):
    rng = np.random.default_rng(0)
    episodes = [
        LeRobotEpisode(
            task=f"task {number}",
            state=rng.normal(size=(4 + number, 12)).astype(np.float32),
            state_names=STATE_NAMES,
            action=rng.normal(size=(4 + number, 7)).astype(np.float32),
            frames={"cam": rng.integers(0, 255, (4 + number, 8, 8, 3), dtype=np.uint8)},
        )
        for number in range(3)
    ]
    write_lerobot(tmp_path / "set", episodes, layout, 10)
    steps, _, _ = read(tmp_path)
    assert steps["episode_id"].nunique() == 3
    for episode, (_, rows) in zip(episodes, steps.groupby("episode_id"), strict=True):
        assert np.array_equal(rows[list(STATE_NAMES)].to_numpy(np.float32), episode.state)
        assert np.array_equal(rows[list(ACTION_NAMES)].to_numpy(np.float32), episode.action)
        assert rows["instruction"].unique().tolist() == [episode.task]
        refs = [refs[0] for refs in rows["image_refs"]]
        found = np.stack([load_frame(tmp_path.resolve(), ref) for ref in refs])
        assert np.array_equal(found, episode.frames["cam"])


def test_videos_of_lerobot_are_read_frame_by_frame(tmp_path):
    av = pytest.importorskip("av")
    folder = fixture.write_lerobot_v21(tmp_path)
    info = json.loads((folder / "meta" / "info.json").read_text())
    info["features"]["observation.images.cam"]["dtype"] = "video"
    info["video_path"] = (
        "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
    )
    (folder / "meta" / "info.json").write_text(json.dumps(info))
    path = folder / "videos" / "chunk-000" / "observation.images.cam" / "episode_000000.mp4"
    path.parent.mkdir(parents=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
        for number in range(12):
            pixels = np.full((16, 16, 3), 20 * number, np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    steps, _, _ = read(tmp_path)
    found = [load_frame(tmp_path, refs[0]).mean() for refs in steps["image_refs"]]
    assert np.allclose(found, 20 * np.arange(12), atol=6)


def drop_column(path, name):
    lines = [line.split(",") for line in path.read_text().splitlines()]
    place = lines[0].index(name)
    path.write_text("\n".join(",".join(c for i, c in enumerate(line) if i != place)
                              for line in lines))  # fmt: skip


def put_nan(path):
    lines = path.read_text().splitlines()
    lines[5] = ",".join([*lines[5].split(",")[:-1], "nan"])
    path.write_text("\n".join(lines))


def shift_clock(path):
    lines = path.read_text().splitlines()
    rows = [line.split(",") for line in lines[1:]]
    lines[1:] = [",".join([str(float(row[0]) + 3600), *row[1:]]) for row in rows]
    path.write_text("\n".join(lines))


def states_of(folder):
    return next(folder.glob("robot_state*.csv"))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda f: drop_column(states_of(f), "pose_z"), r"every column.*without pose_z"),
        (lambda f: put_nan(states_of(f)), r"pose_r must hold finite numbers, got .*line 6"),
        (lambda f: shift_clock(states_of(f)), r"clocks that overlap"),
        (lambda f: next(f.glob("sensor*.npz")).write_bytes(b""), r"sensor.*readable npz"),
        (lambda f: states_of(f).unlink(), r"robot_state.*must be in every episode"),
    ],
    ids=["missing column", "NaN pose", "clock", "empty sensor", "no states"],
)
@pytest.mark.parametrize("write", [fixture.write_trajectory, fixture.write_episode])
def test_a_faulty_recording_stops_with_file_rule_and_value(tmp_path, write, spoil, words):
    folder = write(tmp_path)
    spoil(folder)
    with pytest.raises(ValueError, match=words) as error:
        read(tmp_path)
    assert folder.name in str(error.value), "the message names the recording"
    assert "mode 'tolerant'" in str(error.value), "and the way out"


def test_a_tolerant_reader_lists_what_it_refuses_up_to_a_limit(tmp_path):
    put_nan(states_of(fixture.write_trajectory(tmp_path)))
    fixture.write_episode(tmp_path)
    tolerant = ReadingRules("tolerant", 0.5, 10_000, "{task}")
    steps, counts, rejects = read(tmp_path, reading=tolerant)
    assert steps["source"].unique().tolist() == ["episode"]
    assert rejects["rule"].tolist() == ["must hold finite numbers"]
    report = report_episodes(split_episodes(steps, 0.2, 0.2, 0), counts, rejects)
    assert report["episodes"]["rejected"] == 1
    with pytest.raises(ValueError, match="max_rejected_fraction"):
        read(tmp_path, reading=ReadingRules("tolerant", 0.1, 10_000, "{task}"))


def test_another_width_of_actions_is_refused(tmp_path):
    fixture.write_bridge(tmp_path, width=6)
    with pytest.raises(ValueError, match=r"policy_out.pkl: step 0 must have 7 numbers"):
        read(tmp_path)


def test_another_width_of_lerobot_actions_is_refused(tmp_path):
    fixture.write_lerobot_v21(tmp_path, width=6)
    with pytest.raises(ValueError, match=r"action must have 7 numbers a step"):
        read(tmp_path)


def test_a_lerobot_state_without_a_pose_is_refused(tmp_path):
    fixture.write_lerobot_v21(tmp_path, state_names=["q"] * 12)
    with pytest.raises(ValueError, match=r"without joint_1, joint_2"):
        read(tmp_path)


def test_a_nan_in_a_sensor_stops_where_it_is_read(tmp_path):
    folder = fixture.write_trajectory(tmp_path)
    path = next(folder.glob("sensor*.npz"))
    with np.load(path) as arrays:
        values = dict(arrays)
    values["alines"][7, 3] = np.nan
    np.savez(path, **values)
    with pytest.raises(FieldViolation, match=r"inf or NaN") as error:
        read_sensor_rows(path, 651.0)
    assert "row 7" in error.value.name


def test_a_pickle_of_actions_cannot_run_anything(tmp_path):
    class Payload:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "it ran",))

    with pytest.raises(FieldViolation, match="plain lists"):
        load_plain(pickle.dumps([Payload()]), "policy_out.pkl")
    assert not (tmp_path / "it ran").exists()


def test_a_sample_of_no_format_says_where_to_point(tmp_path):
    with pytest.raises(ValueError, match="holds no episode"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("zed_41182735_left_1761551500.174.jpg", 1761551500.174), ("1761551500.5.jpg", 1761551500.5),
     ("frame_1761551500.jpg", 1761551500.0)],
)  # fmt: skip
def test_the_time_stands_in_the_last_fields_of_a_name(name, expected):
    assert time_of_name(Path(name)) == pytest.approx(expected)


def test_whole_episodes_go_to_a_split_and_a_leak_is_found(tmp_path):
    for number in range(12):
        fixture.write_episode(tmp_path / f"s{number}")
    steps, _, _ = read(tmp_path)
    split = split_episodes(steps, 0.25, 0.25, 0)
    assert split.groupby("episode_id")["split"].nunique().max() == 1
    counts = split.drop_duplicates("episode_id")["split"].value_counts()
    assert counts.to_dict() == {"train": 6, "val": 3, "test": 3}
    leaking = split.copy()
    leaking.loc[leaking.index[0], "split"] = "val" if leaking["split"].iloc[0] != "val" else "test"
    with pytest.raises(ValueError, match="share a episode_id"):
        check_steps(leaking)
