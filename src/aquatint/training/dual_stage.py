"""Joint training: latent queries of a frozen System 2 and the System 1 that they guide."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from aquatint.collective import weigh
from aquatint.data.trajectories import poses_of
from aquatint.models.backbone import Backbone
from aquatint.models.dual_system import DualSystem, Memory
from aquatint.models.system1 import BackendName, System1
from aquatint.params import RunParams, StageParams
from aquatint.training.checkpoint import Checkpoint, CheckpointMismatchError
from aquatint.training.fit import fit
from aquatint.training.lineage import conditions, fingerprint, stage_record, table_digest
from aquatint.training.objective import FitResult, Objective, Opening
from aquatint.training.precision import prepare_device
from aquatint.training.state import TrainingStateFolder
from aquatint.training.system2_stage import restore_system2
from aquatint.training.trajectory_samples import TrajectoryData, TrajectorySamples

_STATISTICS_SAMPLES = 256
_STATISTICS_BATCH = 32
# Of the specification: raise it where the same tensors would mean another System 1.
_SPEC_VERSION = 2


@dataclass(frozen=True)
class DualPlan:
    """How a dual system is trained.

    Attributes:
        backend: Which System 1.
        params: Epochs, batch size, rates.
        num_latents: Latent queries.
        sizes: Arguments of ``System1`` but backend, latents and horizon.
        num_val: Most validation samples looked at after an epoch.
        num_samples: Trajectories that are sampled and averaged.
        num_frames: Frames of a sample that a step shows to what sees pictures; None for all.
    """

    backend: BackendName
    params: StageParams
    num_latents: int
    sizes: Mapping[str, Any]
    num_val: int
    num_samples: int
    num_frames: int | None = None


def trajectory_losses(model: DualSystem, batch: dict[str, Any]) -> dict[str, Tensor]:
    """Return ``action``: squared error of what the decoder says, a mean over samples.

    Of each sample the mean over its frames; padded frames count nowhere.
    """
    memory = Memory(batch["values"], batch["lengths"], batch["places"])
    errors = trajectory_errors(model, model.latents(memory), batch)
    is_target = batch["is_target"].to(errors.dtype)
    of_sample = (errors * is_target).sum(1) / is_target.sum(1).clamp(min=1)
    counted = float(len(of_sample)) if batch.get("is_counted", True) else 0.0
    return {"action": weigh(of_sample.mean(), counted)}


def trajectory_errors(model: DualSystem, latents: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
    """Squared error of every frame's trajectory, padded ones included.

    Args:
        model: The dual system.
        latents: Of the samples, shape (B, N, E).
        batch: As ``TrajectorySamples.batch`` gives it.

    Returns:
        Shape (B, F).
    """
    system1 = model.system1
    actions, noise, timesteps = batch["actions"], batch["noise"], batch["timesteps"]
    num_frames = actions.shape[1]
    pairs = batch["pictures"].flatten(0, 1) if "pictures" in batch else None
    condition = system1.condition(latents.repeat_interleave(num_frames, 0), pairs)
    clean, pure = actions.flatten(0, 1), noise.flatten(0, 1)
    noisy = system1.process.add_noise(clean, pure, timesteps.flatten())
    said = system1.predict(noisy, timesteps.flatten(), condition)
    target = system1.process.target(clean, pure)
    return (said.float() - target).square().mean((1, 2)).unflatten(0, timesteps.shape)


def train_dual(
    plan: DualPlan,
    data: TrajectoryData,
    backbone: Backbone,
    system2: Checkpoint,
    run: RunParams,
    states: TrainingStateFolder,
) -> tuple[Checkpoint, pd.DataFrame]:
    """Train latent queries and a System 1 on remembered dialogues; System 2 stays as it is.

    Returns:
        Checkpoint at the smallest validation displacement, and the history, one row a step.
    """
    from aquatint.training.dual_evaluation import validation_error

    spec = dual_spec(plan, data, system2)
    model = build_dual(backbone, system2, spec, run)
    sees = model.system1.sees_pictures
    num_timesteps = model.system1.process.num_train_timesteps
    train = TrajectorySamples(
        data, "train", sees, num_timesteps, run.seed, num_frames=plan.num_frames
    )
    val = TrajectorySamples(data, "val", sees, num_timesteps, run.seed, plan.num_val)

    def evaluate(trained: DualSystem) -> dict[str, float]:
        return validation_error(trained, val, plan.params.batch_size, plan.num_samples, run.seed)

    fit_latent_scales(model, train)
    groups = {"system1": model.trained_names}
    objective = Objective(
        train, trajectory_losses, evaluate, begin_epoch=train.begin_epoch, spans_ranks=True
    )
    opening = Opening(groups, lambda epoch: set(groups))
    key = _training_key(plan, data, backbone, system2, run)
    result = fit(model, objective, opening, plan.params, run, states.for_fingerprint(key))
    record = stage_record(plan.backend, plan.params, backbone, run, result)
    lineage = {"training_key": key, **record, "parents": [f"system2@{system2.digest}"],
               "num_train_samples": len(train)}  # fmt: skip
    fixed = {name: tensor.detach().cpu().clone() for name, tensor in model.statistics().items()}
    return _checkpoint(result, fixed, spec, lineage), pd.DataFrame(result.history)


@torch.no_grad()
def fit_latent_scales(model: DualSystem, samples: TrajectorySamples) -> None:
    """Centre and scale latents by what fresh queries find in an even sample of the train split.

    Latents of different dialogues differ by a small part of their norm. The queries train on, so
    that this is where System 1 begins, not what it stays at.
    """
    chosen = np.unique(np.linspace(0, len(samples) - 1, _STATISTICS_SAMPLES).astype(np.int64))
    found = []
    for start in range(0, len(chosen), _STATISTICS_BATCH):
        memory = samples.memory(chosen[start : start + _STATISTICS_BATCH].tolist())
        moved = Memory(*(value.to(model.queries.device) for value in memory))
        found.append(model.latents(moved).float())
    latents = torch.cat(found)
    is_pad = torch.zeros(latents.shape[:2], dtype=torch.bool, device=latents.device)
    model.system1.scaler.fit(latents, is_pad)


def _checkpoint(
    result: FitResult, fixed: dict[str, Tensor], spec: dict[str, Any], lineage: dict[str, Any]
) -> Checkpoint:
    is_last_best = result.best_weights is result.last_weights
    last = {} if is_last_best else {**fixed, **result.last_weights}
    return Checkpoint({**fixed, **result.best_weights}, spec, lineage, last)


def dual_spec(plan: DualPlan, data: TrajectoryData, system2: Checkpoint) -> dict[str, Any]:
    """What rebuilds a dual system, and says what its trajectories mean."""
    return {
        "version": _SPEC_VERSION,
        "backend": plan.backend,
        "num_latents": plan.num_latents,
        "sizes": dict(plan.sizes),
        "rule": asdict(data.rule),
        "pictures": asdict(data.pictures),
        "num_samples": plan.num_samples,
        "system2": system2.digest,
    }


def build_dual(
    backbone: Backbone, system2: Checkpoint, spec: Mapping[str, Any], run: RunParams
) -> DualSystem:
    """Build a dual system with fresh queries and a fresh System 1 around a frozen System 2."""
    device = prepare_device(run)
    language_model = restore_system2(backbone, system2, run).backbone.model.language_model
    torch.manual_seed(run.seed)
    sizes = spec["sizes"]
    system1 = System1(
        backend=spec["backend"],
        latent_width=language_model.config.hidden_size,
        num_latents=spec["num_latents"],
        horizon=spec["rule"]["num_points"],
        **sizes,
    )
    return DualSystem(language_model, spec["num_latents"], system1).to(device)


def restore_dual(
    backbone: Backbone,
    system2: Checkpoint,
    checkpoint: Checkpoint,
    run: RunParams,
    *,
    allows_other: bool = False,
) -> DualSystem:
    """Build a checkpoint's dual system; no tensor may be missing or left over.

    Args:
        backbone: What System 2 was trained from.
        system2: Its training.
        checkpoint: Queries and System 1.
        run: Device.
        allows_other: Whether another System 2 than the one it was trained with is meant: to see
            what a further training of System 2 alone does to its latents.

    Raises:
        CheckpointMismatchError: If names or shapes differ, or System 2 is another one, or the
            checkpoint was written by a version to which its tensors meant something else.
    """
    if checkpoint.spec.get("version") != _SPEC_VERSION:
        raise CheckpointMismatchError(
            f"A System 1 must be of version {_SPEC_VERSION}, got "
            f"{checkpoint.spec.get('version', 1)}: an earlier one read its goal and said its "
            "trajectories in another way. Train the dual system again."
        )
    if checkpoint.spec["system2"] != system2.digest and not allows_other:
        raise CheckpointMismatchError(
            f"This System 1 was trained with System 2 {checkpoint.spec['system2'][:12]}, and is "
            f"given {system2.digest[:12]}: its latents have drifted. Train the dual system again, "
            "or pin the System 2 that it knows with --load-versions."
        )
    model = build_dual(backbone, system2, checkpoint.spec, run)
    own = dict(model.named_parameters()) | model.statistics()
    wanted = set(model.trained_names) | set(model.statistics())
    differing = sorted(wanted ^ set(checkpoint.weights)) or [
        name for name in sorted(wanted) if own[name].shape != checkpoint.weights[name].shape
    ]
    if differing:
        raise CheckpointMismatchError(
            f"The checkpoint of {checkpoint.spec['backend']} does not fit: {len(differing)} "
            f"tensors differ, the first are {differing[:3]}. Train the dual system again."
        )
    with torch.no_grad():
        for name, tensor in checkpoint.weights.items():
            own[name].copy_(tensor)
    return model.eval()


def _training_key(
    plan: DualPlan, data: TrajectoryData, backbone: Backbone, system2: Checkpoint, run: RunParams
) -> str:
    """Fingerprint of all that decides the weights; a state under another key is not resumed."""
    return fingerprint(
        {
            "spec": dual_spec(plan, data, system2),
            "params": plan.params.model_dump(mode="json"),
            "num_val": plan.num_val,
            "num_frames": plan.num_frames,
            "samples": table_digest(data.samples.samples),
            "frames": _frames_digest(data.samples.frames),
            "memories": data.memories.digest,
            "backbone": backbone.digest,
            **conditions(run, train_dual),
        }
    )


def _frames_digest(frames: pd.DataFrame) -> str:
    # Bytes of poses, not their digits: writing a thousand matrices out takes seconds.
    poses = [pose.tobytes().hex() for pose in poses_of(frames)]
    return table_digest(frames.assign(pose=poses).astype(str))
