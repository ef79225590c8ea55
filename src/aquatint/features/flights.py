"""Frozen features of recorded frames: the backbone's tokens of pictures, a grid of distances."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from aquatint.data.frame_arrays import open_frames
from aquatint.features.cache import FeatureCache, FeatureStore, build_cache
from aquatint.features.frozen import Encoding
from aquatint.features.views import ViewEncoder
from aquatint.models.backbone import Backbone


def frame_keys(records: pd.DataFrame) -> pd.DataFrame:
    """Return one row for each kept frame: flight_id, step, key; in the order of the flights."""
    rows = [
        (flight_id, step, hashlib.sha256(f"{digest}:{step}".encode()).hexdigest())
        for flight_id, digest, count in zip(
            records["flight_id"], records["sha256"], records["num_steps"], strict=True
        )
        for step in range(count)
    ]
    return pd.DataFrame(rows, columns=["flight_id", "step", "key"])


def resized(pixels: np.ndarray, edge_px: int) -> np.ndarray:
    """Return pictures (B, H, W, 3) with an edge of ``edge_px``."""
    if pixels.shape[1:3] == (edge_px, edge_px):
        return pixels
    size = (edge_px, edge_px)
    return np.stack(
        [np.asarray(Image.fromarray(p).resize(size, Image.Resampling.BICUBIC)) for p in pixels]
    )


def depth_grid(depth_m: np.ndarray, grid: int, max_depth_m: float) -> np.ndarray:
    """Return nearest and mean distance in each field of a grid, as shares of the range.

    Args:
        depth_m: Depth in metres, 0 where nothing was measured, shape (B, H, W).
        grid: Fields along an edge; the image is cut to a multiple.
        max_depth_m: Range; what is farther, or not measured, counts as 1.

    Returns:
        Shape (B, grid * grid, 2), in [0, 1].
    """
    height, width = (size // grid * grid for size in depth_m.shape[1:])
    near = np.where(depth_m > 0, depth_m, max_depth_m)[:, :height, :width] / max_depth_m
    fields = near.clip(0, 1).reshape(len(near), grid, height // grid, grid, width // grid)
    values = np.stack([fields.min((2, 4)), fields.mean((2, 4))], -1)
    return values.reshape(len(near), grid * grid, 2).astype(np.float32)


def cache_pictures(
    store: FeatureStore,
    backbone: Backbone,
    root: Path,
    records: pd.DataFrame,
    edge_px: int,
    encoding: Encoding,
) -> FeatureCache:
    """Run the frozen vision tower once over every frame.

    Returns:
        Cache of image tokens in the language model's width, shape (N, D) each.
    """
    encoder = ViewEncoder(backbone, encoding)

    def compute(frames: np.ndarray) -> np.ndarray:
        parts = np.array_split(resized(frames, edge_px), -(-len(frames) // encoding.batch_size))
        return np.concatenate([encoder(part) for part in parts])

    recipe = {
        "kind": "frame_pictures",
        "backbone": backbone.digest,
        "compute_dtype": backbone.dtype,
        "edge_px": edge_px,
        "dtype": encoding.dtype,
    }
    return _cache(store, recipe, root, records, "rgb", compute)


def cache_depth(
    store: FeatureStore,
    root: Path,
    records: pd.DataFrame,
    grid: int,
    max_depth_m: float,
    units_per_m: float,
) -> FeatureCache:
    """Reduce every frame's depth to a grid, once; shape (grid * grid, 2) each."""
    recipe = {
        "kind": "frame_depth",
        "grid": grid,
        "max_depth_m": max_depth_m,
        "units_per_m": units_per_m,
    }
    return _cache(
        store, recipe, root, records, "depth",
        lambda frames: depth_grid(frames / units_per_m, grid, max_depth_m),
    )  # fmt: skip


def _cache(
    store: FeatureStore,
    recipe: dict[str, object],
    root: Path,
    records: pd.DataFrame,
    kind: str,
    compute: Callable[[np.ndarray], np.ndarray],
) -> FeatureCache:
    keys = frame_keys(records)
    path_of = dict(zip(records["flight_id"], records[f"{kind}_path"], strict=True))
    flights, steps = keys["flight_id"].to_numpy(), keys["step"].to_numpy()

    def read(positions: Sequence[int]) -> np.ndarray:
        # Frames of a flight lie together: each array is opened once.
        parts = []
        chosen = np.asarray(positions)
        starts = np.flatnonzero(np.r_[True, flights[chosen][1:] != flights[chosen][:-1]])
        for part in np.split(chosen, starts[1:]):
            frames = open_frames(root / path_of[flights[part[0]]], kind)
            parts.append(compute(np.asarray(frames[steps[part]])))
        return np.concatenate(parts)

    return build_cache(store, recipe, keys["key"].tolist(), read, description=f"{kind} features")
