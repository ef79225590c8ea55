"""The training of System 2: a vision-language model that points at where to go, turns, or stops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from aquatint.collective import weigh
from aquatint.data.navigation_prompts import TEMPLATE_VERSION
from aquatint.losses.answer import answer_cross_entropy
from aquatint.models.answering import IGNORE_INDEX
from aquatint.models.backbone import Backbone
from aquatint.models.navigator import PARTS, NavigationModel, parameters_by_part
from aquatint.params import RunParams, StageParams
from aquatint.training.checkpoint import Checkpoint, CheckpointMismatchError
from aquatint.training.fit import fit
from aquatint.training.lineage import conditions, fingerprint, stage_record, table_digest
from aquatint.training.navigation_dialogues import DialogueWriter, FrameStyle
from aquatint.training.navigation_samples import (
    NavigationData,
    NavigationDialogues,
    NavigationSamples,
)
from aquatint.training.objective import FitResult, Objective, Opening
from aquatint.training.precision import prepare_device
from aquatint.training.state import TrainingStateFolder


@dataclass(frozen=True)
class System2Plan:
    """How System 2 is trained.

    Attributes:
        params: Epochs, batch size, rates; ``group_factors`` by part.
        tuned: Parts that train: of ``vision``, ``mlp`` and ``llm``.
        style: How frames are shown.
        num_history: Most earlier frames that are shown.
        augments: Whether colors of frames are changed at random.
        num_val: Most validation samples looked at after an epoch.
        max_new_tokens: Longest answer.
    """

    params: StageParams
    tuned: Sequence[str]
    style: FrameStyle
    num_history: int
    augments: bool
    num_val: int
    max_new_tokens: int

    @staticmethod
    def from_params(params: Any, num_history: int) -> System2Plan:  # noqa: ANN401 - the recipe's
        """Return the plan of a recipe's parameters, the tower's rate as a factor on the other."""
        style = FrameStyle(
            params.frame_edge_px, params.history_edge_px, params.min_pixels, params.max_pixels,
            params.repeats_instruction,
        )  # fmt: skip
        factor = params.vision_learning_rate / params.optimizer.learning_rate
        factors = {"vision": factor} if "vision" in params.tuned else {}
        optimizer = params.optimizer.model_copy(update={"group_factors": factors})
        names = set(StageParams.model_fields)
        stage = StageParams(**{**params.model_dump(include=names),
                               "optimizer": optimizer.model_dump()})  # fmt: skip
        return System2Plan(stage, params.tuned, style, num_history, params.data_augmentation,
                           params.num_val, params.max_new_tokens)  # fmt: skip

    @property
    def spec(self) -> dict[str, Any]:
        """What rebuilds the model and its prompts."""
        return {
            "tuned": list(self.tuned),
            "style": asdict(self.style),
            "num_history": self.num_history,
            "max_new_tokens": self.max_new_tokens,
            "template": TEMPLATE_VERSION,
        }


def navigation_losses(model: NavigationModel, batch: dict[str, Any]) -> dict[str, Tensor]:
    """Return ``next_token``: the mean over samples of each one's mean over its answers' tokens."""
    states = model.read(batch)
    targets = batch["labels"][:, 1:]
    is_labelled = targets != IGNORE_INDEX
    # Logits where a label asks for them: at 152,000 tokens they are most of the work otherwise.
    logits = model.answer_logits(states[:, :-1][is_labelled])
    losses = F.cross_entropy(logits, targets[is_labelled], reduction="none")
    of_sample = answer_cross_entropy(losses, torch.nonzero(is_labelled)[:, 0], len(targets))
    counted = float(len(targets)) if batch["is_counted"] else 0.0
    return {"next_token": weigh(of_sample.mean(), counted)}


def train_system2(
    plan: System2Plan,
    data: NavigationData,
    backbone: Backbone,
    run: RunParams,
    states: TrainingStateFolder,
    parent: Checkpoint | None = None,
) -> tuple[Checkpoint, pd.DataFrame]:
    """Train the chosen parts of a backbone on the train split.

    Args:
        plan: What to train and how.
        data: Samples and frames.
        backbone: What to train from.
        run: Seed, device, precision.
        states: Where states of the training go.
        parent: Earlier training of the same parts that goes on; None to begin with the backbone.

    Returns:
        Checkpoint at the best validation score (action type, and pixels within a tenth of the
        image), and the history, one row a step.
    """
    from aquatint.training.system2_evaluation import validation_metrics

    model, groups = build_system2(backbone, plan.spec, run)
    if parent is not None:
        put_weights(model, backbone, parent)
    writer = DialogueWriter(backbone, plan.style)
    train = NavigationDialogues(data.of_split("train"), writer, plan.num_history, run.seed)
    val = NavigationDialogues(
        data.of_split("val").thinned(plan.num_val), writer, plan.num_history, run.seed
    )
    samples = NavigationSamples(train, run.seed if plan.augments else None)

    def evaluate(trained: NavigationModel) -> dict[str, float]:
        return validation_metrics(trained, val, plan.params.batch_size, plan.max_new_tokens)

    objective = Objective(
        samples, navigation_losses, evaluate, begin_epoch=samples.begin_epoch, spans_ranks=True
    )
    opening = Opening(groups, lambda epoch: set(groups))
    key = _training_key(plan, data, backbone, run, parent)
    result = fit(model, objective, opening, plan.params, run, states.for_fingerprint(key))
    parents = [f"system2@{parent.digest}"] if parent else []
    lineage = {"training_key": key, **_lineage(plan, data, backbone, run, result),
               "parents": parents}  # fmt: skip
    is_last_best = result.best_weights is result.last_weights
    last = {} if is_last_best else result.last_weights
    return Checkpoint(result.best_weights, plan.spec, lineage, last), pd.DataFrame(result.history)


def train_further(
    data: NavigationData,
    backbone: Backbone,
    parent: Checkpoint,
    max_steps: int,
    run: RunParams,
    states: TrainingStateFolder,
) -> tuple[Checkpoint, pd.DataFrame]:
    """Train System 2 alone for some more steps, with what its checkpoint says it was trained with.

    Args:
        data: Samples and frames.
        backbone: What it was trained from.
        parent: Its training so far.
        max_steps: Further steps.
        run: Seed, device, precision.
        states: Where states of the training go.

    Returns:
        As ``train_system2``.
    """
    spec, lineage = parent.spec, parent.lineage
    params = StageParams.model_validate(lineage["params"])
    plan = System2Plan(
        params.model_copy(update={"max_steps": max_steps}),
        spec["tuned"],
        FrameStyle(**spec["style"]),
        spec["num_history"],
        lineage["augments"],
        lineage["num_val"],
        spec["max_new_tokens"],
    )
    return train_system2(plan, data, backbone, run, states, parent)


def build_system2(
    backbone: Backbone, spec: Mapping[str, Any], run: RunParams
) -> tuple[NavigationModel, dict[str, list[str]]]:
    """Load a backbone to train some of its parts.

    Returns:
        The model on the run's device, and the names of its trainable parameters by part.

    Raises:
        ValueError: If no part, or an unknown one, is to train.
    """
    unknown = sorted(set(spec["tuned"]) - set(PARTS))
    if unknown or not spec["tuned"]:
        raise ValueError(f"tuned must name some of {PARTS}, got {list(spec['tuned'])}.")
    device = prepare_device(run)
    torch.manual_seed(run.seed)
    # In float32 whatever the run's precision: bf16 loses updates smaller than 1/256 of a weight.
    loaded = backbone.load(str(device), dtype="float32")
    model = NavigationModel(loaded, run.gradient_checkpointing).to(device)
    parts = parameters_by_part(model)
    return model, {part: parts[part] for part in PARTS if part in spec["tuned"]}


def restore_system2(
    backbone: Backbone, checkpoint: Checkpoint | None, run: RunParams
) -> NavigationModel:
    """Build a checkpoint's model, or the untrained backbone without one; frozen, to be read from.

    Raises:
        CheckpointMismatchError: If names or shapes differ.
    """
    device = prepare_device(run)
    loaded = backbone.load(str(device), dtype="float32")
    model = NavigationModel(loaded).to(device).eval()
    if checkpoint is not None:
        put_weights(model, backbone, checkpoint)
    return model


def put_weights(model: NavigationModel, backbone: Backbone, checkpoint: Checkpoint) -> None:
    """Copy a checkpoint's weights into the model of its backbone, in place.

    Raises:
        CheckpointMismatchError: If names or shapes differ.
    """
    parts = parameters_by_part(model)
    wanted = {name for part in checkpoint.spec["tuned"] for name in parts[part]}
    own = dict(model.named_parameters())
    differing = sorted(wanted ^ set(checkpoint.weights)) or [
        name for name in sorted(wanted) if own[name].shape != checkpoint.weights[name].shape
    ]
    if differing:
        raise CheckpointMismatchError(
            f"The checkpoint of System 2 does not fit {backbone.name}: {len(differing)} tensors "
            f"differ, the first are {differing[:3]}. Take the backbone it was trained on."
        )
    with torch.no_grad():
        for name, tensor in checkpoint.weights.items():
            own[name].copy_(tensor)


def _training_key(
    plan: System2Plan,
    data: NavigationData,
    backbone: Backbone,
    run: RunParams,
    parent: Checkpoint | None,
) -> str:
    """Fingerprint of all that decides the weights; a state under another key is not resumed."""
    return fingerprint(
        {
            "plan": {**plan.spec, "params": plan.params.model_dump(mode="json"),
                     "augments": plan.augments, "num_val": plan.num_val},
            "data": _digests(data),
            "backbone": backbone.digest,
            "parent": parent.digest if parent else None,
            **conditions(run, train_system2),
        }
    )  # fmt: skip


def _digests(data: NavigationData) -> dict[str, str]:
    return {
        "samples": table_digest(data.samples),
        "frames": table_digest(data.frames.drop(columns="pose").astype(str)),
    }


def _lineage(
    plan: System2Plan, data: NavigationData, backbone: Backbone, run: RunParams, result: FitResult
) -> dict[str, Any]:
    return {
        **stage_record("system2", plan.params, backbone, run, result),
        "data": _digests(data),
        "tuned": list(plan.tuned),
        "augments": plan.augments,
        "num_val": plan.num_val,
        "num_train_samples": len(data.of_split("train").samples),
    }
