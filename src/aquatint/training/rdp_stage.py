"""The training of RDP on recorded flights, and what it does with held-out ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from aquatint.collective import weigh
from aquatint.data.increments import IncrementRule
from aquatint.losses.imitation import mean_over_episodes
from aquatint.models.backbone import Backbone
from aquatint.models.rdp import RecurrentDiffusionPolicy
from aquatint.params import RunParams, StageParams
from aquatint.training.checkpoint import Checkpoint, load_weights
from aquatint.training.fit import fit
from aquatint.training.imitation_evaluation import step_metrics
from aquatint.training.imitation_samples import ImitationData, data_recipe, scaled_by_place
from aquatint.training.lineage import conditions, fingerprint, stage_record
from aquatint.training.objective import Objective, Opening
from aquatint.training.precision import prepare_device
from aquatint.training.rdp_evaluation import follow_rdp
from aquatint.training.rdp_samples import NoisySamples, RdpSamples, journey
from aquatint.training.state import TrainingStateFolder

KIND = "rdp"


@dataclass(frozen=True)
class RdpPlan:
    """How a policy is trained.

    Attributes:
        params: Epochs, batch size, rates, weights of ``action``, ``progress``, ``stop_progress``.
        rule: How poses become increments.
        model: Arguments of ``RecurrentDiffusionPolicy`` that data do not decide.
        untold_share: Share of the steps that are predicted without the words.
        last_action_dropout: Share of the steps that are not told the increments before.
        stop_threshold: Share of the steps behind from which on the policy stops.
        num_executed: Actions of a chunk that are carried out before the next one.
        num_val_samples: Flights of the validation split that are followed after each epoch.
    """

    params: StageParams
    rule: IncrementRule
    model: Mapping[str, Any]
    untold_share: float
    last_action_dropout: float
    stop_threshold: float
    num_executed: int
    num_val_samples: int


def compute_rdp_losses(model: RecurrentDiffusionPolicy, batch: dict[str, Any]) -> dict[str, Tensor]:
    """Return the mean over episodes of each term.

    ``action``: squared error of the noise in the increments ahead. ``progress`` and
    ``stop_progress``: squared errors of both heads. Steps behind an episode's end count nothing.
    """
    is_step = batch["is_step"]
    found = model.read(journey(batch), is_step=is_step)
    rows = is_step.flatten().nonzero().squeeze(1)
    chosen = {
        name: batch[name].flatten(0, 1)[rows]
        for name in ("chunk", "noise", "timesteps", "is_told", "progress", "stop_progress")
    }
    told = chosen["is_told"][:, None, None]
    condition = torch.where(told, found.condition, model.without_words(found.condition))
    clean, noise, timesteps = chosen["chunk"], chosen["noise"], chosen["timesteps"]
    noisy = model.diffusion.add_noise(clean, noise, timesteps)
    predicted = model.predict(noisy, timesteps, condition)
    target = model.diffusion.target(clean, noise)
    squared = {
        "action": (predicted.float() - target).square().mean((1, 2)),
        "progress": (found.progress.float() - chosen["progress"]).square(),
        "stop_progress": (found.stop_progress.float() - chosen["stop_progress"]).square(),
    }
    return {
        name: weigh(mean_over_episodes(values, is_step).mean(), batch["num_counted"])
        for name, values in squared.items()
    }


def train_rdp(
    plan: RdpPlan,
    data: ImitationData,
    backbone: Backbone,
    run: RunParams,
    states: TrainingStateFolder,
) -> tuple[Checkpoint, pd.DataFrame]:
    """Train RDP on the train split.

    Returns:
        Checkpoint at the best macro-F1 of first actions on the validation split, and the history,
        one row a step.
    """
    flights = RdpSamples(data, "train", plan.rule)
    val = RdpSamples(data, "val", plan.rule, limit=plan.num_val_samples)
    first = flights.batch(torch.tensor([0]))
    sizes = {
        **plan.model,
        "rgb_width": first["rgb"].shape[-1],
        "num_rgb_places": first["rgb"].shape[-2],
        "depth_width": first["depth"].shape[-1],
        "num_depth_places": first["depth"].shape[-2],
        "num_past": plan.rule.num_past,
    }
    spec = {
        "kind": KIND,
        "model": sizes,
        "rule": asdict(plan.rule),
        "stop_threshold": plan.stop_threshold,
        "num_executed": plan.num_executed,
    }
    torch.manual_seed(run.seed)
    model = RecurrentDiffusionPolicy(vectors=data.vectors.clone(), **sizes)
    fixed = scaled_by_place(model, flights.flights)
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    timesteps = model.diffusion.num_train_timesteps
    samples = NoisySamples(
        flights, timesteps, plan.untold_share, plan.last_action_dropout, run.seed
    )
    device = prepare_device(run)

    def evaluate(trained: RecurrentDiffusionPolicy) -> dict[str, float]:
        found = follow_rdp(trained, val, spec, plan.params.batch_size, run.seed, device)
        metrics = step_metrics(found)
        return {
            "score": metrics["macro_f1"],
            "macro_f1": metrics["macro_f1"],
            "accuracy": metrics["accuracy"],
            "progress_error": metrics["progress_error"],
            "average_error_m": float(np.mean(found["average_error_m"])),
        }

    key = fingerprint(
        {
            "plan": {
                **vars(plan),
                "params": plan.params.model_dump(mode="json"),
                "rule": asdict(plan.rule),
                "model": dict(plan.model),
            },
            **data_recipe(data),
            **conditions(run, train_rdp),
        }
    )
    objective = Objective(
        samples, compute_rdp_losses, evaluate, begin_epoch=samples.begin_epoch, spans_ranks=True
    )
    opening = Opening({"policy": names}, lambda epoch: {"policy"})
    result = fit(model, objective, opening, plan.params, run, states.for_fingerprint(key))
    record = stage_record(KIND, plan.params, backbone, run, result)
    checkpoint = Checkpoint({**fixed, **result.best_weights}, spec, {"training_key": key, **record})
    return checkpoint, pd.DataFrame(result.history)


def restore_rdp(checkpoint: Checkpoint, device: str | torch.device) -> RecurrentDiffusionPolicy:
    """Build a checkpoint's policy; no tensor may be missing or left over."""
    vectors = checkpoint.weights["vectors.weight"]
    model = RecurrentDiffusionPolicy(vectors=vectors.clone(), **checkpoint.spec["model"])
    load_weights(model, checkpoint.weights, "The checkpoint of rdp")
    return model.to(device).eval()


def follow_rdp_both(
    checkpoint: Checkpoint, data: ImitationData, split: str, batch_size: int, run: RunParams
) -> pd.DataFrame:
    """Let RDP follow recorded flights, told their own and other flights' instructions.

    Args:
        checkpoint: The policy.
        data: Tables and caches.
        split: Which split.
        batch_size: Flights at once.
        run: Seed of the noise, device, threads.

    Returns:
        Tables of ``follow_rdp`` with ``told``: ``own`` or ``other``.
    """
    device = prepare_device(run)
    policy = restore_rdp(checkpoint, device)
    rule = IncrementRule(**checkpoint.spec["rule"])
    parts = []
    for is_misled in (False, True):
        samples = RdpSamples(data, split, rule, is_misled=is_misled)
        found = follow_rdp(policy, samples, checkpoint.spec, batch_size, run.seed, device)
        parts.append(found.assign(told="other" if is_misled else "own"))
    return pd.concat(parts, ignore_index=True)
