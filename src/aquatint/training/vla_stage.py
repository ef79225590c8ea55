"""The two stages of a vision-language-action policy, and the policy that sees nothing."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from aquatint.params import RunParams, StageParams
from aquatint.training.checkpoint import Checkpoint, CheckpointMismatchError
from aquatint.training.fit import fit
from aquatint.training.lineage import conditions, fingerprint, stage_record, table_digest
from aquatint.training.objective import FitResult, Objective, Opening
from aquatint.training.state import TrainingStateFolder
from aquatint.training.vla_data import VlaData
from aquatint.training.vla_losses import ActionLosses
from aquatint.training.vla_model import EXPERT, SENSOR, VlaModel, build_vla, load_exactly
from aquatint.training.vla_samples import RobotSteps, Seeing, SensorMode, TrainingSteps
from aquatint.training.vla_validation import validate_on

logger = logging.getLogger(__name__)

_STATISTICS_SAMPLES = 2000
NEEDS_STAGE1 = "Stage 2 training requires stage1 checkpoint"


@dataclass(frozen=True)
class VlaPlan:
    """How a stage is trained.

    Attributes:
        stage: ``stage1``, ``stage2`` or ``state_only``.
        params: Epochs, batch size, rates.
        policy: Arguments of ``VlaPolicy``.
        opening: ``mode``, ``lora``, ``num_blocks`` of the backbone.
        num_val: Most validation steps looked at after an epoch.
    """

    stage: str
    params: StageParams
    policy: Mapping[str, Any]
    opening: Mapping[str, Any]
    num_val: int

    @property
    def is_opened(self) -> bool:
        """Whether the backbone trains."""
        return bool(self.opening["mode"] != "none")

    @property
    def seeing(self) -> Seeing:
        """What batches hold of pictures and instruction."""
        if not self.policy["vl_width"]:
            return "none"
        # No gradient reaches an opened backbone through a cache of its outputs.
        return "live" if self.is_opened else "cached"

    @property
    def sensor(self) -> SensorMode:
        """Whether batches hold sensor windows: a policy without an encoder needs none."""
        return "own" if self.policy["sensor"] else "missing"

    def spec(self, data: VlaData) -> dict[str, Any]:
        """What rebuilds the model and prepares its inputs; plain JSON values."""
        style = data.style
        return {
            "policy": dict(self.policy),
            "opening": dict(self.opening),
            "frames": {
                "views": list(style.views),
                "height_px": style.height_px,
                "width_px": style.width_px,
                "memory_grid": list(style.memory_grid),
                "max_text_tokens": style.max_text_tokens,
            },
            "rules": {
                "horizon": data.rules.horizon,
                "state_window": data.rules.state_window,
                "prior": data.rules.prior,
                "window": int(data.windows.recipe["window"]),
            },
            "normaliser": data.normaliser,
        }


def train_vla(
    plan: VlaPlan,
    data: VlaData,
    run: RunParams,
    states: TrainingStateFolder,
    parent: Checkpoint | None = None,
) -> tuple[Checkpoint, pd.DataFrame]:
    """Train one stage.

    Args:
        plan: What to train and how.
        data: Steps, caches, scales, backbone.
        run: Seed, device, precision.
        states: Where states of the training go.
        parent: Checkpoint of stage 1, for stage 2.

    Returns:
        Checkpoint at the best validation loss, and the history, one row a step.

    Raises:
        ValueError: If stage 2 is given no stage-1 checkpoint.
        CheckpointMismatchError: If the one it is given does not fit.
    """
    if plan.stage == "stage2" and parent is None:
        raise ValueError(f"{NEEDS_STAGE1}; run --tags=stage1 first.")
    spec = plan.spec(data)
    model, groups = build_vla(data.backbone, spec, run, is_live=plan.is_opened)
    if parent is not None:
        take_over(model, parent, groups)
    steps = RobotSteps(data, "train", plan.seeing, plan.sensor)
    if parent is None and model.sees:
        fit_token_scales(model, steps)
    timesteps = model.diffusion.num_train_timesteps if model.diffusion else 0
    samples = TrainingSteps(steps, data, run.seed, model.diffusion)
    is_constant = tuple(bool(v) for v in data.normaliser["action"]["is_constant"])
    losses = ActionLosses(is_constant)
    validation = RobotSteps(data, "val", plan.seeing, plan.sensor)
    objective = Objective(
        samples,
        losses,
        validate_on(validation, losses, plan.num_val, run.seed, timesteps),
        begin_epoch=samples.begin_epoch,
        spans_ranks=True,
        sample_weights=samples.sample_weights,
    )
    opening = Opening(groups, lambda epoch: set(groups))
    key = _training_key(plan, data, run, parent)
    result = fit(model, objective, opening, plan.params, run, states.for_fingerprint(key))
    lineage = {"training_key": key, **_lineage(plan, data, run, result, parent)}
    last = {} if result.best_weights is result.last_weights else result.last_weights
    fixed = {name: tensor.detach().cpu().clone() for name, tensor in model.statistics().items()}
    last = {**fixed, **last} if last else last
    best = {**fixed, **result.best_weights}
    return Checkpoint(best, spec, lineage, last), pd.DataFrame(result.history)


@torch.no_grad()
def fit_token_scales(model: VlaModel, steps: RobotSteps) -> None:
    """Set the statistics of cached tokens from an even sample of the train split."""
    chosen = np.unique(np.linspace(0, len(steps) - 1, _STATISTICS_SAMPLES).astype(np.int64))
    batch = steps.batch(chosen)
    scaler = model.action_expert.fusion.scaler
    if scaler is not None:
        scaler.fit(batch["tokens"].float(), batch["token_is_pad"])


def compare_handover(checkpoint: Checkpoint, policy: Mapping[str, Any]) -> dict[str, Any]:
    """Compare a stage-1 checkpoint with what stage 2 builds, by name and shape.

    Returns:
        Number of tensors that fit, missing and unexpected ones, and shapes that differ.

    Raises:
        CheckpointMismatchError: If it is none of stage 1, or anything is missing, left over or of
            another shape.
    """
    from aquatint.models.vla_policy import VlaPolicy

    stage = checkpoint.lineage.get("stage")
    if stage != "stage1":
        raise CheckpointMismatchError(f"{NEEDS_STAGE1}, got one of {stage!r}.")
    fresh = VlaPolicy(**policy)
    tensors = dict(fresh.named_parameters()) | fresh.statistics()
    wanted = {name: list(tensor.shape) for name, tensor in tensors.items()}
    found = {name: list(tensor.shape) for name, tensor in checkpoint.weights.items()}
    faults = {
        "missing": sorted(set(wanted) - set(found)),
        "unexpected": sorted(set(found) - set(wanted)),
        "other_shape": sorted(n for n in set(wanted) & set(found) if wanted[n] != found[n]),
    }
    if any(faults.values()):
        listed = {kind: names[:4] for kind, names in faults.items() if names}
        raise CheckpointMismatchError(
            f"{NEEDS_STAGE1} with sensor_encoder and action_expert of the same sizes; it does not "
            f"fit: {listed}. Train stage 1 again, or pin one that fits with --load-versions."
        )
    counts = {
        prefix: sum(name.startswith(f"{prefix}.") for name in found)
        for prefix in ("sensor_encoder", "action_expert")
    }
    return {"stage1": checkpoint.digest, "num_tensors": len(found), **counts, **faults}


def take_over(model: VlaModel, parent: Checkpoint, groups: Mapping[str, list[str]]) -> None:
    """Put the weights of stage 1 into the model of stage 2; all of them and no others."""
    wanted = {name for group in (SENSOR, EXPERT) for name in groups.get(group, [])}
    load_exactly(model, parent.weights, wanted | set(model.statistics()))
    tensors = dict(model.named_parameters()) | model.statistics()
    for name, tensor in parent.weights.items():
        if not torch.equal(tensors[name].detach().cpu(), tensor.cpu()):
            raise CheckpointMismatchError(f"{name} did not arrive in stage 2 as it left stage 1.")
    logger.info("Stage 2 begins with %d tensors of stage 1.", len(parent.weights))


def _training_key(plan: VlaPlan, data: VlaData, run: RunParams, parent: Checkpoint | None) -> str:
    """Fingerprint of all that decides the weights; a state under another key is not resumed."""
    return fingerprint(
        {
            "plan": _plan_values(plan),
            "spec": plan.spec(data),
            "rules": _rule_values(data),
            "data": _data_digests(data, plan.seeing),
            "backbone": [data.backbone.digest, data.backbone.dtype, data.backbone.quantization],
            "parent": parent.digest if parent else None,
            **conditions(run, train_vla),
        }
    )


def _plan_values(plan: VlaPlan) -> dict[str, Any]:
    return {
        "stage": plan.stage,
        "params": plan.params.model_dump(mode="json"),
        "opening": dict(plan.opening),
        "num_val": plan.num_val,
    }


def _rule_values(data: VlaData) -> dict[str, Any]:
    rules = data.rules
    return {**vars(rules), "mixture": dict(rules.mixture)}


def _data_digests(data: VlaData, seeing: Seeing) -> dict[str, str]:
    digests = {"steps": table_digest(data.steps.astype(str)), "windows": data.windows.digest}
    if seeing == "cached":
        digests["prompts"] = data.prompts.digest
    elif seeing == "live":
        digests["frames"] = data.frames.digest
    return digests


def _lineage(
    plan: VlaPlan, data: VlaData, run: RunParams, result: FitResult, parent: Checkpoint | None
) -> dict[str, Any]:
    parents = (
        [{"stage": "stage1", "digest": parent.digest, "version": parent.lineage.get("version")}]
        if parent
        else []
    )
    return {
        **stage_record(plan.stage, plan.params, data.backbone, run, result),
        "expert": plan.policy["kind"],
        "parents": parents,
        "data": _data_digests(data, plan.seeing),
        "plan": _plan_values(plan),
        "rules": _rule_values(data),
    }
