"""The stage that tunes a Qwen2-VL to name the classes of a site, and its evaluation models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd
import torch

from aquatint.models.answering import LORA_TARGETS, AnsweringModel
from aquatint.models.backbone import Backbone
from aquatint.models.low_rank import inject_lora
from aquatint.params import RunParams, StageParams
from aquatint.training.answering_inference import Decoding, predict
from aquatint.training.answering_losses import AnswerLosses
from aquatint.training.balance import Balance, Weighing, weigh
from aquatint.training.checkpoint import Checkpoint, CheckpointMismatchError
from aquatint.training.dialogues import AnswerSamples, Dialogues, InspectionData
from aquatint.training.fit import fit
from aquatint.training.lineage import conditions, fingerprint, stage_record, table_digest
from aquatint.training.objective import FitResult, Objective, Opening
from aquatint.training.precision import prepare_device
from aquatint.training.state import TrainingStateFolder

ClassMap = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class AnsweringPlan:
    """How the stage is trained.

    Attributes:
        params: Epochs, batch size, rates.
        lora: ``r``, ``lora_alpha`` and ``lora_dropout``.
        balance: Weights and repeats.
        losses: Which loss of an answer.
        decoding: How validation answers are found.
        num_val: Most validation instances looked at after an epoch.
        has_head: Whether a linear head names the class instead of the language model.
        class_map: Type and condition of each class.
        style: What prompts tell, as arguments of ``PromptStyle``; kept for prediction.
        views: How objects are shown, as arguments of ``ViewStyle``, and the ``dtype`` of features.
    """

    params: StageParams
    lora: Mapping[str, Any]
    balance: Balance
    losses: AnswerLosses
    decoding: Decoding
    num_val: int
    has_head: bool
    class_map: ClassMap
    style: Mapping[str, Any]
    views: Mapping[str, Any]

    @property
    def spec(self) -> dict[str, Any]:
        """What rebuilds the model."""
        return {
            "lora": dict(self.lora),
            "class_map": {name: dict(entry) for name, entry in self.class_map.items()},
            "has_head": self.has_head,
            "style": dict(self.style),
            "views": dict(self.views),
            "decoding": asdict(self.decoding),
        }


def train_answering(
    plan: AnsweringPlan, data: InspectionData, run: RunParams, states: TrainingStateFolder
) -> tuple[Checkpoint, pd.DataFrame]:
    """Train low-rank weights of the language model on cached views.

    Args:
        plan: What to train and how.
        data: Tables, views and backbone.
        run: Seed, device, precision.
        states: Where states of the training go.

    Returns:
        Checkpoint at the best validation macro-F1, and the history, one row a step.
    """
    model, names = build_answering(data.backbone, plan.spec, run)
    dialogues = Dialogues(data.rows("train"), data)
    weighing = weigh(dialogues.rows, plan.balance, plan.class_map, run.seed)
    class_names = list(plan.class_map)
    class_ids = dialogues.rows["class_name"].map(class_names.index).to_numpy()
    samples = AnswerSamples(dialogues, weighing.shown, weighing.weights, class_ids)
    objective = Objective(
        samples,
        plan.losses,
        _validation(plan, data),
        sample_weights=samples.sample_weights,
        spans_ranks=True,
    )
    opening = Opening(names, lambda epoch: set(names))
    key = _training_key(plan, data, run)
    result = fit(model, objective, opening, plan.params, run, states.for_fingerprint(key))
    lineage = {"training_key": key, **_lineage(plan, data, run, result, weighing)}
    is_last_best = result.best_weights is result.last_weights
    last = {} if is_last_best else result.last_weights
    checkpoint = Checkpoint(result.best_weights, plan.spec, lineage, last)
    return checkpoint, pd.DataFrame(result.history)


def build_answering(
    backbone: Backbone, spec: Mapping[str, Any], run: RunParams
) -> tuple[AnsweringModel, dict[str, list[str]]]:
    """Build the model of a specification with fresh low-rank weights.

    Returns:
        The model on the run's device, and the names of its trainable parameters by group.

    Raises:
        ValueError: If the run's precision and the backbone's type do not go together.
    """
    if backbone.dtype not in ("float32", run.precision) and run.precision != "float32":
        raise ValueError(
            f"run.precision {run.precision} does not go with a backbone loaded in "
            f"{backbone.dtype}; make them equal, or one of them float32."
        )
    device = prepare_device(run)
    torch.manual_seed(run.seed)
    loaded = backbone.load(str(device))
    names = inject_lora(loaded, spec["lora"], LORA_TARGETS)
    num_classes = len(spec["class_map"]) if spec["has_head"] else 0
    model = AnsweringModel(loaded, num_classes, run.gradient_checkpointing).to(device)
    groups = {"lora": [f"backbone.{name}" for name in names]}
    if model.head is not None:
        groups["head"] = [f"head.{name}" for name, _ in model.head.named_parameters()]
    return model, groups


def restore_answering(backbone: Backbone, checkpoint: Checkpoint, run: RunParams) -> AnsweringModel:
    """Build a checkpoint's model and put its weights in; none may be missing or left over.

    Raises:
        CheckpointMismatchError: If the names or shapes differ.
    """
    model, groups = build_answering(backbone, checkpoint.spec, run)
    wanted = {name for names in groups.values() for name in names}
    if wanted != set(checkpoint.weights):
        differing = sorted(wanted ^ set(checkpoint.weights))
        raise CheckpointMismatchError(
            f"The checkpoint does not fit its backbone: {len(differing)} tensors differ, the first "
            f"are {differing[:3]}. Train again, or take the backbone it was trained on."
        )
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, tensor in checkpoint.weights.items():
            if parameters[name].shape != tensor.shape:
                raise CheckpointMismatchError(
                    f"{name} has shape {tuple(tensor.shape)} in the checkpoint and "
                    f"{tuple(parameters[name].shape)} in the model."
                )
            parameters[name].copy_(tensor)
    return model.eval()


def _validation(plan: AnsweringPlan, data: InspectionData) -> Any:  # noqa: ANN401 - a closure
    """Return the function that scores a model on the validation split, by macro-F1."""
    from aquatint.training.inspection_evaluation import evaluate_answers

    rows = data.rows("val")
    # Every n-th, not the first: photographs stand together.
    step = max(1, -(-len(rows) // plan.num_val))
    dialogues = Dialogues(rows.iloc[::step].reset_index(drop=True), data)
    class_names: Sequence[str] = list(plan.class_map)

    def evaluate(model: AnsweringModel) -> dict[str, float]:
        found = predict(model, dialogues, plan.decoding, class_names)
        metrics = evaluate_answers(found, data.instances, plan.class_map)
        return {
            "score": metrics["macro_f1"],
            "macro_f1": metrics["macro_f1"],
            "accuracy": metrics["accuracy"],
            "balanced_accuracy": metrics["balanced_accuracy"],
        }

    return evaluate


def _plan_values(plan: AnsweringPlan) -> dict[str, Any]:
    return {
        **{name: value for name, value in vars(plan).items() if name not in _COMPOSED},
        "params": plan.params.model_dump(mode="json"),
        "balance": asdict(plan.balance),
        "losses": asdict(plan.losses),
        # But for the batch size, which decides memory and time alone.
        "decoding": {**asdict(plan.decoding), "batch_size": None},
    }


_COMPOSED = {"params", "balance", "losses", "decoding"}


def _training_key(plan: AnsweringPlan, data: InspectionData, run: RunParams) -> str:
    """Fingerprint of all that decides the weights; a state under another key is not resumed."""
    return fingerprint(
        {
            "plan": _plan_values(plan),
            "tables": _table_digests(data),
            "views": data.views.digest,
            "backbone": [data.backbone.digest, data.backbone.dtype, data.backbone.quantization],
            **conditions(run, train_answering),
        }
    )


def _table_digests(data: InspectionData) -> dict[str, str]:
    # Lists cannot be hashed by pandas; their text can.
    tables = {"instances": data.instances, "prompts": data.prompts, "frames": data.frames}
    return {
        name: table_digest(table.astype(str)) for name, table in tables.items() if table is not None
    }


def _lineage(
    plan: AnsweringPlan,
    data: InspectionData,
    run: RunParams,
    result: FitResult,
    weighing: Weighing,
) -> dict[str, Any]:
    names = ("class_weights", "condition_weights", "loss_weights", "repeats", "loss_shares",
             "raw_shares")  # fmt: skip
    return {
        **stage_record("finetune", plan.params, data.backbone, run, result),
        "data": _table_digests(data),
        "plan": _plan_values(plan),
        "weighing": {name: getattr(weighing, name) for name in names},
        "num_samples_per_epoch": len(weighing.shown),
        "num_train_instances": len(weighing.weights),
    }
