"""Trainings of visual thoughts: understanding first, then the other three stages in one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd
import torch

from aquatint.models.anchor_heads import NormAxis, shapes_from
from aquatint.models.anchor_tokens import TokenRows
from aquatint.models.backbone import Backbone
from aquatint.models.low_rank import inject_lora
from aquatint.models.teacher_source import TeacherSource
from aquatint.models.teachers import mask_decoder_of
from aquatint.models.visual_thought import VisualThoughtModel, build_heads, lora_targets
from aquatint.params import RunParams, StageParams
from aquatint.training.checkpoint import Checkpoint, CheckpointMismatchError
from aquatint.training.covt_curriculum import Curriculum
from aquatint.training.covt_losses import ThoughtLosses
from aquatint.training.covt_samples import (
    SampleRules,
    ThoughtData,
    ThoughtEncoder,
    ThoughtSamples,
    style_from,
)
from aquatint.training.fit import fit
from aquatint.training.lineage import conditions, fingerprint, stage_record, table_digest
from aquatint.training.objective import FitResult, Objective, Opening
from aquatint.training.precision import prepare_device
from aquatint.training.state import TrainingStateFolder

LORA, ROWS, HEADS = "lora", "rows", "heads"


@dataclass(frozen=True)
class ThoughtPlan:
    """How a training goes.

    Attributes:
        stage: Name for the lineage: ``stage1``, ``stage234`` or ``text_only``.
        params: Epochs or steps, batch size, rates, weights of the terms.
        lora: ``r``, ``lora_alpha`` and ``lora_dropout``.
        num_tokens: Tokens of each anchor's span, as pairs in their order.
        curriculum: Format by optimizer step; None for plain answers and no anchors.
        image_px: Edge of the squares that the model sees.
        num_context_turns: Earlier turns shown before a question.
        sees_images: Whether images are shown.
        norm_axis: Along what projected tokens are normalised.
        answer_weight: Weight of a token of the answer behind a thought, against one of the thought.
    """

    stage: str
    params: StageParams
    lora: Mapping[str, Any]
    num_tokens: tuple[tuple[str, int], ...]
    curriculum: Curriculum | None
    image_px: int
    num_context_turns: int
    sees_images: bool
    norm_axis: NormAxis
    answer_weight: float = 1.0

    @property
    def names(self) -> list[str]:
        """Anchors, none for plain answers."""
        return [name for name, _ in self.num_tokens] if self.curriculum else []


def train_thoughts(
    plan: ThoughtPlan,
    data: ThoughtData,
    parent: Checkpoint | None,
    run: RunParams,
    states: TrainingStateFolder,
) -> tuple[Checkpoint, pd.DataFrame]:
    """Train low-rank weights, rows of new tokens and heads of anchors.

    Args:
        plan: What to train and how.
        data: Turns, images, targets and backbone; after a merge the merged one.
        parent: Checkpoint whose heads go on; None to begin with fresh ones.
        run: Seed, device, precision.
        states: Where states of the training go.

    Returns:
        Checkpoint after the last step, and the history, one row a step.
    """
    spec = _spec(plan, data)
    model, groups = build_thoughts(data.backbone, spec, run)
    if parent is not None and plan.names:
        inherit_heads(model, parent)
    style = style_from(spec["num_tokens"])
    encoder = ThoughtEncoder(data.backbone, style, plan.image_px)
    rules = SampleRules(
        plan.curriculum, plan.num_context_turns, plan.sees_images, run.seed, plan.answer_weight
    )
    anchors = data.anchors if plan.names else None
    samples = ThoughtSamples(data.of_split("train"), encoder, data.pixels, anchors, rules)
    objective = Objective(
        samples,
        ThoughtLosses(plan.names),
        begin_step=samples.begin_step,
        spans_ranks=True,
    )
    opening = Opening(groups, lambda epoch: set(groups))
    key = _training_key(plan, data, parent, run)
    result = fit(model, objective, opening, plan.params, run, states.for_fingerprint(key))
    lineage = {"training_key": key, **_lineage(plan, data, parent, run, result, len(samples))}
    return Checkpoint(result.last_weights, spec, lineage), pd.DataFrame(result.history)


def build_thoughts(
    backbone: Backbone, spec: Mapping[str, Any], run: RunParams
) -> tuple[VisualThoughtModel, dict[str, list[str]]]:
    """Build the model of a specification with fresh weights.

    Returns:
        The model on the run's device, and the names of its trainable parameters by group:
        ``lora``, ``rows`` and, with anchors, ``heads``.

    Raises:
        CheckpointMismatchError: If the new tokens have other ids than the specification says.
    """
    device = prepare_device(run)
    torch.manual_seed(run.seed)
    style = style_from(spec["num_tokens"])
    encoder = ThoughtEncoder(backbone, style, spec["image_px"])
    if encoder.added_ids[0] != spec["first_id"]:
        raise CheckpointMismatchError(
            f"The new tokens of {backbone.name} begin at {encoder.added_ids[0]}, those of the "
            f"specification at {spec['first_id']}. Take the backbone it was trained on."
        )
    loaded = backbone.load(str(device))
    rows = TokenRows(loaded, spec["first_id"], len(encoder.added_ids), run.seed)
    width = loaded.config.text_config.hidden_size
    axis = spec["norm_axis"]
    num_tokens = style.num_tokens if spec["shapes"] else {}
    heads = build_heads(width, num_tokens, shapes_from(spec["shapes"]), axis)
    # Without images nothing reaches the vision tower.
    blind = () if spec["sees_images"] else ("visual",)
    lora = inject_lora(loaded, spec["lora"], lora_targets(loaded, (*style.names, *blind)))
    model = VisualThoughtModel(
        loaded, rows, heads, backbone.image_statistics, run.gradient_checkpointing
    ).to(device)
    if "sam" in spec["shapes"]:
        source = TeacherSource(**spec["mask_teacher"])
        model.use_mask_decoder(mask_decoder_of(source, str(device)))
    groups = {LORA: [f"backbone.{name}" for name in lora]}
    groups[ROWS] = [f"rows.{name}" for name, _ in rows.named_parameters()]
    if heads:
        groups[HEADS] = [f"heads.{name}" for name, _ in model.heads.named_parameters()]
    return model, groups


def inherit_heads(model: VisualThoughtModel, parent: Checkpoint) -> None:
    """Go on with the heads of an earlier stage; none may be missing or left over.

    Raises:
        CheckpointMismatchError: If names or shapes differ.
    """
    prefix = f"{HEADS}."
    held = {n.removeprefix(prefix): w for n, w in parent.weights.items() if n.startswith(prefix)}
    _copy_into(model.heads, held, "the earlier stage's heads")


def restore_thoughts(
    backbone: Backbone, checkpoint: Checkpoint, run: RunParams
) -> VisualThoughtModel:
    """Build a checkpoint's model and put its weights in; none may be missing or left over.

    Raises:
        CheckpointMismatchError: If the names or shapes differ.
    """
    model, groups = build_thoughts(backbone, checkpoint.spec, run)
    wanted = {name for names in groups.values() for name in names}
    _copy_into(model, checkpoint.weights, "the checkpoint", wanted)
    return model.eval()


def _copy_into(
    module: torch.nn.Module,
    weights: Mapping[str, torch.Tensor],
    origin: str,
    wanted: set[str] | None = None,
) -> None:
    parameters = dict(module.named_parameters())
    expected = set(parameters) if wanted is None else wanted
    differing = sorted(expected ^ set(weights)) or [
        f"{name} {tuple(weights[name].shape)} instead of {tuple(parameters[name].shape)}"
        for name in sorted(expected)
        if weights[name].shape != parameters[name].shape
    ]
    if differing:
        raise CheckpointMismatchError(
            f"{origin} does not fit: {len(differing)} tensors differ, the first are "
            f"{differing[:3]}. Train again, or take the backbone and anchors it was trained with."
        )
    with torch.no_grad():
        for name in sorted(expected):
            parameters[name].copy_(weights[name])


def _spec(plan: ThoughtPlan, data: ThoughtData) -> dict[str, Any]:
    """What rebuilds the model, as plain values."""
    style = style_from(plan.num_tokens)
    encoder = ThoughtEncoder(data.backbone, style, plan.image_px)
    anchors = data.anchors
    shapes = {name: anchors.shapes[name] for name in plan.names} if anchors else {}
    teacher = asdict(anchors.teachers["sam"]) if anchors and "sam" in shapes else {}
    if anchors:
        anchors.shape_of(plan.names)
    return {
        "lora": dict(plan.lora),
        # Pairs, not a mapping: the order of spans counts, and JSON files are sorted.
        "num_tokens": [list(pair) for pair in plan.num_tokens],
        "image_px": plan.image_px,
        "sees_images": plan.sees_images,
        "first_id": encoder.added_ids[0],
        "num_new_tokens": len(encoder.added_ids),
        "norm_axis": plan.norm_axis,
        "shapes": shapes,
        "mask_teacher": teacher,
    }


def _plan_values(plan: ThoughtPlan) -> dict[str, Any]:
    return {
        **{name: value for name, value in vars(plan).items() if name not in ("params", "lora")},
        "params": plan.params.model_dump(mode="json"),
        "lora": dict(plan.lora),
        "curriculum": asdict(plan.curriculum) if plan.curriculum else None,
    }


def _training_key(
    plan: ThoughtPlan, data: ThoughtData, parent: Checkpoint | None, run: RunParams
) -> str:
    """Fingerprint of all that decides the weights; a state under another key is not resumed."""
    return fingerprint(
        {
            "plan": _plan_values(plan),
            # Lists cannot be hashed by pandas; their text can.
            "turns": table_digest(data.turns.astype(str)),
            "pixels": data.pixels.digest,
            "anchors": data.anchors.digest if data.anchors else None,
            "parent": parent.digest if parent else None,
            "backbone": [data.backbone.digest, data.backbone.dtype, data.backbone.quantization],
            **conditions(run, train_thoughts),
        }
    )


def _lineage(
    plan: ThoughtPlan,
    data: ThoughtData,
    parent: Checkpoint | None,
    run: RunParams,
    result: FitResult,
    num_samples: int,
) -> dict[str, Any]:
    earlier = [{"stage": parent.lineage.get("stage"), "digest": parent.digest}] if parent else []
    return {
        **stage_record(plan.stage, plan.params, data.backbone, run, result),
        "parents": earlier,
        "data": {"turns": table_digest(data.turns.astype(str))},
        "plan": _plan_values(plan),
        "num_samples_per_epoch": num_samples,
    }
