"""Chunks of a trained policy on recorded steps, as a table."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from aquatint.data.action_chunks import chunk_actions
from aquatint.data.normaliser import denormalise
from aquatint.params import RunParams
from aquatint.training.checkpoint import Checkpoint
from aquatint.training.precision import to_device
from aquatint.training.vla_data import VlaData, usable_steps
from aquatint.training.vla_model import VlaModel, restore_vla
from aquatint.training.vla_samples import RobotSteps, Seeing, SensorMode, draw_noise

SAMPLE_NOISE = 31


def seeing_of(checkpoint: Checkpoint) -> Seeing:
    """What batches of a checkpoint's model hold."""
    if not checkpoint.spec["policy"]["vl_width"]:
        return "none"
    return "cached" if checkpoint.spec["opening"]["mode"] == "none" else "live"


def sensor_of(checkpoint: Checkpoint) -> SensorMode:
    """Whether a checkpoint's model is given sensor windows."""
    return "own" if checkpoint.spec["policy"]["sensor"] else "missing"


def predict_chunks(
    checkpoint: Checkpoint,
    data: VlaData,
    run: RunParams,
    splits: tuple[str, ...],
    stride: int,
    batch_size: int,
) -> pd.DataFrame:
    """Predict chunks for steps of some splits.

    Args:
        checkpoint: A trained policy.
        data: Steps, caches, scales.
        run: Device.
        splits: Which splits.
        stride: Every how many steps.
        batch_size: Steps of one forward pass.

    Returns:
        One row for each step: episode_id, split, step, source, has_sensor, instruction,
        ``predicted`` and ``target`` (H * 7 values in mm and degrees, step by step) and ``is_pad``.
    """
    model = restore_vla(data.backbone, checkpoint, run, is_live=seeing_of(checkpoint) == "live")
    parts = []
    for split in splits:
        steps = RobotSteps(data, split, seeing_of(checkpoint), sensor_of(checkpoint))
        chosen = np.arange(0, len(steps), stride)
        found = choose_chunks(model, steps, chosen, run.seed, batch_size)
        parts.append(prediction_table(steps, chosen, found, split))
    return pd.concat(parts, ignore_index=True)


@torch.inference_mode()
def choose_chunks(
    model: VlaModel,
    steps: RobotSteps,
    chosen: np.ndarray,
    seed: int,
    batch_size: int,
    priors: np.ndarray | None = None,
) -> np.ndarray:
    """Return the chunks that a model chooses, in mm and degrees, shape (N, H, 7).

    Args:
        model: Model in evaluation mode.
        steps: Steps to act on.
        chosen: Which of them, shape (N,).
        seed: Decides the noise that a diffusion starts from.
        batch_size: Steps of one forward pass.
        priors: Starts of a regression in place of the policy's own, shape (N, H, 7).
    """
    device = device_of(model)
    parts = []
    for start in range(0, len(chosen), batch_size):
        rows = chosen[start : start + batch_size]
        batch = steps.batch(rows)
        # What was done is not for the eyes of who acts.
        batch.pop("target")
        if priors is not None:
            batch["prior"] = torch.from_numpy(priors[start : start + batch_size])
        if model.diffusion is not None:
            noise = draw_noise(seed, SAMPLE_NOISE, [(int(r),) for r in rows], model.chunk_shape)
            batch["start_noise"] = torch.from_numpy(noise)
        parts.append(model.choose(to_device(batch, device)).float().cpu().numpy())
    return denormalise(np.concatenate(parts), steps.data.normaliser["action"])


def device_of(model: VlaModel) -> torch.device:
    """The device of a model's weights."""
    return next(model.parameters()).device


def prediction_table(
    steps: RobotSteps, chosen: np.ndarray, found: np.ndarray, split: str
) -> pd.DataFrame:
    """Put chunks beside what was done."""
    rows, data = steps.rows.iloc[chosen], steps.data
    everything, _ = chunk_actions(data.steps, data.rules.horizon)
    targets = everything[usable_steps(data.steps, split)][chosen]
    columns = ["episode_id", "split", "step", "source", "has_sensor", "instruction"]
    return (
        rows[columns]
        .reset_index(drop=True)
        .assign(
            predicted=list(found.reshape(len(found), -1).astype(np.float32)),
            target=list(targets.reshape(len(targets), -1).astype(np.float32)),
            is_pad=list(steps.is_pad[chosen]),
        )
    )


def probe_sensor(
    checkpoint: Checkpoint, data: VlaData, run: RunParams, stride: int, batch_size: int
) -> dict[str, np.ndarray]:
    """Predict the test steps that have a sensor with it, with zeros, and with none.

    For a regression, also with a random prior, which must not help.

    Returns:
        Chunks by variant, shape (N, H, 7), with ``target`` (N, H, 7) and ``is_pad`` (N, H).
    """
    seeing = seeing_of(checkpoint)
    model = restore_vla(data.backbone, checkpoint, run, is_live=seeing == "live")
    own = RobotSteps(data, "test", seeing)
    chosen = np.arange(0, len(own), stride)
    chosen = chosen[own.rows["has_sensor"].to_numpy(bool)[chosen]]
    found: dict[str, np.ndarray] = {}
    if not len(chosen):
        return found
    found["own"] = choose_chunks(model, own, chosen, run.seed, batch_size)
    modes: tuple[SensorMode, ...] = ("zeroed", "missing")
    for mode in modes:
        found[mode] = choose_chunks(
            model, RobotSteps(data, "test", seeing, sensor=mode), chosen, run.seed, batch_size
        )
    if model.diffusion is None:
        shape = (len(chosen), *model.chunk_shape)
        priors = np.random.default_rng(run.seed).standard_normal(shape, np.float32)
        found["random_prior"] = choose_chunks(model, own, chosen, run.seed, batch_size, priors)
    table = prediction_table(own, chosen, found["own"], "test")
    found["target"] = np.stack(table["target"].to_list()).reshape(found["own"].shape)
    found["is_pad"] = own.is_pad[chosen]
    return found


def probe_instruction(
    checkpoint: Checkpoint, data: VlaData, run: RunParams, stride: int, batch_size: int
) -> dict[str, np.ndarray]:
    """Predict test steps as they were asked for, and as another test step was.

    Returns:
        Chunks under ``own`` and ``other``, shape (N, H, 7), with ``target`` (N, H, 7) and
        ``is_pad`` (N, H); empty if all test steps share one instruction.
    """
    own = RobotSteps(data, "test", "live")
    texts = list(dict.fromkeys(own.instructions))
    if len(texts) < 2:
        return {}
    rng = np.random.default_rng([run.seed, 14])
    shifts = {text: int(rng.integers(1, len(texts))) for text in texts}
    swapped = [texts[(texts.index(text) + shifts[text]) % len(texts)] for text in own.instructions]
    model = restore_vla(data.backbone, checkpoint, run, is_live=True)
    chosen = np.arange(0, len(own), stride)
    other = RobotSteps(data, "test", "live", instructions=swapped)
    found = {
        name: choose_chunks(model, steps, chosen, run.seed, batch_size)
        for name, steps in (("own", own), ("other", other))
    }
    table = prediction_table(own, chosen, found["own"], "test")
    found["target"] = np.stack(table["target"].to_list()).reshape(found["own"].shape)
    found["is_pad"] = own.is_pad[chosen]
    return found
