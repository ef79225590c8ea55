"""How long an exported policy takes for one decision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from aquatint.data.frame_refs import load_frame
from aquatint.data.robot_rows import SENSOR_WIDTH, STATE_NAMES
from aquatint.params import RunParams
from aquatint.training.vla_actor import Observation, measure_latency
from aquatint.training.vla_export import load_policy


def measure_export(
    folder: Path, root: Path, steps: pd.DataFrame, run: RunParams, repeats: int
) -> dict[str, Any]:
    """Act once on a recorded step through ``select_action``, then time decisions.

    Args:
        folder: Exported policy.
        root: Folder of the recordings.
        steps: Table of steps.
        run: Device.
        repeats: How often a decision is timed.

    Returns:
        The action by name of its dimension, the step it was chosen for, and times in ms.
    """
    runner = load_policy(folder, run)
    spec = runner.actor.spec
    row = steps[(steps["split"] == "test") & steps["has_state"]].iloc[0]
    names = list(spec["frames"]["views"]) or list(row["views"])
    refs = dict(zip(row["views"], row["image_refs"], strict=True))
    views = [load_frame(root, refs[name]) for name in names]
    state = row[list(STATE_NAMES)].to_numpy(np.float64)
    sensor = np.zeros((int(spec["rules"]["window"]), SENSOR_WIDTH), np.float32)
    # Without the sensor, which this table does not hold; zeros would be none it ever gave.
    action = runner.select_action(views, row["instruction"], state, None)
    window = int(spec["rules"]["state_window"])
    seen = Observation(
        [views],
        [row["instruction"]],
        np.repeat(state[None, None], window, axis=1),
        [sensor],
        np.full((1, 7), np.nan),
    )
    return {
        "step": f"{row['episode_id']}@{row['step']}",
        "action": dict(zip(spec["normaliser"]["action"]["names"], action.tolist(), strict=True)),
        "decision": measure_latency(runner.actor, seen, repeats),
        "num_executed_actions": runner.num_executed_actions,
        "num_threads": run.num_threads,
    }
