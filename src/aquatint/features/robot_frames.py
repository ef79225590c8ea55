"""Frozen features of a robot's recordings: pictures, pictures with instructions, sensor windows."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image

from aquatint.data.frame_refs import load_frame
from aquatint.data.sensor_files import read_sensor_rows
from aquatint.data.sensor_windows import cut_window
from aquatint.features.cache import FeatureCache, FeatureStore, build_cache
from aquatint.features.frozen import Encoding
from aquatint.features.stored import from_stored, to_stored
from aquatint.features.views import ViewEncoder
from aquatint.models.backbone import Backbone
from aquatint.models.vl_reader import prompt_encoder, read_tokens, view_grid


@dataclass(frozen=True)
class FrameStyle:
    """What a policy sees, and how much of it is kept.

    Attributes:
        views: Names of the views in order; the first ones of an episode if empty.
        height_px: Height that every picture is resized to.
        width_px: Width that every picture is resized to.
        memory_grid: Rows and columns of the tokens that are kept of a view.
        max_text_tokens: Most tokens of an instruction, and one more.
    """

    views: tuple[str, ...]
    height_px: int
    width_px: int
    memory_grid: tuple[int, int]
    max_text_tokens: int


def resize_frame(pixels: np.ndarray, style: FrameStyle) -> np.ndarray:
    """Return a picture in the style's size, uint8 (H, W, 3)."""
    if pixels.shape[:2] == (style.height_px, style.width_px):
        return pixels
    size = (style.width_px, style.height_px)
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))


def chosen_views(steps: pd.DataFrame, style: FrameStyle) -> tuple[list[list[str]], list[list[str]]]:
    """References and digests of the style's views at every step.

    Raises:
        ValueError: If a step lacks one of the views.
    """
    refs, digests = [], []
    columns = (steps["views"], steps["image_refs"], steps["image_digests"])
    for number, (views, names, found) in enumerate(zip(*columns, strict=True)):
        views = list(views)
        wanted = style.views or tuple(views)
        missing = [name for name in wanted if name not in views]
        if missing:
            row = steps.iloc[number]
            raise ValueError(
                f"features.frames.views must be in every episode; {row['episode_id']} lacks "
                f"{', '.join(missing)} and has {', '.join(views)}."
            )
        places = [views.index(name) for name in wanted]
        refs.append([names[i] for i in places])
        digests.append([found[i] for i in places])
    return refs, digests


def num_positions(steps: pd.DataFrame, style: FrameStyle) -> tuple[int, int]:
    """Most vision-language tokens of a step, and how many of them lie in its views."""
    views = style.views or tuple(steps.loc[steps["has_state"], "views"].iloc[0])
    num_image = len(views) * math.prod(style.memory_grid)
    return num_image + style.max_text_tokens, num_image


def prompt_key(digests: Sequence[str], instruction: str) -> str:
    """Content key of pictures with an instruction."""
    return hashlib.sha256(json.dumps([list(digests), instruction]).encode()).hexdigest()


def window_key(sha256: str, start: int, stop: int) -> str:
    """Content key of a sensor window."""
    return hashlib.sha256(f"{sha256} {start} {stop}".encode()).hexdigest()


def cache_frames(
    store: FeatureStore,
    backbone: Backbone,
    steps: pd.DataFrame,
    root: str,
    style: FrameStyle,
    encoding: Encoding,
) -> FeatureCache:
    """Run the frozen vision tower once over every picture.

    Args:
        store: Where caches lie.
        backbone: Frozen Qwen2-VL or Qwen2.5-VL.
        steps: Table of steps.
        root: Folder that references are relative to.
        style: Which views, which size.
        encoding: Batch size, stored type, device.

    Returns:
        Cache of features in the language model's width, shape (N, D) each, by picture digest.
    """
    view_grid(backbone, style.height_px, style.width_px)
    # A recording without states is never acted on.
    refs, digests = chosen_views(steps[steps["has_state"]], style)
    place = {
        digest: ref
        for of_row, keys in zip(refs, digests, strict=True)
        for ref, digest in zip(of_row, keys, strict=True)
    }
    keys = list(place)
    encoder = ViewEncoder(backbone, encoding)

    def compute(positions: Sequence[int]) -> np.ndarray:
        parts = []
        for start in range(0, len(positions), encoding.batch_size):
            chosen = positions[start : start + encoding.batch_size]
            pictures = [resize_frame(load_frame(Path(root), place[keys[i]]), style) for i in chosen]
            parts.append(encoder(np.stack(pictures)))
        return np.concatenate(parts)

    recipe = {
        "kind": "robot_frames",
        "backbone": backbone.digest,
        "compute_dtype": backbone.dtype,
        "size_px": [style.height_px, style.width_px],
        "dtype": encoding.dtype,
        "resize": "pil-bicubic",
    }
    return build_cache(store, recipe, keys, compute, description="frame features")


