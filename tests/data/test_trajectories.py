"""One flight of forty frames in the published layout, and every fault that it can have."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from aquatint.data.goal_tables import (
    DepthCamera,
    LabelledTrajectories,
    check_goals,
    label_frames,
    summarise_goals,
)
from aquatint.data.pixel_goals import NO_GOAL, GoalRule
from aquatint.data.trajectories import (
    FORWARD,
    LEFT,
    RIGHT,
    STOP,
    ReadRule,
    check_flights,
    check_frames,
    poses_of,
    read_depth,
    read_trajectories,
)
from aquatint.data.trajectory_names import parse_trajectory_name
from aquatint.geometry.poses import intrinsic_matrix, look_pose

NAME = "r2r_125cm_0_45"
CHOSEN = parse_trajectory_name(NAME, [NAME])
SIZE = (48, 64)
FOV_DEG, HEIGHT_M = 90.0, 1.25
POSE = "pose.125cm_45deg"
# Turned away until frame 8, flying to frame 20, two turns, flying on, stop.
ACTED = [LEFT] * 8 + [FORWARD] * 12 + [RIGHT] * 2 + [FORWARD] * 17 + [STOP]


def rule(mode="strict", limit=0.0, axes="opencv", decodes=False):
    return ReadRule(mode, limit, axes, decodes)


def flat_depth(pose):
    k = intrinsic_matrix(SIZE[1], SIZE[0], FOV_DEG)
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    rays = np.stack([(columns - k[0, 2]) / k[0, 0], (rows - k[1, 2]) / k[1, 1], np.ones(SIZE)], -1)
    down = (rays @ pose[:3, :3].T)[..., 2]
    depth = np.where(down < 0, -pose[2, 3] / np.minimum(down, -1e-9), 0.0)
    return np.where(depth < 5, depth, 0.0)


def fly():
    heading, place = np.radians(120.0), np.zeros(2)
    poses = []
    for action in ACTED:
        poses.append(look_pose(np.array([*place, HEIGHT_M]), heading, np.radians(45)))
        heading += np.radians(15) * ((action == LEFT) - (action == RIGHT))
        if action == FORWARD:
            place = place + 0.25 * np.array([np.cos(heading), np.sin(heading)])
    return np.stack(poses)


def write(root, poses=None, actions=None, tasks=("Go on.<INSTRUCTION_SEP>Go to the end. ",),
          length=None, index=3):  # fmt: skip
    scene = root / "r2r" / "house"
    for kind in ("meta", "data/chunk-000"):
        (scene / kind).mkdir(parents=True, exist_ok=True)
    poses = fly() if poses is None else poses
    raw = [0, *ACTED[:-1]] if actions is None else actions
    record = {"episode_index": index, "tasks": list(tasks), "length": length or len(raw)}
    with (scene / "meta" / "episodes.jsonl").open("a") as file:
        file.write(json.dumps(record) + "\n\n")
    column = pa.array(np.asarray(poses).tolist(), pa.list_(pa.list_(pa.float64())))
    table = pa.table({"action": pa.array(raw, pa.int64()), POSE: column, "other": pa.array(raw)})
    pq.write_table(table, scene / "data" / "chunk-000" / f"episode_{index:06d}.parquet")
    videos = scene / "videos" / "chunk-000"
    for frame, pose in enumerate(np.asarray(poses)):
        for kind, view in (("rgb", "125cm_0deg"), ("rgb", "125cm_45deg"), ("depth", "125cm_45deg")):
            folder = videos / f"observation.images.{kind}.{view}"
            folder.mkdir(parents=True, exist_ok=True)
            name = folder / f"episode_{index:06d}_{frame}"
            if kind == "rgb":
                Image.new("RGB", SIZE[::-1]).save(f"{name}.jpg")
            else:
                depth = flat_depth(pose) if np.isfinite(pose).all() else np.zeros(SIZE)
                Image.fromarray((depth * 1000).astype(np.uint16)).save(f"{name}.png")
    return scene


def read(root, **options):
    return read_trajectories(root, CHOSEN, rule(**options))


def label(root, frames):
    return label_frames(root, frames, DepthCamera(FOV_DEG, 1000), GoalRule(0.2, 3, 5.0, HEIGHT_M))


def test_the_golden_flight_is_read_with_actions_where_they_were_taken(tmp_path):
    write(tmp_path)
    flights, frames, rejects = read(tmp_path, decodes=True)
    check_flights(flights)
    check_frames(frames)
    assert rejects.empty
    assert flights["flight_id"].tolist() == ["r2r/house/000003"]
    assert flights["instructions"].tolist() == [["Go on.", "Go to the end."]]
    assert flights["length_m"][0] == pytest.approx(29 * 0.25)
    assert frames["action"].tolist() == ACTED
    assert np.allclose(poses_of(frames), fly())
    assert frames["rgb_path"][5].endswith("observation.images.rgb.125cm_0deg/episode_000003_5.jpg")


def test_goals_are_where_the_way_can_last_be_seen(tmp_path):
    write(tmp_path)
    flights, frames, rejects = read(tmp_path)
    goals = label(tmp_path, frames)
    check_goals(goals)
    offsets = goals["goal_offset"].to_numpy()
    assert offsets[0] == NO_GOAL, "turned away from the way"
    assert offsets[8] > 3
    assert goals["goal_column"][8] > 38, "the way bends to the right"
    assert goals["goal_column"][22] in (31, 32), "and is straight from there"
    assert offsets[22:37].tolist() == list(range(17, 2, -1))
    assert (offsets[-3:] == NO_GOAL).all()
    counts = summarise_goals(flights, frames, goals, len(rejects))
    assert sum(counts["kinds"].values()) == counts["n"]["frames"] == 40
    assert counts["kinds"]["stop"] == 1
    assert counts["kinds"]["turn"] >= 3
    assert counts["n"]["instructions"] == 2


def test_labelled_files_keep_every_column_and_hold_the_goals(tmp_path):
    write(tmp_path)
    _, frames, _ = read(tmp_path)
    goals = label(tmp_path, frames)
    LabelledTrajectories(str(tmp_path), CHOSEN, goals).write(tmp_path / "out")
    path = "r2r/house/data/chunk-000/episode_000003.parquet"
    before, after = (pq.read_table(root / path) for root in (tmp_path, tmp_path / "out"))
    assert after.column_names == [*before.column_names, "goal.125cm_45deg",
                                  "relative_goal_frame_id.125cm_45deg"]  # fmt: skip
    assert after.select(before.column_names).equals(before)
    assert after["relative_goal_frame_id.125cm_45deg"].to_pylist() == goals["goal_offset"].tolist()
    assert (
        after["goal.125cm_45deg"].to_pylist()
        == goals[["goal_row", "goal_column"]].to_numpy().tolist()
    )
    again = LabelledTrajectories(str(tmp_path / "out"), CHOSEN, goals)
    again.write(tmp_path / "twice")
    assert pq.read_table(tmp_path / "twice" / path).num_columns == after.num_columns


def test_poses_of_opengl_are_turned_on_reading(tmp_path):
    write(tmp_path, poses=fly() @ np.diag([1.0, -1.0, -1.0, 1.0]))
    _, frames, _ = read(tmp_path, axes="opengl")
    assert np.allclose(poses_of(frames), fly())


def broken_pose():
    poses = fly()
    poses[4, 0, 3] = np.nan
    return poses


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"poses": broken_pose()}, r"a rotation and a place.*frames \[4\]"),
        ({"poses": 2 * fly()}, "a rotation and a place"),
        ({"actions": [0, 7, *ACTED[1:-1]]}, r"one of \(0, 1, 2, 3, 5\).*7"),
        ({"length": 12}, "as many rows as the episode's length.*40 rows, length 12"),
        ({"tasks": ["", " <INSTRUCTION_SEP>"]}, "at least one instruction"),
    ],
)
def test_a_faulty_flight_stops_or_is_left_out_with_its_reason(tmp_path, options, words):
    write(tmp_path, index=1)
    write(tmp_path, **options)
    with pytest.raises(ValueError, match=rf"record 1 \(r2r/house/000003\): flight .*{words}"):
        read(tmp_path)
    flights, frames, rejects = read(tmp_path, mode="tolerant", limit=0.5)
    assert flights["flight_id"].tolist() == ["r2r/house/000001"]
    assert set(frames["flight_id"]) == {"r2r/house/000001"}
    assert rejects["image_id"].tolist() == ["r2r/house/000003"]
    with pytest.raises(ValueError, match="1 of 2 records have a finding"):
        read(tmp_path, mode="tolerant", limit=0.4)


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("data/chunk-000/episode_000003.parquet", "must exist and be a Parquet file"),
        ("videos/chunk-000/observation.images.depth.125cm_45deg/episode_000003_7.png",
         "exist for every frame.*episode_000003_7.png, 1 of 40 missing"),
        ("videos/chunk-000/observation.images.rgb.125cm_0deg/episode_000003_39.jpg",
         "exist for every frame"),
    ],
)  # fmt: skip
def test_a_lost_file_is_named(tmp_path, place, words):
    scene = write(tmp_path)
    (scene / place).unlink()
    with pytest.raises(ValueError, match=words):
        read(tmp_path)


def test_a_picture_cut_off_is_found_when_pictures_are_decoded(tmp_path):
    scene = write(tmp_path)
    path = scene / "videos/chunk-000/observation.images.rgb.125cm_45deg/episode_000003_2.jpg"
    path.write_bytes(path.read_bytes()[:200])
    read(tmp_path)
    with pytest.raises(ValueError, match="must be a JPEG.*episode_000003_2|decode.*000003_2"):
        read(tmp_path, decodes=True)


def test_broken_depth_is_found_when_pictures_are_decoded(tmp_path):
    scene = write(tmp_path)
    folder = scene / "videos/chunk-000/observation.images.depth.125cm_45deg"
    path = folder / "episode_000003_2.png"
    Image.fromarray(np.ones((24, 64), np.uint16)).save(path)
    with pytest.raises(ValueError, match=r"16-bit PNGs of one size.*\(24, 64\), \(48, 64\)"):
        read(tmp_path, decodes=True)
    path.write_bytes(path.read_bytes()[:60])
    _, _, rejects = read(tmp_path, decodes=True, mode="tolerant", limit=1.0)
    assert rejects["image_id"].tolist() == ["r2r/house/000003"]


def test_missing_columns_are_all_named_in_both_modes(tmp_path):
    scene = write(tmp_path)
    path = scene / "data/chunk-000/episode_000003.parquet"
    pq.write_table(pq.read_table(path).select(["other"]), path)
    for mode in ("strict", "tolerant"):
        with pytest.raises(ValueError, match=r"lacks action, pose\.125cm_45deg and has other"):
            read(tmp_path, mode=mode, limit=1.0)


def test_an_absent_set_and_an_empty_one_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="needs the folder .*r2r"):
        read(tmp_path)
    (tmp_path / "r2r").mkdir()
    with pytest.raises(ValueError, match="holds no flight"):
        read(tmp_path)
    (tmp_path / "r2r" / "house").mkdir()
    with pytest.raises(FileNotFoundError, match=r"episodes\.jsonl"):
        read(tmp_path)


def test_depth_that_is_no_depth_is_refused(tmp_path):
    path = tmp_path / "d.png"
    Image.new("RGB", (4, 4)).save(path)
    with pytest.raises(ValueError, match=r"d\.png must hold one 16-bit number"):
        read_depth(path, 1000)
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"d\.png must be a PNG"):
        read_depth(path, 1000)


def test_half_a_goal_is_none():
    row = {"flight_id": "a", "frame": 0, "goal_row": 3, "goal_column": -1, "goal_offset": 4,
           "num_hidden": 0, "num_unmeasured": 0}  # fmt: skip
    with pytest.raises(ValueError, match="a goal has row, column and offset"):
        check_goals(pd.DataFrame([row]))
