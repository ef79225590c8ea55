"""Frames of paths with a goal, the way to it, and what that way is worth, as tensors."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from aquatint.collective import Share
from aquatint.data.navdp_goals import MountedCamera, mark_goal, point_goal
from aquatint.data.navdp_labels import (
    CriticRule,
    ObstacleField,
    actions_of,
    critic_values,
    rotate_smoothly,
    waypoints_ahead,
)
from aquatint.data.trajectory_names import is_sampled
from aquatint.features.cache import FeatureCache
from aquatint.geometry.poses import to_local_frame, to_world_frame
from aquatint.models.navdp import NUM_MIXTURES

NUM_NOISES = 2  # without and with a goal
_CAMERA = ("focal_x_px", "focal_y_px", "center_x_px", "center_y_px", "width_px", "height_px",
           "pitch_down_rad")  # fmt: skip


@dataclass(frozen=True, eq=False)
class NavDpData:
    """All that training and evaluation read.

    Attributes:
        paths: Paths.
        frames: Their frames.
        obstacles: Obstacles of the scenes.
        rgb: Cached tokens of pictures.
        depth: Cached depth.
        pictures: Cached small pictures.
    """

    paths: pd.DataFrame
    frames: pd.DataFrame
    obstacles: pd.DataFrame
    rgb: FeatureCache
    depth: FeatureCache
    pictures: FeatureCache


@dataclass(frozen=True)
class LabelRule:
    """How a frame becomes a sample.

    Attributes:
        horizon: Waypoints of a trajectory.
        stride: Frames between two waypoints.
        memory_size: Pictures that are remembered, the current one included.
        memory_stride: Frames between two of them.
        action_scale: Factor on increments.
        max_step_m: Longest increment; with the horizon it gives the reach.
        end_goal_share: Share of samples whose goal is the end of the path; the others have one
            between.
        max_rotation_rad: Largest angle by which trajectories are turned for the critic.
        critic: What a trajectory is worth.
        num_timesteps: Timesteps of the diffusion.
    """

    horizon: int
    stride: int
    memory_size: int
    memory_stride: int
    action_scale: float
    max_step_m: float
    end_goal_share: float
    max_rotation_rad: float
    critic: CriticRule
    num_timesteps: int

    @property
    def reach_m(self) -> float:
        """Longest trajectory."""
        return self.horizon * self.max_step_m


@dataclass(frozen=True)
class Choice:
    """Which samples an epoch has.

    Attributes:
        split: Of which split.
        repeat_factor: How often each sample is in an epoch.
        percent: Share of the samples that is used, chosen by the sample's id.
        max_samples: At most so many, evenly over the split; 0 for all.
        seed: Of every draw.
    """

    split: str
    repeat_factor: int = 1
    percent: int = 100
    max_samples: int = 0
    seed: int = 0


@dataclass(frozen=True, eq=False)
class _Path:
    poses: np.ndarray
    camera: MountedCamera
    field: ObstacleField
    is_colliding: np.ndarray
    rgb: np.ndarray
    depth: np.ndarray
    pictures: np.ndarray


class NavDpSamples:
    """Frames of a split.

    Every draw (goal, mixture, rotation, noise) is a function of seed, epoch and sample alone, so
    that it depends on no batch, worker or resume.

    Args:
        data: Tables and caches.
        rule: How a frame becomes a sample.
        choice: Which frames.
    """

    def __init__(self, data: NavDpData, rule: LabelRule, choice: Choice) -> None:
        self._rule, self._choice, self.epoch = rule, choice, 0
        self._readers = {name: getattr(data, name).open() for name in ("rgb", "depth", "pictures")}
        first = self._readers["pictures"].places(data.frames["rgb_sha256"].tolist()[:1])
        self._picture_px = self._readers["pictures"].read(first).shape[1]
        self._paths = dict(self._open_paths(data, choice.split))
        ids = [
            (path_id, frame)
            for path_id, path in self._paths.items()
            for frame in range(len(path.poses))
            if is_sampled(f"{path_id}@{frame}", choice.percent, choice.seed)
        ]
        if choice.max_samples and len(ids) > choice.max_samples:
            kept = np.linspace(0, len(ids) - 1, choice.max_samples).round().astype(int)
            ids = [ids[place] for place in kept]
        self.ids = ids

    def _open_paths(self, data: NavDpData, split: str) -> list[tuple[str, _Path]]:
        fields = {
            str(scene): ObstacleField(rows[["x_m", "y_m"]].to_numpy())
            for scene, rows in data.obstacles.groupby("scene_id", sort=False)
        }
        frames = {str(key): rows for key, rows in data.frames.groupby("path_id", sort=False)}
        opened = []
        for row in data.paths[data.paths["split"] == split].to_dict(orient="records"):
            own = frames[str(row["path_id"])].sort_values("frame")
            poses = own[["x_m", "y_m", "heading_rad"]].to_numpy()
            field = fields.get(str(row["scene_id"]), ObstacleField(np.zeros((0, 2))))
            near = field.distances_m(poses[:, :2]) < self._rule.critic.collision_distance_m
            camera = {name: row[name] for name in _CAMERA}
            opened.append(
                (
                    str(row["path_id"]),
                    _Path(
                        poses,
                        MountedCamera(**camera, height_m=row["camera_height_m"]),
                        field,
                        near,
                        self._readers["rgb"].places(own["rgb_sha256"].tolist()),
                        self._readers["depth"].places(own["depth_sha256"].tolist()),
                        self._readers["pictures"].places(own["rgb_sha256"].tolist()),
                    ),
                )
            )
        return opened

    def __len__(self) -> int:
        """Number of samples of an epoch."""
        return len(self.ids) * self._choice.repeat_factor

    def identify(self, positions: Tensor) -> list[str]:
        """Return path and frame of each sample."""
        chosen = (self.ids[int(i) % len(self.ids)] for i in positions)
        return [f"{path_id}@{frame}" for path_id, frame in chosen]

    def truth(self, position: int) -> dict[str, Any]:
        """Path, frame, pose, field and label of one sample, as numpy arrays."""
        path_id, frame = self.ids[position % len(self.ids)]
        path, drawn = self._paths[path_id], self._draw(position)
        return {
            "path_id": path_id,
            "frame": frame,
            "pose": path.poses[frame],
            "field": path.field,
            "goal": to_local_frame(path.poses[[drawn["end"]]], path.poses[frame])[0],
            "label": self._label(path, frame, drawn["end"]),
            "is_colliding": bool(path.is_colliding.any()),
        }

    def _label(self, path: _Path, frame: int, end: int) -> np.ndarray:
        return waypoints_ahead(path.poses, frame, end, self._rule.horizon, self._rule.stride)

    def _draw(self, position: int) -> dict[str, Any]:
        path_id, frame = self.ids[position % len(self.ids)]
        rule = self._rule
        rng = np.random.default_rng([self._choice.seed, self.epoch, position, 96])
        last = len(self._paths[path_id].poses) - 1
        between = int(rng.integers(frame, last + 1))
        shape = (NUM_NOISES, rule.horizon, 3)
        return {
            "end": last if rng.random() < rule.end_goal_share else between,
            "mixture": (position + self.epoch) % NUM_MIXTURES,
            "rotation": rng.uniform(-rule.max_rotation_rad, rule.max_rotation_rad),
            "timesteps": rng.integers(0, rule.num_timesteps, NUM_NOISES),
            "noise": rng.standard_normal(shape, np.float32),
        }

    def batch(self, positions: Tensor, share: Share | None = None) -> dict[str, Any]:
        """Return samples as tensors.

        Args:
            positions: Of a batch, shape (B,).
            share: Which rows of it are wanted; all by default.

        Returns:
            ``rgb`` (B, M, N, E), ``depth`` (B, S, S), ``picture`` and ``goal_picture``
            (B, P, P, 3), ``goal_mark`` (B, P, P), ``point`` (B, 3), ``mixture`` (B,), ``actions``
            and ``rotated`` (B, H, 3), ``value`` and ``rotated_value`` (B,), ``imitates`` (B,),
            ``noise`` (B, 2, H, 3), ``timesteps`` (B, 2); and ``num_counted``, the rows that count.
        """
        if share is not None:
            positions = positions[share.rows]
        rows = [self._sample(int(position)) for position in positions]
        tensors = {
            name: torch.from_numpy(np.stack([row[name] for row in rows])) for name in rows[0]
        }
        places = tensors.pop("rgb_places").numpy()
        rgb = self._readers["rgb"].read(places.reshape(-1, 2)).astype(np.float32)
        found = {
            "rgb": torch.from_numpy(rgb).unflatten(0, places.shape[:2]),
            "depth": torch.from_numpy(
                self._readers["depth"].read(tensors.pop("depth_place").numpy()).astype(np.float32)
            ),
        }
        for name in ("picture", "goal_picture"):
            pixels = self._readers["pictures"].read(tensors.pop(f"{name}_place").numpy())
            found[name] = torch.from_numpy(pixels)
        count = len(positions) if share is None or share.is_counted else 0
        return {**found, **tensors, "num_counted": count}

    def _sample(self, position: int) -> dict[str, Any]:
        rule = self._rule
        path_id, frame = self.ids[position % len(self.ids)]
        path, drawn = self._paths[path_id], self._draw(position)
        end, pose = drawn["end"], path.poses[frame]
        label = self._label(path, frame, end)
        rotated = rotate_smoothly(label, drawn["rotation"])
        goal = to_local_frame(path.poses[[end]], pose)[0]
        world = np.stack([to_world_frame(way, pose)[:, :2] for way in (label, rotated)])
        values = critic_values(path.field.distances_m(world), rule.critic) / rule.critic.scale
        memory = np.maximum(frame - rule.memory_stride * np.arange(rule.memory_size)[::-1], 0)
        return {
            "rgb_places": path.rgb[memory],
            "depth_place": path.depth[frame],
            "picture_place": path.pictures[frame],
            "goal_picture_place": path.pictures[end],
            "goal_mark": mark_goal(path.camera, goal, self._picture_px),
            "point": point_goal(goal, rule.reach_m),
            "mixture": np.int64(drawn["mixture"]),
            "actions": actions_of(label, rule.action_scale).clip(-1, 1).astype(np.float32),
            "rotated": actions_of(rotated, rule.action_scale).astype(np.float32),
            "value": np.float32(values[0]),
            "rotated_value": np.float32(values[1]),
            "imitates": np.float32(not path.is_colliding.any()),
            "noise": drawn["noise"],
            "timesteps": drawn["timesteps"],
        }


def label_recipe(rule: LabelRule) -> dict[str, Any]:
    """A rule as plain JSON values, for fingerprints and specifications."""
    return asdict(rule)