def cache_prompts(
    store: FeatureStore,
    backbone: Backbone,
    steps: pd.DataFrame,
    frames: FeatureCache,
    style: FrameStyle,
    encoding: Encoding,
) -> FeatureCache:
    """Run the frozen language model once over every picture with its instruction.

    Args:
        store: Where caches lie.
        backbone: Frozen Qwen2-VL or Qwen2.5-VL.
        steps: Table of steps.
        frames: What ``cache_frames`` returned.
        style: Which views, how many tokens are kept.
        encoding: Batch size, stored type, device.

    Returns:
        Cache of hidden states, image tokens first, shape (M, D) each, zeros behind a short text.

    Raises:
        ValueError: If an instruction is longer than ``max_text_tokens``.
    """
    steps = steps[steps["has_state"]]
    _, digests = chosen_views(steps, style)
    prompts = dict.fromkeys(
        (tuple(of_row), text) for of_row, text in zip(digests, steps["instruction"], strict=True)
    )
    pairs = list(prompts)
    num_views = len(pairs[0][0])
    grid = view_grid(backbone, style.height_px, style.width_px)
    encoder = prompt_encoder(backbone, num_views, grid)
    for text in {text for _, text in pairs}:
        if encoder.num_text_tokens(text) > style.max_text_tokens:
            raise ValueError(
                f"features.frames.max_text_tokens {style.max_text_tokens} is below the "
                f"{encoder.num_text_tokens(text)} tokens of {text!r}."
            )
    reader = frames.open()
    num_image = num_views * style.memory_grid[0] * style.memory_grid[1]
    model: Any = None

    @torch.inference_mode()
    def compute(positions: Sequence[int]) -> np.ndarray:
        nonlocal model
        model = model or backbone.load(encoding.device)
        parts = []
        for start in range(0, len(positions), encoding.batch_size):
            chosen = [pairs[i] for i in positions[start : start + encoding.batch_size]]
            keys = [digest for of_row, _ in chosen for digest in of_row]
            stored = from_stored(reader.read(reader.places(keys)), frames.recipe["dtype"])
            features = stored.reshape(len(chosen), num_views, *stored.shape[1:])
            batch = {
                name: tensor.to(encoding.device)
                for name, tensor in encoder.batch([text for _, text in chosen]).items()
            }
            tokens, _ = read_tokens(
                model, batch, features.to(encoding.device), grid, style.memory_grid
            )
            padded = torch.zeros(len(chosen), num_image + style.max_text_tokens, tokens.shape[-1])
            padded[:, : tokens.shape[1]] = tokens.float().cpu()
            parts.append(to_stored(padded, encoding.dtype))
        return np.concatenate(parts)

    recipe = {
        "kind": "robot_prompts",
        "backbone": backbone.digest,
        "frames": frames.recipe,
        "memory_grid": list(style.memory_grid),
        "max_text_tokens": style.max_text_tokens,
        "text": "instruction and last token",
        "dtype": encoding.dtype,
    }
    cache_keys = [prompt_key(of_row, text) for of_row, text in pairs]
    return build_cache(store, recipe, cache_keys, compute, description="vision-language features")


def cache_windows(
    store: FeatureStore, steps: pd.DataFrame, root: Path, window: int, sensor_hz: float
) -> FeatureCache:
    """Cut every sensor window once: decoding a file for each sample would cost far more.

    Args:
        store: Where caches lie.
        steps: Table of steps.
        root: Folder that sensor files are relative to.
        window: Rows of a window.
        sensor_hz: Rows a second.

    Returns:
        Cache of windows, the echo as log(1 + x), shape (window, 1026) each, float16.
    """
    rows = steps[steps["has_sensor"]]
    spans = list(
        zip(
            rows["sensor_file"], rows["sensor_sha256"], rows["sensor_start"], rows["sensor_stop"],
            strict=True,
        )
    )  # fmt: skip

    def compute(positions: Sequence[int]) -> np.ndarray:
        return np.stack(
            [
                cut_window(read_sensor_rows(root / file, sensor_hz), start, stop, window).astype(
                    np.float16
                )
                for file, _, start, stop in (spans[i] for i in positions)
            ]
        )

    recipe = {"kind": "sensor_windows", "window": window, "transform": "log1p", "dtype": "float16"}
    keys = [window_key(digest, start, stop) for _, digest, start, stop in spans]
    return build_cache(store, recipe, keys, compute, description="sensor windows", shard_size=1024)
