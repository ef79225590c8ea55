"""The second mode: frozen features, type and place into a small network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from aquatint.data.class_weights import inverse_frequency_weights
from aquatint.data.spatial_features import SPATIAL_FEATURES, spatial_features
from aquatint.losses.answer import class_cross_entropy, weighted_mean
from aquatint.metrics.classification import classification_metrics
from aquatint.models.spatial_mlp import SpatialMlp
from aquatint.params import RunParams, StageParams
from aquatint.training.checkpoint import Checkpoint, load_weights
from aquatint.training.dialogues import InspectionData
from aquatint.training.fit import fit
from aquatint.training.lineage import conditions, fingerprint, stage_record, table_digest
from aquatint.training.objective import Objective, Opening
from aquatint.training.state import TrainingStateFolder

_ANSWERS = {"binary": ("normal", "faulty"), "condition": ("normal", "damaged", "blocked")}
_THRESHOLDS = np.linspace(0.05, 0.95, 91)
_TEMPERATURES = np.geomspace(0.25, 8, 61)


@dataclass(frozen=True)
class SpatialPlan:
    """How the network is trained.

    Attributes:
        params: Epochs, batch size, rates.
        target: ``binary`` (normal or faulty) or ``condition``.
        hidden: Widths of both hidden layers.
        type_width: Width of a type's embedding.
        dropout: Dropout after each hidden layer.
        is_weighted: Whether answers are weighted by inverse frequency.
    """

    params: StageParams
    target: Literal["binary", "condition"]
    hidden: tuple[int, int]
    type_width: int
    dropout: float
    is_weighted: bool


class SpatialSamples:
    """Pooled features, types, spatial numbers and answers by position.

    Args:
        data: Instances and cached views.
        split: Which split.
        types: All types in order.
        answers: All answers in order.
        weights: Weight of each answer.
    """

    def __init__(
        self,
        data: InspectionData,
        split: str,
        types: list[str],
        answers: tuple[str, ...],
        weights: dict[str, float],
    ) -> None:
        self.rows = data.rows(split)
        self._features = pooled_features(data, self.rows)
        # Neighbours are those of the whole image, which lies in one split.
        self._spatial = torch.from_numpy(spatial_features(self.rows))
        self._types = torch.tensor([types.index(name) for name in self.rows["object_type"]])
        names = answer_names(self.rows, answers)
        self.targets = np.array([answers.index(name) for name in names])
        self._weights = torch.tensor([weights.get(name, 1.0) for name in names])

    def __len__(self) -> int:
        """Number of objects."""
        return len(self.rows)

    @property
    def feature_width(self) -> int:
        """Width of a view's pooled features."""
        return self._features.shape[1]

    @property
    def sample_weights(self) -> Tensor:
        """Weight of each object, shape (N,)."""
        return self._weights

    def batch(self, positions: Tensor) -> dict[str, Any]:
        """Return features (B, D), type_ids (B,), spatial (B, 9), targets and weights (B,)."""
        return {
            "features": self._features[positions],
            "type_ids": self._types[positions],
            "spatial": self._spatial[positions],
            "targets": torch.from_numpy(self.targets)[positions],
            "weights": self._weights[positions],
        }

    def identify(self, positions: Tensor) -> list[str]:
        """Return the ids of the instances."""
        return self.rows["instance_id"].iloc[positions.numpy()].tolist()


def pooled_features(data: InspectionData, rows: pd.DataFrame) -> Tensor:
    """Mean of each view's tokens, L2-normalised, shape (N, D)."""
    reader = data.views.open()
    stored = reader.read(reader.places(rows["view_key"].tolist())).astype(np.float32)
    counts = rows["num_tokens"].to_numpy()
    means = np.stack([row[:count].mean(0) for row, count in zip(stored, counts, strict=True)])
    return torch.nn.functional.normalize(torch.from_numpy(means), dim=1)


def answer_names(rows: pd.DataFrame, answers: tuple[str, ...]) -> list[str]:
    """The answer that is right for each row."""
    conditions = rows["condition"].tolist()
    if "faulty" in answers:
        return ["normal" if name == "normal" else "faulty" for name in conditions]
    return conditions


