"""NavDP's layout is read as it is published, and each fault is listed with its path."""

import json

import numpy as np
import pytest
from PIL import Image

from aquatint.data.navdp_paths import (
    RULE_BOUNDS,
    RULE_DEPTH,
    RULE_IMAGES,
    RULE_OBSTACLES,
    RULE_POSES,
    RULE_TABLE,
    read_paths,
)
from aquatint.data.navdp_tables import (
    check_frames,
    check_obstacles,
    check_paths,
    summarise_paths,
)
from aquatint.data.point_cloud import PointCloud, write_ply
from navdp_fixture import NUM_FRAMES, break_pose, rule, write_groups, write_scene


@pytest.fixture
def root(tmp_path):
    return write_groups(tmp_path)


def splits(**changes):
    return rule(val_fraction=0.5, seed=3, **changes)


def test_tables_hold_what_the_files_say(root):
    found = read_paths(root, splits())
    assert len(found.paths) == 10
    assert set(found.paths["split"]) == {"train", "val", "test"}
    assert found.frames.groupby("path_id").size().eq(NUM_FRAMES).all()
    row = found.frames[found.frames["path_id"] == "train/scene_0/000001"].iloc[2]
    assert (row["x_m"], row["y_m"]) == pytest.approx((4.0, 1.0))
    assert row["heading_rad"] == pytest.approx(0.0)
    assert row["rgb_path"].endswith("rgb/7.jpg"), "images go on over the episodes of a scene"
    path = found.paths.iloc[0]
    assert path["camera_height_m"] == pytest.approx(6.0)
    assert path["pitch_down_rad"] == pytest.approx(np.radians(45))
    assert found.obstacles[["x_m", "y_m"]].drop_duplicates().to_numpy().tolist() == [[5.25, 1.25]]
    for check, table in (
        (check_paths, found.paths),
        (check_frames, found.frames),
        (check_obstacles, found.obstacles),
    ):
        check(table)
    assert summarise_paths(found)["frames"]["test"] == 2 * NUM_FRAMES


def test_images_are_ordered_by_number(tmp_path):
    write_groups(tmp_path)
    write_scene(tmp_path, "train/long", num_paths=3)  # 15 images: 10 comes after 9
    frames = read_paths(tmp_path, splits()).frames
    own = frames[frames["path_id"] == "train/long/000001"]["rgb_path"]
    assert [name.rpartition("/")[2] for name in own] == [f"{i}.jpg" for i in range(5, 10)]


def _no_depth(scene):
    path = scene / "videos/chunk-000/observation.images.depth/0.png"
    Image.fromarray(np.zeros((24, 24), np.uint16)).save(path)


def _eight_bit_depth(scene):
    path = scene / "videos/chunk-000/observation.images.depth/0.png"
    Image.fromarray(np.full((24, 24), 9, np.uint8)).save(path)


def _cut_picture(scene):
    path = scene / "videos/chunk-000/observation.images.rgb/1.jpg"
    path.write_bytes(path.read_bytes()[:-200])


def _no_obstacles(scene):
    write_ply(scene / "meta/pointcloud.ply", PointCloud(np.zeros((2, 3)), np.full((2, 3), 0.6)))


def _lost_table(scene):
    (scene / "data/chunk-000/episode_000000.parquet").unlink()


def _lost_image(scene):
    (scene / "videos/chunk-000/observation.images.rgb/9.jpg").unlink()


def _no_bounds(scene):
    path = scene / "meta/episodes_stats.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    del rows[0]["stats"]["image_index"]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize(
    ("spoil", "rule_of", "count"),
    [
        (_no_depth, RULE_DEPTH, 1),
        (_eight_bit_depth, RULE_DEPTH, 1),
        (_cut_picture, "must decode completely", 1),
        (_no_obstacles, RULE_OBSTACLES, 2),
        (_lost_table, RULE_TABLE, 1),
        (_lost_image, RULE_IMAGES, 1),
        (_no_bounds, RULE_BOUNDS, 1),
        (lambda s: break_pose(s / "data/chunk-000/episode_000000.parquet"), RULE_POSES, 1),
    ],
)
def test_a_fault_costs_its_path_and_is_listed(root, spoil, rule_of, count):
    spoil(root / "train/scene_0")
    found = read_paths(root, splits())
    assert found.rejects["rule"].tolist() == [rule_of] * count
    assert len(found.paths) == 10 - count
    assert found.rejects["image_id"].str.startswith("train/scene_0/").all()
    with pytest.raises(ValueError, match="Correct the record"):
        read_paths(root, splits(mode="strict"))


def test_open_scenes_are_taken_where_they_are_allowed(root):
    _no_obstacles(root / "train/scene_0")
    found = read_paths(root, splits(accepts_open_scenes=True))
    assert len(found.paths) == 10
    assert "train/scene_0" not in set(found.obstacles["scene_id"])


def test_too_many_faults_missing_splits_and_other_layouts_stop(root):
    for number in range(3):
        _no_obstacles(root / f"train/scene_{number}")
    with pytest.raises(ValueError, match="max_rejected_fraction"):
        read_paths(root, splits(max_rejected_fraction=0.1))
    with pytest.raises(ValueError, match="leaves no path for val"):
        read_paths(root, rule(accepts_open_scenes=True))
    with pytest.raises(FileNotFoundError, match="group"):
        read_paths(root / "train", splits())


def test_an_index_says_what_is_read(root):
    listed = [
        f"{s}/data/chunk-000/episode_000000.parquet"
        for s in (
            "train/scene_0",
            "train/scene_1",
            "train/scene_2",
            "train/scene_3",
            "test/scene_0",
        )
    ]
    listed[0] = str(root / listed[0])  # absolute, as the published loader writes them
    lists = ("data_dir", "rgb_path", "depth_path", "afford_path")
    index = root / "navdp_dataset.json"
    content = {f"trajectory_{name}": listed for name in lists}
    index.write_text(json.dumps(content))
    found = read_paths(root, splits(), index)
    assert len(found.paths) == 5
    assert found.paths["path_id"].str.endswith("/000000").all()
    index.write_text(json.dumps({**content, "trajectory_rgb_path": []}))
    with pytest.raises(ValueError, match="all as long"):
        read_paths(root, splits(), index)
    index.write_text(
        json.dumps(
            {
                f"trajectory_{name}": ["../train/data/chunk-000/episode_000000.parquet"]
                for name in lists
            }
        )
    )
    with pytest.raises(ValueError, match="below"):
        read_paths(root, splits(), index)
