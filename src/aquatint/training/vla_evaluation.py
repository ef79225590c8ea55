"""Metrics of predicted chunks, with baselines that need no model, and what the sensor is worth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch

from aquatint.data.action_chunks import previous_actions
from aquatint.data.normaliser import denormalise
from aquatint.data.robot_rows import ACTION_NAMES, ACTION_WIDTH
from aquatint.metrics.action_errors import (
    chunk_errors,
    dimension_errors,
    end_point_errors,
    spread_errors,
)
from aquatint.params import RunParams
from aquatint.training.checkpoint import Checkpoint
from aquatint.training.precision import to_device
from aquatint.training.vla_data import VlaData
from aquatint.training.vla_losses import predict_target
from aquatint.training.vla_model import restore_vla
from aquatint.training.vla_predict import (
    choose_chunks,
    probe_instruction,
    probe_sensor,
    seeing_of,
)
from aquatint.training.vla_samples import RobotSteps
from aquatint.training.vla_validation import fixed_noise

_NUM_SAMPLES, _NUM_BUCKETS = 4, 5


def unpack(predictions: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return predicted and target chunks (N, H, 7) and padding (N, H) of a table."""
    is_pad = np.stack(predictions["is_pad"].to_list()).astype(bool)
    shape = (*is_pad.shape, ACTION_WIDTH)
    predicted = np.stack(predictions["predicted"].to_list()).reshape(shape).astype(np.float64)
    target = np.stack(predictions["target"].to_list()).reshape(shape).astype(np.float64)
    return predicted, target, is_pad


def action_scale(normaliser: dict[str, Any]) -> np.ndarray:
    """What errors are divided by: the spread of the train actions, 0 where there is none, (A,)."""
    scale = normaliser["action"]
    return np.where(scale["is_constant"], 0.0, scale["std"])


def evaluate_chunks(
    predictions: pd.DataFrame, steps: pd.DataFrame, normaliser: dict[str, Any]
) -> dict[str, Any]:
    """Metrics of the test split, those of the validation split under ``val``.

    Args:
        predictions: Table of ``predict_chunks``.
        steps: Table of steps, for the baselines.
        normaliser: Scales.
    """
    found = {
        split: _evaluate_split(rows, steps, normaliser)
        for split, rows in predictions.groupby("split", sort=True)
    }
    return {**found["test"], "val": found.get("val")}


def _evaluate_split(
    rows: pd.DataFrame, steps: pd.DataFrame, normaliser: dict[str, Any]
) -> dict[str, Any]:
    predicted, target, is_pad = unpack(rows)
    scale, groups = action_scale(normaliser), rows["episode_id"].to_numpy()
    heard = rows["has_sensor"].to_numpy(bool)
    by_sensor = {
        name: chunk_errors(predicted[mask], target[mask], is_pad[mask], scale, groups[mask])
        for name, mask in (("with_sensor", heard), ("without_sensor", ~heard))
    }
    return {
        **chunk_errors(predicted, target, is_pad, scale, groups),
        "by_sensor": by_sensor,
        "by_dimension": dimension_errors(predicted, target, is_pad, ACTION_NAMES),
        "end_point": end_point_errors(predicted, target, is_pad),
        "baselines": {
            name: chunk_errors(values, target, is_pad, scale, groups)
            for name, values in _baselines(rows, steps, normaliser, target.shape).items()
        },
        "num_episodes": int(rows["episode_id"].nunique()),
    }


def _baselines(
    rows: pd.DataFrame, steps: pd.DataFrame, normaliser: dict[str, Any], shape: tuple[int, ...]
) -> dict[str, np.ndarray]:
    """Chunks that need no model: standing still, the mean action, the last one again."""
    before, _ = previous_actions(steps)
    index = pd.MultiIndex.from_frame(steps[["episode_id", "step"]])
    places = index.get_indexer(pd.MultiIndex.from_frame(rows[["episode_id", "step"]]))
    mean = np.asarray(normaliser["action"]["mean"])
    return {
        "zero": np.zeros(shape),
        "mean": np.broadcast_to(mean, shape),
        "last_action": np.broadcast_to(before[places][:, None], shape),
    }