def _losses(model: SpatialMlp, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    logits = model(batch["features"], batch["type_ids"], batch["spatial"])
    return {
        "answer": weighted_mean(class_cross_entropy(logits, batch["targets"]), batch["weights"])
    }


def train_spatial(
    plan: SpatialPlan, data: InspectionData, run: RunParams, states: TrainingStateFolder
) -> tuple[Checkpoint, pd.DataFrame]:
    """Train the network; its threshold and temperature are chosen on the validation split.

    In this process, however many the run has: it takes seconds, and starting others takes longer.

    Returns:
        Checkpoint at the best validation macro-F1, and the history, one row a step.
    """
    run = run.model_copy(update={"num_processes": 1, "num_nodes": 1})
    answers = _ANSWERS[plan.target]
    types = sorted(data.instances["object_type"].unique())
    samples = SpatialSamples(data, "train", types, answers, _answer_weights(plan, data, answers))
    val = SpatialSamples(data, "val", types, answers, {})
    spec = _network_spec(plan, samples.feature_width, types, answers)
    torch.manual_seed(run.seed)
    model = SpatialMlp(**spec["network"])
    names = [name for name, _ in model.named_parameters()]

    def evaluate(trained: SpatialMlp) -> dict[str, float]:
        predicted = _logits(trained, val).argmax(1)
        metrics = classification_metrics(predicted, val.targets, answers)
        return {"score": metrics["macro_f1"], "accuracy": metrics["accuracy"]}

    key = _training_key(plan, data, run)
    objective = Objective(samples, _losses, evaluate, sample_weights=samples.sample_weights)
    opening = Opening({"mlp": names}, lambda epoch: {"mlp"})
    result = fit(model, objective, opening, plan.params, run, states.for_fingerprint(key))
    model.load_state_dict(result.best_weights, strict=True)
    spec |= choose_threshold(_logits(model.cpu(), val), val.targets)
    record = stage_record("spatial_mlp", plan.params, data.backbone, run, result)
    checkpoint = Checkpoint(result.best_weights, spec, {"training_key": key, **record})
    return checkpoint, pd.DataFrame(result.history)


def _answer_weights(
    plan: SpatialPlan, data: InspectionData, answers: tuple[str, ...]
) -> dict[str, float]:
    """Weight of each answer by its frequency in train; empty where all count alike."""
    if not plan.is_weighted:
        return {}
    counts = pd.Series(answer_names(data.rows("train"), answers)).value_counts()
    return inverse_frequency_weights({str(name): int(count) for name, count in counts.items()})


def _network_spec(
    plan: SpatialPlan, feature_width: int, types: list[str], answers: tuple[str, ...]
) -> dict[str, Any]:
    """What rebuilds the network, and what its inputs and outputs mean."""
    return {
        "network": {
            "feature_width": feature_width,
            "num_types": len(types),
            "type_width": plan.type_width,
            "num_spatial": len(SPATIAL_FEATURES),
            "hidden": list(plan.hidden),
            "num_answers": len(answers),
            "dropout": plan.dropout,
        },
        "types": types,
        "answers": list(answers),
    }


def _training_key(plan: SpatialPlan, data: InspectionData, run: RunParams) -> str:
    """Fingerprint of all that decides the weights; a state under another key is not resumed."""
    return fingerprint(
        {
            "plan": {**vars(plan), "params": plan.params.model_dump(mode="json")},
            "instances": table_digest(data.instances.astype(str)),
            "frames": table_digest(data.frames.astype(str)),
            "views": data.views.digest,
            **conditions(run, train_spatial),
        }
    )


def choose_threshold(logits: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """Choose temperature and threshold on validation logits.

    Returns:
        ``temperature`` that divides the logits for the least log-loss; ``threshold`` on the chance
        of a fault for the best balanced accuracy, 0.5 with more than two answers.
    """
    losses = [
        float(-np.log(softmax(logits / t)[np.arange(len(targets)), targets] + 1e-12).mean())
        for t in _TEMPERATURES
    ]
    temperature = float(_TEMPERATURES[int(np.argmin(losses))])
    if logits.shape[1] != 2:
        return {"temperature": temperature, "threshold": 0.5}
    chance = softmax(logits / temperature)[:, 1]
    scores = [_balanced_accuracy(chance >= limit, targets == 1) for limit in _THRESHOLDS]
    return {"temperature": temperature, "threshold": float(_THRESHOLDS[int(np.argmax(scores))])}


def _balanced_accuracy(predicted: np.ndarray, target: np.ndarray) -> float:
    sides = [float((predicted[target == side] == side).mean()) for side in (True, False)
             if (target == side).any()]  # fmt: skip
    return sum(sides) / len(sides)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities of each row, shape (N, K)."""
    values = np.exp(logits - logits.max(1, keepdims=True))
    return values / values.sum(1, keepdims=True)


@torch.inference_mode()
def _logits(model: SpatialMlp, samples: SpatialSamples) -> np.ndarray:
    model.eval()
    device = next(model.parameters()).device
    batch = {k: v.to(device) for k, v in samples.batch(torch.arange(len(samples))).items()}
    return model(batch["features"], batch["type_ids"], batch["spatial"]).float().cpu().numpy()


def predict_spatial(checkpoint: Checkpoint, data: InspectionData, split: str) -> pd.DataFrame:
    """Answer for every object of a split with a trained network.

    Returns:
        One row for each object: ids, ``target``, ``predicted``, ``confidence``,
        ``answers`` and the ``probabilities`` of each.
    """
    spec = checkpoint.spec
    answers = tuple(spec["answers"])
    samples = SpatialSamples(data, split, spec["types"], answers, {})
    model = SpatialMlp(**{**spec["network"], "hidden": tuple(spec["network"]["hidden"])})
    load_weights(model, checkpoint.weights, "The spatial_mlp checkpoint")
    chances = softmax(_logits(model, samples) / spec["temperature"])
    predicted = (
        (chances[:, 1] >= spec["threshold"]).astype(int) if len(answers) == 2 else chances.argmax(1)
    )
    kept = ["instance_id", "image_id", "source_group", "split", "object_type", "condition"]
    return samples.rows[kept].assign(
        target=[answers[i] for i in samples.targets],
        predicted=[answers[i] for i in predicted],
        confidence=chances[np.arange(len(chances)), predicted],
        answers=pd.Series([list(answers)] * len(chances), samples.rows.index),
        probabilities=chances.tolist(),
    )
