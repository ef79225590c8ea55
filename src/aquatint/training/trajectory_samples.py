"""Samples of a System 1: remembered dialogues, pictures on the way to a goal, and the way."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from aquatint.collective import Share
from aquatint.data.trajectories import poses_of, read_depth
from aquatint.data.trajectory_targets import TargetRule, encode_trajectory, target_frames
from aquatint.features.cache import FeatureCache
from aquatint.geometry.poses import planar_poses
from aquatint.models.backbone import Backbone
from aquatint.models.dual_system import Memory
from aquatint.training.dual_memory import memory_shape, unpack_memory
from aquatint.training.navigation_dialogues import read_frame
from aquatint.training.navigation_samples import NavigationData

_NUM_VALUES = 3
_PICTURE_BYTES = 2**29  # of pictures that are kept from one epoch to the next
_OF_FRAMES = 1  # tells draws of frames from those of noise


@dataclass(frozen=True)
class PictureStyle:
    """How System 1 sees look-down images.

    Attributes:
        edge_px: Edge of its pictures.
        max_depth_m: Range of depth.
        depth_units_per_m: Numbers of a depth image for one metre.
    """

    edge_px: int
    max_depth_m: float
    depth_units_per_m: float


def as_picture(image: Image.Image, depth_m: NDArray[Any], style: PictureStyle) -> NDArray[Any]:
    """Return a picture with its depth: RGB in [-1, 1], depth as a share of its range, (4, S, S)."""
    size = (style.edge_px, style.edge_px)
    rgb = np.asarray(image.resize(size, Image.Resampling.BILINEAR), np.float32) / 127.5 - 1
    share = (depth_m / style.max_depth_m).clip(0, 1).astype(np.float32)
    # The nearest one, because between two surfaces there is no third one.
    depth = np.asarray(Image.fromarray(share).resize(size, Image.Resampling.NEAREST))
    return np.concatenate([rgb.transpose(2, 0, 1), depth[None]])


@dataclass(frozen=True)
class TrajectoryData:
    """What a System 1 is trained and judged on.

    Attributes:
        samples: Pixel samples with frames and their poses.
        memories: Cache of ``cache_memories``.
        keys: Key of each sample's dialogue in it: ``sample_id`` and ``key``.
        memory_shape: Shape of one dialogue there.
        rule: How ways become trajectories.
        pictures: How look-down images are seen.
    """

    samples: NavigationData
    memories: FeatureCache
    keys: pd.DataFrame
    memory_shape: tuple[int, ...]
    rule: TargetRule
    pictures: PictureStyle


def bundle(  # noqa: PLR0913 - one argument for each thing that is put together
    root: str,
    frames: pd.DataFrame,
    samples: pd.DataFrame,
    memories: FeatureCache,
    keys: pd.DataFrame,
    backbone: Backbone,
    rule: TargetRule,
    pictures: PictureStyle,
) -> TrajectoryData:
    """Put tables, caches and rules together.

    Args:
        root: Folder that paths of frames are relative to.
        frames: Frames with their poses.
        samples: Pixel samples of all splits.
        memories: Cache of ``cache_memories``.
        keys: Its table of keys.
        backbone: What System 2 was trained from.
        rule: How ways become trajectories.
        pictures: How look-down images are seen.
    """
    shape = memory_shape(backbone.load_config().text_config, memories.recipe["max_tokens"])
    return TrajectoryData(
        NavigationData(root, frames, samples), memories, keys, shape, rule, pictures
    )


class Ways:
    """The recorded ways of pixel samples to their goals.

    Args:
        data: Frames with their poses, and samples.
        split: Which.
        rule: How ways become trajectories.
        on_the_way: Whether ways from later frames are learned too; without, only the goal's own.
        most: Most samples: every n-th; None for all.
    """

    def __init__(
        self,
        data: NavigationData,
        split: str,
        rule: TargetRule,
        on_the_way: bool,
        most: int | None = None,
    ) -> None:
        chosen = data.of_split(split, "pixel")
        rows: list[dict[str, Any]] = (chosen.thinned(most) if most else chosen).samples.to_dict(
            orient="records"
        )  # type: ignore[assignment]
        self.rows, self.rule, self._on_the_way = rows, rule, on_the_way
        flights = {row["flight_id"] for row in rows}
        tables = data.frames[data.frames["flight_id"].isin(flights)]
        ordered = tables.sort_values(["flight_id", "frame"])
        self.paths: dict[str, NDArray[Any]] = {}
        self._places: dict[str, NDArray[Any]] = {}
        for flight, table in ordered.groupby("flight_id", sort=False):
            self.paths[str(flight)] = table[["look_down_path", "depth_path"]].to_numpy()
            self._places[str(flight)] = planar_poses(poses_of(table))
        # The same in every epoch; a spline takes longer than a batch of them to learn from.
        self.actions_of = functools.cache(self._encode)

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.rows)

    def frames_of(self, position: int) -> list[int]:
        """Frames from which a sample's way may be learned."""
        row = self.rows[position]
        first = int(row["frame"])
        offsets = target_frames(int(row["goal_offset"]), self.rule) if self._on_the_way else [0]
        return [first + offset for offset in offsets]

    def _encode(self, position: int, frame: int) -> NDArray[np.float64]:
        """The way from a frame to a sample's goal, shape (H, 3)."""
        row = self.rows[position]
        end = int(row["frame"]) + int(row["goal_offset"])
        return encode_trajectory(self._places[row["flight_id"]][frame : end + 1], self.rule)

    def line_of(self, position: int, frame: int) -> NDArray[np.float64]:
        """The straight line from a frame to the place that a sample's pixel shows, shape (H, 3)."""
        row = self.rows[position]
        ends = [frame, int(row["frame"]) + int(row["goal_offset"])]
        return encode_trajectory(self._places[row["flight_id"]][ends], self.rule)


