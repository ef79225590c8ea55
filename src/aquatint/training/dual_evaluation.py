"""How far sampled trajectories are from the recorded way, and where the loss is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from aquatint.collective import hides_bars
from aquatint.data.trajectory_targets import TargetRule, decode_trajectory
from aquatint.metrics.paired import group_bootstrap_interval
from aquatint.metrics.trajectories import average_displacement_error, final_displacement_error
from aquatint.models.backbone import Backbone
from aquatint.models.dual_system import DualSystem, Memory
from aquatint.params import RunParams
from aquatint.training.checkpoint import Checkpoint
from aquatint.training.dual_stage import restore_dual, trajectory_errors
from aquatint.training.navdp_sampling import start_noise
from aquatint.training.navigation_samples import NavigationData
from aquatint.training.trajectory_samples import TrajectoryData, TrajectorySamples, Ways

NUM_BUCKETS = 5
_MOST_FOR_MEAN = 500


@torch.inference_mode()
def sample_trajectories(
    model: DualSystem, latents: Tensor, pairs: Tensor | None, start: Tensor, seed: int
) -> Tensor:
    """Sample scaled increments, shape (B, K, H, 3).

    Args:
        model: The dual system.
        latents: Shape (B, N, E).
        pairs: Pictures, shape (B, 2, 4, S, S), or None.
        start: Noise, shape (B, K, H, 3).
        seed: Of DDPM's fresh noise.
    """
    condition = model.system1.condition(latents, pairs)
    generator = torch.Generator(start.device).manual_seed(seed)
    return model.system1.sample(condition, start, generator)


def predict_trajectories(
    model: DualSystem, samples: TrajectorySamples, batch_size: int, num_samples: int, seed: int
) -> pd.DataFrame:
    """Sample trajectories for every frame of every sample; the target is not looked at.

    Returns:
        One row for each frame: ``sample_id``, ``scene``, ``frame``, ``target`` and ``predicted``
        (their mean) as points (H, 3) flat, ``best_ade_m`` of all samples.
    """
    model.eval()
    device = model.queries.device
    scale = samples.rule.scale
    rows: list[dict[str, Any]] = []
    starts = range(0, len(samples), batch_size)
    for first in tqdm(starts, desc="trajectories", disable=hides_bars(), leave=False):
        positions = list(range(first, min(first + batch_size, len(samples))))
        batch = samples.batch(torch.tensor(positions))
        with torch.inference_mode():
            memory = Memory(*(batch[name].to(device) for name in Memory._fields))
            latents = model.latents(memory)
        for place in range(batch["actions"].shape[1]):
            kept = torch.nonzero(batch["is_target"][:, place])[:, 0]
            if not len(kept):
                continue
            frames = [samples.frames_of(positions[i])[place] for i in kept.tolist()]
            ids = [samples.rows[positions[i]]["sample_id"] for i in kept.tolist()]
            names = [f"{name} {frame}" for name, frame in zip(ids, frames, strict=True)]
            noise = start_noise(names, num_samples, batch["actions"].shape[2], seed).to(device)
            pairs = batch["pictures"][kept, place].to(device) if "pictures" in batch else None
            fan = sample_trajectories(model, latents[kept.to(device)], pairs, noise, seed)
            points = decode_trajectory(fan.double().cpu().numpy(), scale)
            targets = decode_trajectory(batch["actions"][kept, place].double().numpy(), scale)
            for number, i in enumerate(kept.tolist()):
                row = samples.rows[positions[i]]
                ades = average_displacement_error(points[number, :, :, :2], targets[number, :, :2])
                rows.append(
                    {
                        "sample_id": row["sample_id"],
                        "scene": row["scene"],
                        "frame": frames[number],
                        "target": targets[number].ravel().tolist(),
                        "predicted": points[number].mean(0).ravel().tolist(),
                        "best_ade_m": float(ades.min()),
                    }
                )
    return pd.DataFrame(rows)


def validation_error(
    model: DualSystem, samples: TrajectorySamples, batch_size: int, num_samples: int, seed: int
) -> dict[str, float]:
    """Score a model during training: minus the mean displacement."""
    table = predict_trajectories(model, samples, batch_size, num_samples, seed)
    found = trajectory_metrics(table)
    return {
        "score": -found["ade_m"],
        "ade_m": found["ade_m"],
        "fde_m": found["fde_m"],
        "best_ade_m": found["best_ade_m"],
    }


def trajectory_metrics(table: pd.DataFrame, fixed: np.ndarray | None = None) -> dict[str, Any]:
    """Judge trajectories.

    Args:
        table: Table of ``predict_trajectories``.
        fixed: One trajectory (H, 3), or one for each row (N, H, 3), that is judged instead of the
            predictions.

    Returns:
        ``ade_m`` with its interval by scene, ``fde_m``, ``heading_error_rad`` of the last point,
        ``best_ade_m`` (of several samples), ``n`` frames.
    """
    target = np.array(table["target"].to_list()).reshape(len(table), -1, 3)
    predicted = np.array(table["predicted"].to_list()).reshape(target.shape)
    if fixed is not None:
        predicted = np.broadcast_to(fixed, target.shape)
    ade = average_displacement_error(predicted[..., :2], target[..., :2])
    fde = final_displacement_error(predicted[..., :2], target[..., :2])
    turn = predicted[:, -1, 2] - target[:, -1, 2]
    turn = np.abs((turn + np.pi) % (2 * np.pi) - np.pi)
    return {
        "ade_m": float(ade.mean()),
        "ade_interval_m": group_bootstrap_interval(ade, table["scene"].to_numpy()),
        "fde_m": float(fde.mean()),
        "heading_error_rad": float(turn.mean()),
        "best_ade_m": None if fixed is not None else float(table["best_ade_m"].mean()),
        "n": len(table),
    }


def predict_test(  # noqa: PLR0913 - one argument for each thing that decides predictions
    data: TrajectoryData,
    backbone: Backbone,
    system2: Checkpoint,
    checkpoint: Checkpoint,
    most: int,
    batch_size: int,
    run: RunParams,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Sample trajectories on the test split.

    Returns:
        Table of ``predict_trajectories``; ``loss_by_time`` as a table.
    """
    model = restore_dual(backbone, system2, checkpoint, run)
    system1 = model.system1
    samples = TrajectorySamples(
        data, "test", system1.sees_pictures, system1.process.num_train_timesteps, run.seed, most
    )
    spec = checkpoint.spec
    table = predict_trajectories(model, samples, batch_size, spec["num_samples"], run.seed)
    return table, pd.DataFrame(loss_by_time(model, samples, batch_size))


