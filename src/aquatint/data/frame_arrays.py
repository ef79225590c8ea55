"""Arrays of frames, one file for each flight: pictures or depths, mapped into memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from aquatint.data.rejects import RuleViolation

RULE_ARRAY = "must be an array of numbers, complete and not pickled"
RULE_FRAMES = "must have one frame for each step"


def open_frames(path: Path, kind: str) -> np.ndarray:
    """Map an array of frames into memory; depth without a last dimension of one.

    Raises:
        RuleViolation: If it is no complete array of pictures (T, H, W, 3) of uint8, or of depths
            (T, H, W) or (T, H, W, 1) of numbers.
    """
    try:
        frames = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise RuleViolation(RULE_ARRAY, f"{kind}/{path.name}: {error}") from error
    if kind == "depth" and frames.ndim == 4 and frames.shape[-1] == 1:
        frames = frames[..., 0]
    is_rgb = frames.ndim == 4 and frames.shape[-1] == 3 and frames.dtype == np.uint8
    is_depth = frames.ndim == 3 and frames.dtype.kind in "fu"
    if not (is_rgb if kind == "rgb" else is_depth):
        raise RuleViolation(RULE_ARRAY, f"{kind}/{path.name}: {frames.shape} {frames.dtype}")
    return frames


def check_frames(path: Path, kind: str, num_steps: int) -> None:
    """Check that an array holds one frame for each step.

    Raises:
        RuleViolation: If it does not, or is no array of frames.
    """
    frames = open_frames(path, kind)
    if len(frames) != num_steps:
        raise RuleViolation(RULE_FRAMES, f"{kind}/{path.name}: {len(frames)} for {num_steps} steps")
