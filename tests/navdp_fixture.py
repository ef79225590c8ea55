"""A tiny scene in NavDP's layout, written by hand, for tests that break it."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from aquatint.data.navdp_paths import PathReadRule
from aquatint.data.point_cloud import PointCloud, write_ply
from aquatint.geometry.poses import intrinsic_matrix, look_pose

SIZE_PX, NUM_FRAMES = 24, 5


def rule(**changes):
    values = {
        "mode": "tolerant", "max_rejected_fraction": 0.9, "camera_axes": "opencv",
        "depth_units_per_m": 1000.0, "min_depth_m": 0.1, "max_depth_m": 40.0,
        "obstacle_voxel_m": 0.5, "accepts_open_scenes": False, "val_fraction": 0.0,
        "test_fraction": 0.0, "test_groups": ("test",), "seed": 0,
    }  # fmt: skip
    return PathReadRule(**{**values, **changes})


def poses(offset=0.0):
    places = [np.array([2.0 * i, offset, 6.0]) for i in range(NUM_FRAMES)]
    return np.array([look_pose(place, 0.0, np.radians(45)) for place in places])


def write_scene(root, name, obstacles=((5.0, 1.0),), num_paths=2):
    """Write a scene ``<group>/<scene>`` with straight paths, one obstacle a point."""
    place = root / name
    frames = {
        kind: place / f"videos/chunk-000/observation.images.{kind}" for kind in ("rgb", "depth")
    }
    for folder in (*frames.values(), place / "data/chunk-000", place / "meta"):
        folder.mkdir(parents=True)
    points = np.array([(*spot, 1.0) for spot in obstacles] + [(0.0, 0.0, 0.0)])
    colors = np.array([(0.0, 0.0, 0.5)] * len(obstacles) + [(0.6, 0.6, 0.6)])
    write_ply(place / "meta/pointcloud.ply", PointCloud(points, colors))
    rng = np.random.default_rng([len(name), num_paths])
    matrix = pa.list_(pa.list_(pa.float64()))
    camera = intrinsic_matrix(SIZE_PX, SIZE_PX, 79.0)
    mount = look_pose(np.array([0.0, 0.0, 6.0]), 0.0, np.radians(45))
    stats = []
    for index in range(num_paths):
        first = index * NUM_FRAMES
        for number in range(first, first + NUM_FRAMES):
            pixels = rng.integers(0, 255, (SIZE_PX, SIZE_PX, 3), np.uint8)
            Image.fromarray(pixels).save(frames["rgb"] / f"{number}.jpg")
            depth = rng.integers(1000, 9000, (SIZE_PX, SIZE_PX)).astype(np.uint16)
            Image.fromarray(depth).save(frames["depth"] / f"{number}.png")
        columns = {
            "observation.camera_intrinsic": pa.array([camera.tolist()] * NUM_FRAMES, matrix),
            "observation.camera_extrinsic": pa.array([mount.tolist()] * NUM_FRAMES, matrix),
            "action": pa.array(poses(float(index)).tolist(), matrix),
        }
        pq.write_table(pa.table(columns), place / f"data/chunk-000/episode_{index:06d}.parquet")
        bounds = {"image_index": {"min": [first], "max": [first + NUM_FRAMES - 1]}}
        stats.append({"episode_index": index, "stats": bounds})
    text = "".join(json.dumps(row) + "\n" for row in stats)
    (place / "meta/episodes_stats.jsonl").write_text(text)
    return place


def write_groups(root):
    """Training, validation by name, and a group for the test."""
    for number in range(4):
        write_scene(root, f"train/scene_{number}")
    write_scene(root, "test/scene_0")
    return root


def break_pose(path):
    table = pq.read_table(path)
    values = np.array(table["action"].to_pylist())
    values[1, 0, 3] = np.nan
    column = pa.array(values.tolist(), pa.list_(pa.list_(pa.float64())))
    pq.write_table(table.set_column(table.schema.get_field_index("action"), "action", column), path)