def probe_policy(
    checkpoint: Checkpoint, data: VlaData, run: RunParams, stride: int, batch_size: int
) -> dict[str, Any]:
    """What sensor and instruction are worth, and how a diffusion's samples and noise spread.

    Returns:
        ``sensor``: errors on test steps with a sensor, by variant; ``instruction``: errors on all
        test steps with their ``own`` and with an ``other`` instruction; ``samples`` and
        ``noise_by_timestep`` of a diffusion, None for a regression.
    """
    arguments = (checkpoint, data, run, stride, batch_size)
    is_diffusion = checkpoint.spec["policy"]["kind"] == "diffusion"
    return {
        "sensor": _variant_errors(probe_sensor(*arguments), data),
        "instruction": _variant_errors(probe_instruction(*arguments), data),
        "samples": _sample_spread(*arguments) if is_diffusion else None,
        "noise_by_timestep": _noise_errors(*arguments) if is_diffusion else None,
    }


def _variant_errors(found: dict[str, np.ndarray], data: VlaData) -> dict[str, Any]:
    """Errors of each variant of a probe, and by dimension."""
    scale = action_scale(data.normaliser)
    return {
        name: {
            **chunk_errors(values, found["target"], found["is_pad"], scale),
            "by_dimension": dimension_errors(
                values, found["target"], found["is_pad"], ACTION_NAMES
            ),
        }
        for name, values in found.items()
        if name not in ("target", "is_pad")
    }


def _sample_spread(
    checkpoint: Checkpoint, data: VlaData, run: RunParams, stride: int, batch_size: int
) -> dict[str, Any]:
    model, steps = _open(checkpoint, data, run)
    chosen = np.arange(0, len(steps), stride * 2)
    samples = np.stack(
        [
            choose_chunks(model, steps, chosen, run.seed + number, batch_size)
            for number in range(_NUM_SAMPLES)
        ]
    )
    target = denormalise(steps.targets[chosen], data.normaliser["action"])
    return spread_errors(samples, target, steps.is_pad[chosen], action_scale(data.normaliser))


@torch.inference_mode()
def _noise_errors(
    checkpoint: Checkpoint, data: VlaData, run: RunParams, stride: int, batch_size: int
) -> list[dict[str, Any]]:
    """Squared error of the predicted noise in fifths of the process."""
    model, steps = _open(checkpoint, data, run)
    if model.diffusion is None:
        return []
    num = model.diffusion.num_train_timesteps
    device = next(model.parameters()).device
    is_varying = ~np.asarray(data.normaliser["action"]["is_constant"])
    sums, counts = np.zeros(_NUM_BUCKETS), np.zeros(_NUM_BUCKETS)
    chosen = np.arange(0, len(steps), stride * 2)
    for start in range(0, len(chosen), batch_size):
        rows = chosen[start : start + batch_size]
        batch = steps.batch(rows)
        batch |= fixed_noise(batch, rows, 0, 1, run.seed, num)
        predicted, noise = predict_target(model, to_device(batch, device))
        errors = ((predicted - noise) ** 2).float().cpu().numpy()[..., is_varying].mean(-1)
        valid = ~steps.is_pad[rows]
        buckets = batch["timesteps"].flatten().numpy() * _NUM_BUCKETS // num
        np.add.at(sums, buckets, np.where(valid, errors, 0).sum(1))
        np.add.at(counts, buckets, valid.sum(1))
    edges = [num * i // _NUM_BUCKETS for i in range(_NUM_BUCKETS + 1)]
    return [
        {
            "first": edges[i],
            "last": edges[i + 1] - 1,
            "mse": float(sums[i] / counts[i]) if counts[i] else None,
            "n": int(counts[i]),
        }
        for i in range(_NUM_BUCKETS)
    ]


def _open(checkpoint: Checkpoint, data: VlaData, run: RunParams) -> tuple[Any, RobotSteps]:
    seeing = seeing_of(checkpoint)
    model = restore_vla(data.backbone, checkpoint, run, is_live=seeing == "live")
    return model, RobotSteps(data, "test", seeing)