def evaluate_trajectories(
    predictions: pd.DataFrame, losses: pd.DataFrame, data: NavigationData, rule: TargetRule
) -> dict[str, Any]:
    """Judge trajectories, beside what needs no model.

    Returns:
        ``trajectory_metrics`` of the predictions; the same of ``mean_way`` (of the train split's
        goal frames, always), ``standing_still`` and ``straight_line`` (to the place that the
        label's pixel shows, which a depth camera tells); ``loss_by_time``; ``goal_frames``, the
        same again where goals are set, which all backends are judged at.
    """
    train = Ways(data, "train", rule, on_the_way=False, most=_MOST_FOR_MEAN)
    ways = [train.actions_of(i, int(row["frame"])) for i, row in enumerate(train.rows)]
    mean_way = decode_trajectory(np.mean(ways, axis=0), rule.scale)
    frames = dict(zip(data.samples["sample_id"], data.samples["frame"], strict=True))
    is_goal_frame = predictions["frame"] == predictions["sample_id"].map(frames)
    return {
        **_beside_baselines(predictions, mean_way, data, rule),
        "goal_frames": _beside_baselines(predictions[is_goal_frame], mean_way, data, rule),
        "loss_by_time": losses.to_dict(orient="records"),
    }


def _beside_baselines(
    predictions: pd.DataFrame, mean_way: np.ndarray, data: NavigationData, rule: TargetRule
) -> dict[str, Any]:
    lines = _straight_lines(predictions, data, rule)
    return {
        **trajectory_metrics(predictions),
        "mean_way": trajectory_metrics(predictions, mean_way),
        "standing_still": trajectory_metrics(predictions, np.zeros_like(mean_way)),
        "straight_line": trajectory_metrics(predictions, lines),
    }


def _straight_lines(
    predictions: pd.DataFrame, data: NavigationData, rule: TargetRule
) -> np.ndarray:
    """From each predicted frame straight to its sample's goal, shape (N, H, 3)."""
    test = Ways(data, "test", rule, on_the_way=False)
    positions = {row["sample_id"]: position for position, row in enumerate(test.rows)}
    ids, frames = predictions["sample_id"].tolist(), predictions["frame"].tolist()
    lines = [test.line_of(positions[i], frame) for i, frame in zip(ids, frames, strict=True)]
    return decode_trajectory(np.stack(lines), rule.scale)


@torch.inference_mode()
def loss_by_time(
    model: DualSystem, samples: TrajectorySamples, batch_size: int
) -> list[dict[str, Any]]:
    """Mean loss in equal parts of the process, from nearly clean to nearly pure noise.

    Each sample's first frame is looked at once in every part, at its middle timestep.
    """
    model.eval()
    device = model.queries.device
    total = model.system1.process.num_train_timesteps
    middles = [(2 * part + 1) * total // (2 * NUM_BUCKETS) for part in range(NUM_BUCKETS)]
    sums, count = np.zeros(NUM_BUCKETS), 0
    for first in range(0, len(samples), batch_size):
        batch = samples.batch(torch.arange(first, min(first + batch_size, len(samples))))
        moved = {n: v.to(device) for n, v in batch.items() if isinstance(v, Tensor)}
        latents = model.latents(Memory(*(moved[name] for name in Memory._fields)))
        kept = ("actions", "noise", "pictures")
        one = {name: moved[name][:, :1] for name in kept if name in moved}
        for part, middle in enumerate(middles):
            timesteps = torch.full((len(latents), 1), middle, device=device)
            errors = trajectory_errors(model, latents, {**one, "timesteps": timesteps})
            sums[part] += float(errors.sum())
        count += len(latents)
    return [
        {"share_of_noise": (2 * part + 1) / (2 * NUM_BUCKETS), "loss": sums[part] / max(1, count),
         "n": count}
        for part in range(NUM_BUCKETS)
    ]  # fmt: skip
