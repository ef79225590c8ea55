"""What vision-language-action stages read: steps, caches, scales, backbone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from aquatint.features.cache import FeatureCache
from aquatint.features.robot_frames import FrameStyle
from aquatint.models.backbone import Backbone


@dataclass(frozen=True)
class ChunkRules:
    """How samples are cut out of episodes.

    Attributes:
        horizon: Actions of a chunk.
        state_window: Steps of the robot's state that a policy sees, its own included.
        prior: What a regression starts from: ``zeros`` or the ``last_action``.
        mixture: Weight of each raw format: how often its pictures are drawn.
        priority_tasks: Names of tasks whose pictures are drawn ``priority_factor`` times as often.
        priority_factor: That factor.
        sensor_loss_weight: Weight of a sample with the sensor in the loss; without it 1.
    """

    horizon: int
    state_window: int
    prior: str
    mixture: Mapping[str, float]
    priority_tasks: tuple[str, ...]
    priority_factor: float
    sensor_loss_weight: float


@dataclass(frozen=True)
class VlaData:
    """All that training and evaluation of a recipe read.

    Attributes:
        backbone: Frozen Qwen2.5-VL.
        steps: Table of steps of all splits.
        frames: Cached features of the vision tower.
        prompts: Cached hidden states of the language model.
        windows: Cached sensor windows.
        normaliser: Scales of actions, states and sensor.
        style: Which views a policy sees, and how many tokens of them.
        rules: How samples are cut.
    """

    backbone: Backbone
    steps: pd.DataFrame
    frames: FeatureCache
    prompts: FeatureCache
    windows: FeatureCache
    normaliser: dict[str, Any]
    style: FrameStyle
    rules: ChunkRules


def usable_steps(steps: pd.DataFrame, split: str) -> np.ndarray:
    """Positions of a split's steps that have a state and an action to predict, shape (N,).

    Raises:
        ValueError: If there is none.
    """
    is_usable = (steps["split"] == split) & steps["has_action"] & steps["has_state"]
    found = np.nonzero(is_usable.to_numpy())[0]
    if not len(found):
        raise ValueError(
            f"The {split} split has no step with a state and an action; give it more episodes with "
            "data.split, or read recordings with robot states."
        )
    return found
