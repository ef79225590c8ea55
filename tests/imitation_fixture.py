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
    return ImitationData(
        records, pd.DataFrame(steps, columns=columns), texts, *caches, torch.from_numpy(vectors)
    )


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


class Corridor:
    """A straight way of ten metres; agents that turn go nowhere."""

    episode_ids = ["a", "b"]

    def reset(self, episode_ids, wording=0, *, is_misled=False):
        self.told = [1 - i if is_misled else i for i in range(2)]
        self.wording = wording
        self.at, self.stopped = [[0.0], [0.0]], [False, False]

    def tokens(self):
        return [[1 + told] for told in self.told]

    def poses(self, agents):
        return np.array([(self.at[i][-1], 0.0, 0.0) for i in agents])

    def observe(self, agents):
        pixels = np.full((len(agents), 48, 48, 3), 120, np.uint8)
        return pixels, np.full((len(agents), 9, 9), 5.0)

    def word_vectors(self):
        return self.vectors

    def expert_actions(self, agents):
        return np.array([0 if self.at[i][-1] >= 10 else 1 for i in agents])

    def step(self, agents, actions):
        for i, action in zip(agents, actions, strict=True):
            if action == 0:
                self.stopped[i] = True
            elif action == 1:
                self.at[i].append(self.at[i][-1] + 2.5)

    def results(self):
        line = np.column_stack([np.arange(0, 12.5, 2.5), np.zeros(5)])
        return [
            {"episode_id": name, "scene": name, "instruction": "go",
             "path": np.column_stack([self.at[i], np.zeros(len(self.at[i]))]),
             "reference": line, "goal": line[-1], "geodesic_m": 10.0,
             "has_stopped": self.stopped[i],
             "num_collisions": 0, "wording": self.wording or 0}
            for i, name in enumerate(self.episode_ids)
        ]  # fmt: skip
