"""Scales of a robot's actions, states and sensor, from the train split alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from aquatint.data.normaliser import ScaleMode, encode_angles, fit_scale, fit_sensor_scale
from aquatint.data.robot_rows import ACTION_NAMES, JOINT_NAMES, POSE_NAMES, STATE_NAMES
from aquatint.features.cache import FeatureCache
from aquatint.features.robot_frames import window_key

_ANGLES = POSE_NAMES[3:]
ENCODED_STATE = (*JOINT_NAMES, *POSE_NAMES[:3], *(f"sin_{n}" for n in _ANGLES),
                 *(f"cos_{n}" for n in _ANGLES))  # fmt: skip


def fit_scales(
    steps: pd.DataFrame,
    windows: FeatureCache,
    action_mode: ScaleMode,
    num_windows: int,
    seed: int,
) -> dict[str, Any]:
    """Fit all scales.

    Args:
        steps: Table of steps; those of other splits are not looked at.
        windows: Cached sensor windows.
        action_mode: How actions are scaled; a diffusion needs ``min_max``.
        num_windows: Windows that the sensor's scale is fitted on.
        seed: Decides which.

    Returns:
        ``action``, ``state`` and ``sensor``, JSON-ready; ``sensor`` is that of silence where no
        train episode has one.

    Raises:
        ValueError: If no train step has a state and an action.
    """
    train = steps[(steps["split"] == "train") & steps["has_state"]]
    moved = train[train["has_action"]]
    if moved.empty:
        raise ValueError("The normaliser needs train steps with a state and an action, got 0.")
    states = encode_angles(train[list(STATE_NAMES)].to_numpy(np.float64))
    heard = train[train["has_sensor"]]
    return {
        "action": fit_scale(moved[list(ACTION_NAMES)].to_numpy(), action_mode, ACTION_NAMES),
        "state": fit_scale(states, "z_score", ENCODED_STATE),
        "sensor": _sensor_scale(heard, windows, num_windows, seed),
        "fitted_on": {"split": "train", "episodes": int(train["episode_id"].nunique())},
    }


def _sensor_scale(
    heard: pd.DataFrame, windows: FeatureCache, num_windows: int, seed: int
) -> dict[str, Any]:
    if heard.empty:
        still = {"mean": 0.0, "std": 1.0}
        return {"transform": "log1p", "force": still, "a_scan": still, "n": 0}
    rng = np.random.default_rng([seed, 51])
    rows = heard.iloc[np.sort(rng.permutation(len(heard))[:num_windows])]
    columns = (rows["sensor_sha256"], rows["sensor_start"], rows["sensor_stop"])
    keys = [window_key(*span) for span in zip(*columns, strict=True)]
    reader = windows.open()
    return fit_sensor_scale(reader.read(reader.places(keys)))
