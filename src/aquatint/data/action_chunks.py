"""Chunks of coming actions, with a mask where an episode ends."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aquatint.data.robot_rows import ACTION_NAMES


def chunk_actions(
    steps: pd.DataFrame, horizon: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the actions that follow each step.

    Args:
        steps: Table of steps in the order of episodes and steps.
        horizon: Actions of a chunk, the step's own included.

    Returns:
        Actions in physical units, zero where padded, shape (N, H, 7); and whether each is padding,
        shape (N, H): after the last action of an episode, or after a step that was dropped.
    """
    actions = steps[list(ACTION_NAMES)].to_numpy(np.float32)
    codes = pd.factorize(steps["episode_id"])[0]
    numbers = steps["step"].to_numpy()
    has_action = steps["has_action"].to_numpy(bool)
    num = len(steps)
    chunks = np.zeros((num, horizon, actions.shape[1]), np.float32)
    is_pad = np.ones((num, horizon), bool)
    is_open = np.ones(num, bool)
    for offset in range(horizon):
        places = np.arange(num) + offset
        inside = places < num
        places = np.minimum(places, num - 1)
        is_open &= (
            inside
            & (codes[places] == codes)
            & (numbers[places] == numbers + offset)
            & has_action[places]
        )
        chunks[is_open, offset] = actions[places[is_open]]
        is_pad[:, offset] = ~is_open
    return chunks, is_pad


def previous_actions(steps: pd.DataFrame) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the action before each step, and whether there is one.

    Args:
        steps: Table of steps in the order of episodes and steps.

    Returns:
        Actions in physical units, zero where there is none, shape (N, 7); shape (N,).
    """
    actions = steps[list(ACTION_NAMES)].to_numpy(np.float32)
    codes = pd.factorize(steps["episode_id"])[0]
    numbers = steps["step"].to_numpy()
    before = np.maximum(np.arange(len(steps)) - 1, 0)
    has_one = (
        (np.arange(len(steps)) > 0)
        & (codes[before] == codes)
        & (numbers[before] == numbers - 1)
        & steps["has_action"].to_numpy(bool)[before]
    )
    return np.where(has_one[:, None], actions[before], 0).astype(np.float32), has_one
