"""Reads the older recorder's layout: ``recv_all_<date>`` folders of images, CSV and npz."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from aquatint.data.frame_refs import digest_frame
from aquatint.data.image_files import FORMAT_OF_SUFFIX
from aquatint.data.robot_rows import (
    RULE_FINITE_NUMBERS,
    RULE_PRESENT,
    FieldViolation,
    Frames,
    RobotEpisode,
    SensorTimes,
)
from aquatint.data.robot_states import read_states
from aquatint.data.sensor_files import read_sensor_times
from aquatint.storage import file_digest

FOLDER_PATTERN = "recv_all_*"
TIME_COLUMN = "recv_timestamp"
_SENSOR_HZ = 650.0
_VIEW = re.compile(r"View\d+")


def read_trajectory(root: Path, folder: Path, template: str, max_pixels: int) -> RobotEpisode:
    """Read one folder.

    Args:
        root: Folder of the data set.
        folder: ``<task>/recv_all_<date>``: ``View1`` to ``View5`` with images (or ``left`` and
            ``right`` below), ``robot_state_*.csv``, ``sensor_data_*.npz`` or none.
        template: Sentence with ``{task}`` that makes an instruction of the task's name.
        max_pixels: Of one image.

    Raises:
        RuleViolation: If a file or a value breaks a rule.
    """
    states = sorted(folder.glob("robot_state_*.csv"))
    if not states:
        raise FieldViolation("robot_state_*.csv", RULE_PRESENT, "no such file")
    times, values = read_states(states[0], TIME_COLUMN)
    task = folder.parent.name
    return RobotEpisode(
        episode_id=folder.relative_to(root).as_posix(),
        source="trajectory",
        task=task,
        instruction=fill_template(template, task),
        confidence=1.0,
        times_s=times,
        states=values,
        frames=read_views(root, folder, max_pixels),
        sensor=read_sensor(root, sorted(folder.glob("sensor_data_*.npz")), _SENSOR_HZ),
    )


def fill_template(template: str, task: str) -> str:
    """Return the instruction of a task: the template with the task's name in plain words."""
    text = template.format(task=task.replace("_", " ").strip())
    return text[:1].upper() + text[1:]


def read_sensor(root: Path, files: list[Path], sensor_hz: float) -> SensorTimes | None:
    """Look at an episode's sensor file; None if there is none."""
    if not files:
        return None
    times = read_sensor_times(files[0], sensor_hz)
    return SensorTimes(files[0].relative_to(root).as_posix(), times, file_digest(files[0]))


def read_views(root: Path, folder: Path, max_pixels: int) -> dict[str, Frames]:
    """Read every view's images: ``View5``, ``View1/left`` and so on, in the order of their names.

    Raises:
        FieldViolation: If there is no image at all, or a name holds no timestamp.
    """
    views = {}
    for place in sorted(path for path in folder.rglob("*") if path.is_dir()):
        name = place.relative_to(folder).as_posix()
        if _VIEW.match(name) is None:
            continue
        images = [path for path in place.iterdir() if path.suffix.lower() in FORMAT_OF_SUFFIX]
        if images:
            views[name] = collect_frames(root, images, max_pixels)
    if not views:
        raise FieldViolation("View*", RULE_PRESENT, "no images")
    return views


def collect_frames(root: Path, images: list[Path], max_pixels: int) -> Frames:
    """Order images by the time in their names and check each of them."""
    ordered = sorted((time_of_name(path), path) for path in images)
    refs = [path.relative_to(root).as_posix() for _, path in ordered]
    return Frames(
        np.array([moment for moment, _ in ordered]),
        refs,
        [digest_frame(root, ref, max_pixels) for ref in refs],
    )


def time_of_name(path: Path) -> float:
    """Return the Unix time in a file's name: its last two fields between ``_`` and ``.``.

    Raises:
        FieldViolation: If they are no number, as in ``zed_left_1761551500.174.jpg``.
    """
    fields = re.split(r"[_.]", path.stem)
    try:
        # A name without a fraction ends in whole seconds.
        text = ".".join(fields[-2:]) if len(fields) > 1 and fields[-2].isdigit() else fields[-1]
        return float(text)
    except ValueError as error:
        raise FieldViolation(path.name, RULE_FINITE_NUMBERS, "no time in the name") from error
