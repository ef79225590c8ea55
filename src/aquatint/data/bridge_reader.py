"""Reads Bridge's raw layout: ``traj*`` folders of images, actions and an instruction."""

from __future__ import annotations

import io
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aquatint.data.frame_refs import digest_frame
from aquatint.data.robot_rows import (
    ACTION_WIDTH,
    NUM_LENGTHS,
    RULE_ACTION_WIDTH,
    RULE_FINITE_NUMBERS,
    RULE_PLAIN_VALUES,
    RULE_PRESENT,
    STATE_NAMES,
    FieldViolation,
    Frames,
    RobotEpisode,
)

FOLDER_PATTERN = "traj*"
DEFAULT_CONFIDENCE = 0.5
_STEP_S = 0.2
_MM_PER_M = 1000.0
_IMAGE = re.compile(r"im_(\d+)\.jpg")
_CONFIDENCE = re.compile(r"confidence:\s*([0-9.]+)\s*$", re.IGNORECASE)
# What numpy writes for an array of numbers, under the names of its versions 1 and 2.
_ALLOWED = {
    (module, name)
    for module in ("numpy", "numpy.core.multiarray", "numpy._core.multiarray")
    for name in ("ndarray", "dtype", "_reconstruct", "scalar")
} | {("numpy._core.numeric", "_frombuffer"), ("_codecs", "encode")}


def read_bridge(root: Path, folder: Path, max_pixels: int) -> RobotEpisode:
    """Read one folder.

    Bridge states actions in metres and radians and no pose: states are NaN, and whatever needs
    them leaves the episode out.

    Args:
        root: Folder of the data set.
        folder: ``images0`` and further with ``im_<step>.jpg``, policy_out.pkl, lang.txt.
        max_pixels: Of one image.

    Raises:
        RuleViolation: If a file or a value breaks a rule.
    """
    actions = _read_actions(folder / "policy_out.pkl")
    instruction, confidence = _read_language(folder / "lang.txt")
    times = np.arange(len(actions), dtype=np.float64) * _STEP_S
    return RobotEpisode(
        episode_id=folder.relative_to(root).as_posix(),
        source="bridge",
        task=instruction,
        instruction=instruction,
        confidence=confidence,
        times_s=times,
        states=np.full((len(actions), len(STATE_NAMES)), np.nan),
        frames=_read_views(root, folder, max_pixels),
        actions=actions,
    )


def _read_actions(path: Path) -> NDArray[np.float64]:
    if not path.is_file():
        raise FieldViolation(path.name, RULE_PRESENT, "no such file")
    records = load_plain(path.read_bytes(), path.name)
    rows = []
    for step, record in enumerate(records if isinstance(records, list) else []):
        found = record.get("actions") if isinstance(record, dict) else None
        values = np.atleast_1d(np.asarray(found, dtype=np.float64)) if found is not None else None
        if values is None or values.shape != (ACTION_WIDTH,):
            shape = None if values is None else values.shape
            raise FieldViolation(f"{path.name}: step {step}", RULE_ACTION_WIDTH, shape)
        if not np.isfinite(values).all():
            raise FieldViolation(f"{path.name}: step {step}", RULE_FINITE_NUMBERS, values.tolist())
        rows.append(values)
    if not rows:
        raise FieldViolation(path.name, RULE_ACTION_WIDTH, "no steps")
    actions = np.stack(rows)
    actions[:, :NUM_LENGTHS] *= _MM_PER_M
    actions[:, NUM_LENGTHS:-1] = np.degrees(actions[:, NUM_LENGTHS:-1])
    return actions


class _PlainUnpickler(pickle.Unpickler):
    """Builds lists, dicts, numbers and numpy arrays; whatever else a file asks for is refused."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - pickle's signature
        """Return what numpy needs to restore an array, and nothing else."""
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name}")
        return super().find_class(module, name)


def load_plain(content: bytes, name: str) -> object:
    """Return the plain values of a pickle; a file cannot make it run anything.

    Raises:
        FieldViolation: If it holds anything but lists, dicts, numbers, text and numeric arrays.
    """
    try:
        return _PlainUnpickler(io.BytesIO(content)).load()
    except (pickle.UnpicklingError, EOFError, AttributeError, ValueError, TypeError) as error:
        raise FieldViolation(name, RULE_PLAIN_VALUES, str(error)) from error


def _read_language(path: Path) -> tuple[str, float]:
    if not path.is_file():
        raise FieldViolation(path.name, RULE_PRESENT, "no such file")
    lines = [line.strip() for line in path.read_text().splitlines() if line.strip()]
    if not lines or _CONFIDENCE.match(lines[0]):
        raise FieldViolation(path.name, RULE_PRESENT, "no instruction")
    stated = [match for line in lines[1:] if (match := _CONFIDENCE.match(line))]
    return lines[0], float(stated[0].group(1)) if stated else DEFAULT_CONFIDENCE


def _read_views(root: Path, folder: Path, max_pixels: int) -> dict[str, Frames]:
    views = {}
    for place in sorted(folder.glob("images*")):
        numbered = {
            int(match.group(1)): path
            for path in place.iterdir()
            if (match := _IMAGE.fullmatch(path.name))
        }
        refs = [numbered[step].relative_to(root).as_posix() for step in sorted(numbered)]
        digests = [digest_frame(root, ref, max_pixels) for ref in refs]
        views[place.name] = Frames(np.array(sorted(numbered)) * _STEP_S, refs, digests)
    if not views:
        raise FieldViolation("images0", RULE_PRESENT, "no images")
    return views