class TrajectorySamples:
    """Pixel samples, each with one trajectory for some frames on the way to its goal.

    Args:
        data: Tables, caches, rules.
        split: Which.
        sees_pictures: Whether pictures are read; without, only the goal's own frame is learned.
        num_timesteps: Timesteps of the process, drawn from 0.
        seed: Of noise, timesteps and frames.
        most: Most samples: every n-th; None for all.
        num_frames: Frames that a batch shows of each sample: the goal's own, and others drawn anew
            in every epoch; None for all.
    """

    def __init__(  # noqa: PLR0913 - one argument for each thing that decides a batch
        self,
        data: TrajectoryData,
        split: str,
        sees_pictures: bool,
        num_timesteps: int,
        seed: int,
        most: int | None = None,
        num_frames: int | None = None,
    ) -> None:
        self.ways = Ways(data.samples, split, data.rule, sees_pictures, most)
        self.rows, self.rule = self.ways.rows, data.rule
        self._data, self._sees_pictures = data, sees_pictures
        self._num_timesteps, self._num_frames = num_timesteps, num_frames
        self._seed, self._epoch = seed, 0
        self._reader = data.memories.open()
        keys = dict(zip(data.keys["sample_id"], data.keys["key"], strict=True))
        self._memory_places = self._reader.places([keys[r["sample_id"]] for r in self.rows])
        self._root = Path(data.samples.root)
        held = max(1, _PICTURE_BYTES // (16 * data.pictures.edge_px**2))
        self._picture = functools.lru_cache(maxsize=held)(self._read_picture)

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.rows)

    def begin_epoch(self, epoch: int) -> None:
        """Draw other noise, and other frames, in every epoch."""
        self._epoch = epoch

    def frames_of(self, position: int) -> list[int]:
        """Frames from which a sample's way is learned in this epoch."""
        frames, shown = self.ways.frames_of(position), self._num_frames
        if shown is None or len(frames) <= shown:
            return frames
        rng = np.random.default_rng([self._seed, self._epoch, position, _OF_FRAMES])
        later = 1 + rng.choice(len(frames) - 1, shown - 1, replace=False)
        return [frames[0], *(frames[i] for i in sorted(later.tolist()))]

    def batch(self, positions: Tensor, share: Share | None = None) -> dict[str, Any]:
        """Return dialogues, pictures, ways and noise, padded to the most frames.

        On several ranks each takes its ``share``; ``is_counted`` is the share's.

        Returns:
            Fields of ``Memory``; ``pictures`` (B, F, 2, 4, S, S) where they are seen; ``actions``
            and ``noise`` (B, F, H, 3); ``timesteps`` and ``is_target`` (B, F).
        """
        chosen = positions.tolist()
        if share:
            chosen = chosen[share.rows]
        frames = [self.frames_of(i) for i in chosen]
        most = max(map(len, frames))
        horizon = self.rule.num_points
        actions = np.zeros((len(chosen), most, horizon, _NUM_VALUES), np.float32)
        noise = np.zeros_like(actions)
        timesteps = np.zeros((len(chosen), most), np.int64)
        is_target = np.zeros((len(chosen), most), bool)
        for number, (i, of_sample) in enumerate(zip(chosen, frames, strict=True)):
            # By sample, so that neither batches nor accumulation decide what is drawn.
            rng = np.random.default_rng([self._seed, self._epoch, i])
            for place, frame in enumerate(of_sample):
                actions[number, place] = self.ways.actions_of(i, frame)
                noise[number, place] = rng.standard_normal((horizon, _NUM_VALUES))
                timesteps[number, place] = rng.integers(self._num_timesteps)
                is_target[number, place] = True
        batch: dict[str, Any] = {
            **self.memory(chosen)._asdict(),
            "actions": torch.from_numpy(actions),
            "noise": torch.from_numpy(noise),
            "timesteps": torch.from_numpy(timesteps),
            "is_target": torch.from_numpy(is_target),
            "is_counted": share is None or share.is_counted,
        }
        if self._sees_pictures:
            batch["pictures"] = torch.from_numpy(self._pairs(chosen, frames, most))
        return batch

    def memory(self, chosen: list[int]) -> Memory:
        """Remembered dialogues of samples."""
        stored = self._reader.read(self._memory_places[chosen])
        return unpack_memory(stored, self._data.memory_shape)

    def _pairs(self, chosen: list[int], frames: list[list[int]], most: int) -> NDArray[Any]:
        edge = self._data.pictures.edge_px
        pairs = np.zeros((len(chosen), most, 2, 4, edge, edge), np.float32)
        for number, (i, of_sample) in enumerate(zip(chosen, frames, strict=True)):
            row = self.rows[i]
            goal = self._picture(row["flight_id"], int(row["frame"]))
            for place, frame in enumerate(of_sample):
                pairs[number, place, 0] = goal
                pairs[number, place, 1] = self._picture(row["flight_id"], frame)
        return pairs

    def _read_picture(self, flight: str, frame: int) -> NDArray[Any]:
        style = self._data.pictures
        picture, depth = self.ways.paths[flight][frame]
        depth_m = read_depth(self._root / depth, style.depth_units_per_m)
        return as_picture(read_frame(self._root / picture), depth_m, style)

    def identify(self, positions: Tensor) -> list[str]:
        """Return the ids of the samples."""
        return [self.rows[i]["sample_id"] for i in positions.tolist()]
