"""Frozen features of NavDP's frames: tokens of pictures, depth as shares, small pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from PIL import Image

from aquatint.data.trajectories import read_depth
from aquatint.features.cache import FeatureCache, FeatureStore, build_cache
from aquatint.models.teacher_source import TeacherSource
from aquatint.models.teachers import Teacher, build_teacher


@dataclass(frozen=True)
class FrameSight:
    """How a frame becomes features.

    Attributes:
        token_grid: Tokens of a picture are averaged down to this grid, and one for the whole.
        depth_px: Edge of depth images.
        picture_px: Edge of the small pictures that goals are told in.
        min_depth_m: Nearer depth was not measured.
        max_depth_m: Nor was what is farther.
    """

    token_grid: int
    depth_px: int
    picture_px: int
    min_depth_m: float
    max_depth_m: float


class RgbEncoder:
    """A frozen encoder of pictures, loaded when it is first needed.

    Args:
        source: Where it is; the small encoder of the embedded world needs no weights.
        token_grid: Grid that its tokens are averaged down to.
        device: torch device.
    """

    def __init__(self, source: TeacherSource, token_grid: int, device: str) -> None:
        self._source, self._grid, self._device = source, token_grid, device
        self._teacher: Teacher | None = None

    @torch.inference_mode()
    def __call__(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """Encode pictures (H, W, 3) of uint8; returns float16 (B, 1 + grid * grid, E)."""
        if self._teacher is None:
            # The world's encoder of features looks up no truths, so that any root will do.
            self._teacher = build_teacher(self._source, "none", self._device)
        found = self._teacher.encode(pictures, [""] * len(pictures))["target"]
        tokens = torch.from_numpy(found.astype(np.float32))
        edge = round((tokens.shape[1] - 1) ** 0.5)
        cells = tokens[:, 1:].transpose(1, 2).unflatten(2, (edge, edge))
        pooled = F.adaptive_avg_pool2d(cells, self._grid).flatten(2).transpose(1, 2)
        return torch.cat([tokens[:, :1], pooled], 1).numpy().astype(np.float16)


def depth_shares(depth_m: np.ndarray, sight: FrameSight) -> np.ndarray:
    """Return depth as shares of its range, at the size that the policy sees.

    Args:
        depth_m: Metres, shape (H, W).
        sight: Range and size.

    Returns:
        0 where nothing was measured, else in (0, 1], float16, shape (S, S).
    """
    is_known = (depth_m >= sight.min_depth_m) & (depth_m <= sight.max_depth_m)
    shares = np.where(is_known, depth_m / sight.max_depth_m, 0).astype(np.float32)
    # Nearest, not averaged: a mean over an edge, or with what is unknown, lies where nothing is.
    size = (sight.depth_px, sight.depth_px)
    return np.asarray(Image.fromarray(shares).resize(size, Image.Resampling.NEAREST), np.float16)


def small_picture(picture: np.ndarray, sight: FrameSight) -> np.ndarray:
    """Return a picture (H, W, 3) of uint8 at the size in which goals are told."""
    size = (sight.picture_px, sight.picture_px)
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR))


def cache_rgb(  # noqa: PLR0913 - where, what, how, and by how many at once
    store: FeatureStore,
    source: TeacherSource,
    root: Path,
    frames: pd.DataFrame,
    sight: FrameSight,
    device: str,
    batch_size: int,
) -> FeatureCache:
    """Run the frozen encoder once over every picture, shape (1 + grid * grid, E) each."""
    encoder = RgbEncoder(source, sight.token_grid, device)

    def compute(paths: Sequence[str]) -> np.ndarray:
        parts = [paths[i : i + batch_size] for i in range(0, len(paths), batch_size)]
        return np.concatenate([encoder([read_picture(root / p) for p in part]) for part in parts])

    recipe = {"kind": "navdp_rgb", "encoder": source.recipe, "token_grid": sight.token_grid}
    return _cache(store, recipe, frames, "rgb", compute)


def cache_depth(
    store: FeatureStore, root: Path, frames: pd.DataFrame, sight: FrameSight, units_per_m: float
) -> FeatureCache:
    """Bring every depth image to range and size once, shape (S, S) each."""
    recipe = {
        "kind": "navdp_depth",
        "depth_px": sight.depth_px,
        "range_m": [sight.min_depth_m, sight.max_depth_m],
        "units_per_m": units_per_m,
    }
    return _cache(
        store, recipe, frames, "depth",
        lambda paths: np.stack(
            [depth_shares(read_depth(root / path, units_per_m), sight) for path in paths]
        ),
    )  # fmt: skip


def cache_pictures(
    store: FeatureStore, root: Path, frames: pd.DataFrame, sight: FrameSight
) -> FeatureCache:
    """Shrink every picture once, shape (P, P, 3) each."""
    recipe = {"kind": "navdp_pictures", "picture_px": sight.picture_px}
    return _cache(
        store, recipe, frames, "rgb",
        lambda paths: np.stack([small_picture(read_picture(root / path), sight) for path in paths]),
    )  # fmt: skip


def _cache(
    store: FeatureStore,
    recipe: dict[str, object],
    frames: pd.DataFrame,
    kind: str,
    compute: Callable[[Sequence[str]], np.ndarray],
) -> FeatureCache:
    keys, paths = (frames[f"{kind}_{name}"].tolist() for name in ("sha256", "path"))
    return build_cache(
        store, recipe, keys, lambda positions: compute([paths[i] for i in positions]),
        description=f"{recipe['kind']} features",
    )  # fmt: skip


def read_picture(path: Path) -> np.ndarray:
    """Decode a picture, uint8, shape (H, W, 3)."""
    with Image.open(path, formats=("JPEG", "PNG")) as image:
        return np.asarray(image.convert("RGB"))
