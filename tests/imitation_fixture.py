"""Recorded flights that are told, or shown, to which side they turn."""

import numpy as np
import pandas as pd
import torch

from aquatint.features.cache import FeatureStore, build_cache
from aquatint.features.flights import frame_keys
from aquatint.training.imitation_samples import ImitationData

LEFT, RIGHT = 2, 3


def toy_data(root, num_flights=48, is_told=True):
    """Turn to the side that the first word names (or that the picture shows), then fly and stop."""
    rng = np.random.default_rng(0)
    flights, steps, instructions, pictures = [], [], [], []
    for number in range(num_flights):
        flight_id = f"train/house/{number:06d}"
        split = ("train", "train", "val", "test")[number % 4]
        side = number // 4 % 4 // 2
        actions = [LEFT + side, LEFT + side, 1, 1, 1, 0]
        flights.append((flight_id, split, "house", "success", 6, 6, "", "", f"{number:064d}"))
        poses = _poses(actions)
        for step, action in enumerate(actions):
            steps.append((flight_id, step, action, step / 5, *poses[step]))
            picture = rng.normal(0, 0.1, (4, 6))
            picture[:, 0] = step / 5
            picture[:, 1] = 0 if is_told else side
            pictures.append(picture)
        tokens = [3 + side, 6] if is_told else [6, 6]
        instructions.append((f"{flight_id}#0", flight_id, split, "text", tokens))
    records = pd.DataFrame(flights, columns=["flight_id", "split", "scene", "finish_status",
                                             "num_steps", "num_recorded", "rgb_path", "depth_path",
                                             "sha256"])  # fmt: skip
    keys = frame_keys(records)["key"].tolist()
    store = FeatureStore(str(root), 1.0)
    rgb = np.stack(pictures).astype(np.float32)
    depth = rng.random((len(keys), 9, 2)).astype(np.float32)
    caches = [
        build_cache(store, {"kind": kind, "is_told": is_told}, keys, lambda i, v=values: v[list(i)])
        for kind, values in (("rgb", rgb), ("depth", depth))
    ]
    vectors = rng.standard_normal((8, 5)).astype(np.float32)
    vectors[0] = 0
    columns = ["flight_id", "step", "action", "progress", "x_m", "y_m", "yaw_rad"]
    names = ["instruction_id", "flight_id", "split", "text", "tokens"]
    texts = pd.DataFrame(instructions, columns=names)
    return ImitationData(records, pd.DataFrame(steps, columns=columns), texts, *caches,
                         torch.from_numpy(vectors))


def _poses(actions):
    """Pose before each action, of steps of 2.5 m and turns of 15 degrees."""
    x, y, heading = 0.0, 0.0, 0.0
    poses = []
    for action in actions:
        poses.append((x, y, heading))
        if action == 1:
            x, y = x + 2.5 * np.cos(heading), y + 2.5 * np.sin(heading)
        elif action in (LEFT, RIGHT):
            heading += np.radians(15) * (1 if action == LEFT else -1)
    return poses
