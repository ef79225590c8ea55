"""One episode in each raw format, by hand: 12 frames at 3 Hz, robot at 100 Hz, sensor at 650 Hz."""

import csv
import io
import json
import pickle

import numpy as np
import pandas as pd
from PIL import Image

START = 1761551500.0
NUM_FRAMES, FRAME_S = 12, 1 / 3
SPEED = np.array([50.0, -20.0, 10.0, 0.0, 0.0, 30.0])  # mm and degrees a second
FIRST = np.array([100.0, 200.0, 300.0, 1.0, 2.0, 170.0])
JOINTS = np.arange(6.0)
SILENCE_S = (1.0, 1.25)  # one window is missing
COLUMNS = [f"joint_{i}" for i in range(1, 7)] + [f"pose_{a}" for a in "xyzabr"]


def pose_at(times):
    poses = FIRST + np.asarray(times)[:, None] * SPEED
    poses[:, 5] = 180 - (180 - poses[:, 5]) % 360  # turns past 180 degrees
    return poses


def frame_times():
    return np.arange(NUM_FRAMES) * FRAME_S


def robot_times():
    return np.arange(-0.1, 3.9, 0.01)


def save_image(path, number):
    pixels = np.full((12, 16, 3), 10 + 12 * number, np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, quality=95)


def sensor_rows():
    times = np.arange(-0.1, 3.8, 1 / 650)
    times = times[(times < SILENCE_S[0]) | (times > SILENCE_S[1])]
    rows = np.zeros((len(times), 1026), np.float32)
    rows[:, 0] = times
    rows[:, 1:] = np.arange(1025)
    return times + START, rows


def write_states(path, time_column, further=()):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([time_column, *further, *COLUMNS])
        for moment, pose in zip(robot_times(), pose_at(robot_times()), strict=True):
            values = [*JOINTS, *pose]
            writer.writerow([f"{moment + START:.4f}", *[0 for _ in further], *values])


def write_trajectory(root, has_sensor=True):
    folder = root / "round_hole" / "recv_all_20251027_075140"
    further = ("origin_timestamp", "send_timestamp", "force_placeholder")
    write_states(folder / "robot_state_20251027.csv", "recv_timestamp", further)
    for number, moment in enumerate(frame_times()):
        stamp = f"{moment + START:.3f}"
        save_image(folder / "View5" / f"oak_19443010_{stamp}.jpg", number)
        save_image(folder / "View1" / "left" / f"zed_41182735_left_{stamp}.jpg", number)
    if has_sensor:
        times, rows = sensor_rows()
        np.savez(folder / "sensor_data_20251027.npz", timestamps=times, forces=rows[:, 0],
                 alines=rows[:, 1:])  # fmt: skip
    return folder


def write_episode(root, window=65):
    folder = root / "round_hole" / "episode_1"
    write_states(folder / "robot_states.csv", "timestamp")
    for number, moment in enumerate(frame_times()):
        save_image(folder / "images" / "cam" / f"{moment + START:.3f}.jpg", number)
    times, rows = sensor_rows()
    # A window every 50 ms: neighbouring ones overlap.
    stops = [stop for stop in range(window, len(times), 32)
             if times[stop - 1] - times[stop - window] < window / 650 + 0.01]  # fmt: skip
    np.savez(folder / "sensor_data.npz", timestamps=times[np.array(stops) - 1],
             data=np.stack([rows[stop - window : stop] for stop in stops]))  # fmt: skip
    metadata = {"robot_hz": 100, "sensor_hz": 650, "sensor_window_size": window,
                "camera_views": ["cam"]}  # fmt: skip
    (folder / "metadata.json").write_text(json.dumps(metadata))
    return folder


def write_bridge(root, lines=("pick up the can",), width=7):
    folder = root / "traj0"
    for number in range(NUM_FRAMES):
        save_image(folder / "images0" / f"im_{number}.jpg", number)
    actions = [{"actions": np.array([0.01, 0, 0, 0, 0, np.pi / 180, 1.0])[:width]}] * 11
    (folder / "policy_out.pkl").write_bytes(pickle.dumps(actions))
    (folder / "lang.txt").write_text("\n".join(lines))
    return folder


def png(number):
    buffer = io.BytesIO()
    Image.fromarray(np.full((12, 16, 3), 10 + 12 * number, np.uint8)).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": f"{number}.png"}


def write_lerobot_v21(root, width=7, state_names=COLUMNS):
    """By the format's own description, not by the project's writer."""
    folder = root / "lerobot"
    times = np.arange(12) / 10
    poses = pose_at(times)
    action = np.concatenate([np.tile(SPEED / 10, (12, 1)), np.ones((12, 1))], 1)[:, :width]
    table = pd.DataFrame({
        "observation.state": list(np.concatenate([np.tile(JOINTS, (12, 1)), poses], 1)),
        "action": list(action),
        "observation.images.cam": [png(number // 3) for number in range(12)],
        "timestamp": times, "frame_index": range(12), "episode_index": 0, "index": range(12),
        "task_index": 0,
    })  # fmt: skip
    path = folder / "data" / "chunk-000" / "episode_000000.parquet"
    path.parent.mkdir(parents=True)
    table.to_parquet(path)
    features = {
        "observation.state": {"dtype": "float32", "shape": [12], "names": list(state_names)},
        "action": {"dtype": "float32", "shape": [width], "names": None},
        "observation.images.cam": {"dtype": "image", "shape": [12, 16, 3], "names": None},
    }
    info = {
        "codebase_version": "v2.1", "fps": 10, "chunks_size": 1000, "features": features,
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": None,
    }  # fmt: skip
    (folder / "meta").mkdir()
    (folder / "meta" / "info.json").write_text(json.dumps(info))
    (folder / "meta" / "episodes.jsonl").write_text(
        json.dumps({"episode_index": 0, "tasks": ["insert"], "length": 12}) + "\n"
    )
    (folder / "meta" / "tasks.jsonl").write_text(json.dumps({"task_index": 0, "task": "insert"}))
    return folder
