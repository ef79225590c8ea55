"""Writers of the raw formats that recorders of flights use: F1, F2 and Bridge folders."""

from __future__ import annotations

import csv
import json
import pickle
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from PIL import Image

from aquatint.world.arrays import FloatArray
from aquatint.world.flight_physics import ACTION_HZ, ROBOT_HZ, SENSOR_HZ, wrap_deg
from aquatint.world.flight_recording import Flight

VIEW = "View5"
_CAMERA = "oak_19443010"
_JPEG_QUALITY = 92
_ROBOT_COLUMNS = (
    *("recv_timestamp", "origin_timestamp", "send_timestamp", "force_placeholder"),
    *(f"joint_{number}" for number in range(1, 7)),
    *(f"pose_{axis}" for axis in ("x", "y", "z", "a", "b", "r")),
)
_SHORT_WINDOW = 65


def write_trajectory(root: Path, flight: Flight) -> Path:
    """Write a folder of the older recorder: ``<task>/recv_all_<date>``."""
    stamp = _stamp(flight.start_s)
    folder = root / flight.goal.task / f"recv_all_{stamp}"
    (folder / VIEW).mkdir(parents=True)
    for moment, frame in zip(flight.frame_times_s, flight.frames, strict=True):
        _save_jpeg(frame, folder / VIEW / f"{_CAMERA}_{moment:.3f}.jpg")
    with (folder / f"robot_state_{stamp}.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(_ROBOT_COLUMNS)
        for row in zip(flight.robot_times_s, flight.rotors, flight.poses, strict=True):
            moment, joints, pose = row
            times = (f"{moment:.6f}", f"{moment - 0.004:.6f}", f"{moment - 0.002:.6f}", "0")
            writer.writerow([*times, *(f"{value:.4f}" for value in (*joints, *pose))])
    if len(flight.sensor_rows):
        np.savez(
            folder / f"sensor_data_{stamp}.npz",
            timestamps=flight.sensor_times_s,
            forces=flight.sensor_rows[:, 0],
            alines=flight.sensor_rows[:, 1:],
        )
    return folder


def write_episode(root: Path, flight: Flight) -> Path:
    """Write a folder of the newer recorder: ``<task>/episode_<date>``, windows of 100 ms."""
    folder = root / flight.goal.task / f"episode_{_stamp(flight.start_s)}"
    (folder / "images" / VIEW).mkdir(parents=True)
    for moment, frame in zip(flight.frame_times_s, flight.frames, strict=True):
        _save_jpeg(frame, folder / "images" / VIEW / f"{moment:.3f}.jpg")
    with (folder / "robot_states.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("timestamp", *_ROBOT_COLUMNS[4:]))
        for row in zip(flight.robot_times_s, flight.rotors, flight.poses, strict=True):
            moment, joints, pose = row
            writer.writerow([f"{moment:.6f}", *(f"{value:.4f}" for value in (*joints, *pose))])
    if len(flight.sensor_rows):
        num = len(flight.sensor_rows) // _SHORT_WINDOW
        kept = num * _SHORT_WINDOW
        windows = flight.sensor_rows[:kept].reshape(num, _SHORT_WINDOW, -1)
        ends = flight.sensor_times_s[_SHORT_WINDOW - 1 : kept : _SHORT_WINDOW]
        np.savez(folder / "sensor_data.npz", timestamps=ends, data=windows)
    metadata = {
        "robot_hz": ROBOT_HZ,
        "sensor_hz": SENSOR_HZ,
        "sensor_window_size": _SHORT_WINDOW,
        "camera_views": [VIEW],
        "action_hz": ACTION_HZ,
    }
    (folder / "metadata.json").write_text(json.dumps(metadata, indent=1))
    return folder


def write_bridge(root: Path, flight: Flight, number: int) -> Path:
    """Write a folder of Bridge's raw layout: metres and radians, one image a step, no pose."""
    folder = root / f"traj{number}"
    (folder / "images0").mkdir(parents=True)
    actions = bridge_actions(flight.step_poses)
    last = len(flight.frames) - 1
    for step in range(len(actions) + 1):
        frame = flight.frames[min(step * len(flight.frames) // (len(actions) + 1), last)]
        _save_jpeg(frame, folder / "images0" / f"im_{step}.jpg")
    records = [{"actions": action.astype(np.float64)} for action in actions]
    (folder / "policy_out.pkl").write_bytes(pickle.dumps(records))
    (folder / "lang.txt").write_text(f"{flight.goal.instruction}\nconfidence: 0.9\n")
    return folder


def bridge_actions(poses: FloatArray) -> FloatArray:
    """Steps between poses in metres and radians, with the gripper's 1, shape (K - 1, 7)."""
    steps = np.diff(poses, axis=0)
    turns = np.radians(wrap_deg(steps[:, 3:]))
    return np.concatenate([steps[:, :3] / 1000, turns, np.ones((len(steps), 1))], 1)


def _save_jpeg(frame: np.ndarray, path: Path) -> None:
    Image.fromarray(frame).save(path, quality=_JPEG_QUALITY)


def _stamp(moment_s: float) -> str:
    return datetime.fromtimestamp(moment_s, UTC).strftime("%Y%m%d_%H%M%S")
