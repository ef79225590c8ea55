"""Reads the newer recorder's layout: ``episode_*`` folders with metadata, CSV, npz and images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from aquatint.data.image_files import FORMAT_OF_SUFFIX
from aquatint.data.robot_rows import RULE_METADATA, RULE_PRESENT, FieldViolation, RobotEpisode
from aquatint.data.robot_states import read_states
from aquatint.data.trajectory_reader import collect_frames, fill_template, read_sensor

FOLDER_PATTERN = "episode_*"
_METADATA = "metadata.json"
_NEEDED = ("robot_hz", "sensor_hz", "sensor_window_size", "camera_views")


def read_episode(root: Path, folder: Path, template: str, max_pixels: int) -> RobotEpisode:
    """Read one folder.

    Args:
        root: Folder of the data set.
        folder: ``<task>/episode_<date>``: metadata.json, robot_states.csv, sensor_data.npz or
            none, ``images/<view>/<time>.jpg``.
        template: Sentence with ``{task}`` that makes an instruction of the task's name.
        max_pixels: Of one image.

    Raises:
        RuleViolation: If a file or a value breaks a rule.
    """
    metadata = _read_metadata(folder / _METADATA)
    times, values = read_states(folder / "robot_states.csv", "timestamp")
    views = {}
    for name in metadata["camera_views"]:
        place = folder / "images" / str(name)
        images = [path for path in place.glob("*") if path.suffix.lower() in FORMAT_OF_SUFFIX]
        if not images:
            raise FieldViolation(f"images/{name}", RULE_PRESENT, "no images")
        views[str(name)] = collect_frames(root, images, max_pixels)
    sensor = folder / "sensor_data.npz"
    task = folder.parent.name
    return RobotEpisode(
        episode_id=folder.relative_to(root).as_posix(),
        source="episode",
        task=task,
        instruction=fill_template(template, task),
        confidence=1.0,
        times_s=times,
        states=values,
        frames=views,
        sensor=read_sensor(root, [sensor] if sensor.exists() else [], float(metadata["sensor_hz"])),
    )


def _read_metadata(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise FieldViolation(_METADATA, RULE_METADATA, str(error)) from error
    missing = [name for name in _NEEDED if not isinstance(content, dict) or name not in content]
    if missing:
        raise FieldViolation(_METADATA, RULE_METADATA, f"without {', '.join(missing)}")
    if not isinstance(content["camera_views"], list) or not content["camera_views"]:
        raise FieldViolation(_METADATA, RULE_METADATA, "camera_views names no view")
    return content
