"""The training of a policy on recorded flights, and what it does with held-out ones."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import pandas as pd
import torch
from torch import Tensor

from aquatint.collective import weigh
from aquatint.data.flight_records import NUM_ACTIONS
from aquatint.losses.imitation import (
    inflection_cross_entropy,
    inflection_weights,
    progress_error,
)
from aquatint.models.backbone import Backbone
from aquatint.models.imitation import ImitationPolicy, PolicyWidths
from aquatint.params import RunParams, StageParams
from aquatint.training.checkpoint import Checkpoint, load_weights
from aquatint.training.fit import fit
from aquatint.training.imitation_evaluation import follow, step_metrics
from aquatint.training.imitation_samples import (
    ForgetfulSamples,
    ImitationData,
    ImitationSamples,
    data_recipe,
    observed,
    scaled_by_place,
)
from aquatint.training.lineage import conditions, fingerprint, stage_record
from aquatint.training.objective import Objective, Opening
from aquatint.training.precision import prepare_device
from aquatint.training.state import TrainingStateFolder


@dataclass(frozen=True)
class ImitationPlan:
    """How a policy is trained.

    Attributes:
        kind: ``cma`` or ``seq2seq``.
        params: Epochs, batch size, rates, weights of ``action`` and ``progress``.
        inflection_weight: Weight of steps at which the action changes.
        last_action_dropout: Share of steps that are not told the action before. An expert mostly
            goes on as it did; who learns that never stops, nor looks.
        hidden: Width of the recurrent states.
    """

    kind: Literal["cma", "seq2seq"]
    params: StageParams
    inflection_weight: float
    last_action_dropout: float
    hidden: int


@dataclass(frozen=True)
class ImitationLosses:
    """Terms of a batch: the action by inflection-weighted cross-entropy, and the progress.

    Attributes:
        inflection_weight: Weight of steps at which the action changes.
    """

    inflection_weight: float

    def __call__(self, model: ImitationPolicy, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Return the mean over episodes of each term."""
        decided = model(observed(batch))
        weights = inflection_weights(batch["actions"], batch["is_step"], self.inflection_weight)
        action = inflection_cross_entropy(decided.logits.float(), batch["actions"], weights)
        progress = progress_error(decided.progress.float(), batch["progress"], batch["is_step"])
        count = batch["num_counted"]
        return {"action": weigh(action.mean(), count), "progress": weigh(progress.mean(), count)}


def train_imitation(
    plan: ImitationPlan,
    data: ImitationData,
    backbone: Backbone,
    run: RunParams,
    states: TrainingStateFolder,
) -> tuple[Checkpoint, pd.DataFrame]:
    """Train a policy on the train split.

    Returns:
        Checkpoint at the best macro-F1 of actions on the validation split, and the history, one row
        a step.
    """
    flights = ImitationSamples(data, "train")
    val = ImitationSamples(data, "val")
    first = flights.batch(torch.tensor([0]))
    widths = PolicyWidths(
        rgb_width=first["rgb"].shape[-1],
        num_rgb_places=first["rgb"].shape[-2],
        depth_width=first["depth"].shape[-1],
        num_depth_places=first["depth"].shape[-2],
        text_width=data.vectors.shape[1],
        num_actions=NUM_ACTIONS,
        hidden=plan.hidden,
    )
    spec = {"kind": plan.kind, "widths": asdict(widths)}
    torch.manual_seed(run.seed)
    model = ImitationPolicy(plan.kind, data.vectors.clone(), widths)
    fixed = scaled_by_place(model, flights)
    names = [name for name, _ in model.named_parameters() if not name.startswith("vectors.")]
    samples = ForgetfulSamples(flights, plan.last_action_dropout, run.seed)
    device = prepare_device(run)

    def evaluate(trained: ImitationPolicy) -> dict[str, float]:
        metrics = step_metrics(follow(trained, val, plan.params.batch_size, device))
        return {
            "score": metrics["macro_f1"],
            "macro_f1": metrics["macro_f1"],
            "accuracy": metrics["accuracy"],
            "progress_error": metrics["progress_error"],
        }

    key = _training_key(plan, data, run)
    objective = Objective(
        samples,
        ImitationLosses(plan.inflection_weight),
        evaluate,
        begin_epoch=samples.begin_epoch,
        spans_ranks=True,
    )
    opening = Opening({"policy": names}, lambda epoch: {"policy"})
    result = fit(model, objective, opening, plan.params, run, states.for_fingerprint(key))
    record = stage_record(plan.kind, plan.params, backbone, run, result)
    checkpoint = Checkpoint({**fixed, **result.best_weights}, spec, {"training_key": key, **record})
    return checkpoint, pd.DataFrame(result.history)


def _training_key(plan: ImitationPlan, data: ImitationData, run: RunParams) -> str:
    """Fingerprint of all that decides the weights; a state under another key is not resumed."""
    return fingerprint(
        {
            "plan": {**vars(plan), "params": plan.params.model_dump(mode="json")},
            **data_recipe(data),
            **conditions(run, train_imitation),
        }
    )


def restore_policy(checkpoint: Checkpoint, device: str | torch.device) -> ImitationPolicy:
    """Build a checkpoint's policy; no tensor may be missing or left over."""
    spec = checkpoint.spec
    widths = PolicyWidths(**spec["widths"])
    vectors = checkpoint.weights["vectors.weight"]
    model = ImitationPolicy(spec["kind"], vectors.clone(), widths)
    load_weights(model, checkpoint.weights, f"The checkpoint of {spec['kind']}")
    return model.to(device).eval()


def follow_both(
    checkpoint: Checkpoint, data: ImitationData, split: str, batch_size: int, run: RunParams
) -> pd.DataFrame:
    """Let a policy follow recorded flights, told their own and other flights' instructions.

    Args:
        checkpoint: The policy.
        data: Tables and caches.
        split: Which split.
        batch_size: Flights at once.
        run: Device, threads.

    Returns:
        Tables of ``follow`` with ``told``: ``own`` or ``other``.
    """
    device = prepare_device(run)
    policy = restore_policy(checkpoint, device)
    parts = [
        follow(
            policy, ImitationSamples(data, split, is_misled=is_misled), batch_size, device
        ).assign(told="other" if is_misled else "own")
        for is_misled in (False, True)
    ]
    return pd.concat(parts, ignore_index=True)
