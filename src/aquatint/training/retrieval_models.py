"""Build a retrieval model from its specification, and restore one from a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from aquatint.models.backbone import Backbone
from aquatint.models.dual_encoder import DualEncoder
from aquatint.models.retrieval_model import RetrievalModel, open_backbone
from aquatint.training.checkpoint import Checkpoint, CheckpointMismatchError, load_weights
from aquatint.training.retrieval_samples import CLOSED, RetrievalSources

ADAPTERS, HEADS = "adapters", "heads"
# Enough for two digits of a standard deviation, and little to read.
_STATISTICS_SAMPLES = 512
_HEAD_MODULES = ("itm_head", "bbox_head", "spatial_head")


@dataclass(frozen=True)
class RetrievalSpec:
    """What rebuilds a retrieval model; plain values that stand in the checkpoint.

    Attributes:
        heads: Keyword arguments of ``DualEncoder``.
        token_grid: Edge of the patch grid that the heads see.
        max_tokens: Longest text in tokens, its end included.
        mode: How the backbone is opened: ``none``, ``lora`` or ``full``.
        num_blocks: How many of the last blocks may open.
        lora: ``r``, ``lora_alpha`` and ``lora_dropout``.
        backbone_digest: Digest of the backbone that the weights belong to.
    """

    heads: dict[str, Any]
    token_grid: int
    max_tokens: int
    mode: Literal["none", "lora", "full"]
    num_blocks: int
    lora: dict[str, Any]
    backbone_digest: str


def build_model(
    backbone: Backbone, spec: RetrievalSpec, seed: int = 0
) -> tuple[RetrievalModel, dict[str, list[str]]]:
    """Build a retrieval model and name its trainable parameters by group.

    Args:
        backbone: Frozen pretrained model; its digest must be the specification's.
        spec: Architecture.
        seed: Decides the initial weights of heads and LoRA.

    Returns:
        The model in evaluation mode, and groups ``adapters``, ``heads``, ``block_1``, ...

    Raises:
        CheckpointMismatchError: If the specification was made for another backbone.
    """
    if spec.backbone_digest != backbone.digest:
        raise CheckpointMismatchError(
            f"The weights belong to a backbone with digest {spec.backbone_digest[:12]}, the "
            f"catalog gives {backbone.name} with {backbone.digest[:12]}. Give the backbone that "
            "the stage was trained on, or train the stage again."
        )
    # Fully opened weights train in float32: bf16 loses updates below 1/256 of a weight.
    inner = backbone.load(dtype="float32" if spec.mode == "full" else None)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        heads = DualEncoder(**spec.heads)
        blocks = open_backbone(inner, spec.mode, spec.num_blocks, spec.lora)
    mean, std = backbone.image_statistics
    model = RetrievalModel(inner, heads, image_mean=mean, image_std=std, token_grid=spec.token_grid)
    groups = _head_groups(heads)
    groups |= {name: [f"backbone.{p}" for p in names] for name, names in blocks.items()}
    return model.eval(), groups


def _head_groups(heads: DualEncoder) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {ADAPTERS: [], HEADS: []}
    for name, _ in heads.named_parameters():
        is_head = name.split(".")[0] in _HEAD_MODULES
        groups[HEADS if is_head else ADAPTERS].append(f"heads.{name}")
    return groups


def restore_model(backbone: Backbone, checkpoint: Checkpoint) -> RetrievalModel:
    """Rebuild the model of a checkpoint with exactly its weights.

    Raises:
        CheckpointMismatchError: If a tensor is missing, left over or misshapen.
    """
    model, groups = build_model(backbone, RetrievalSpec(**checkpoint.spec))
    trained = {name for names in groups.values() for name in names}
    trained |= {f"heads.{name}" for name, _ in model.heads.named_buffers()}
    fixed = {n: t for n, t in model.state_dict().items() if n not in trained}
    overlap = sorted(set(fixed) & set(checkpoint.weights))
    if overlap:
        raise CheckpointMismatchError(
            f"The checkpoint holds {len(overlap)} tensors that its stage never trains, the first "
            f"is {overlap[0]}."
        )
    load_weights(model, {**fixed, **checkpoint.weights}, "The checkpoint")
    return model


def fit_scalers(
    heads: DualEncoder, sources: RetrievalSources, num_images: int, num_texts: int
) -> None:
    """Set the statistics of the frozen features from an even sample of the training split."""
    rows = [
        np.unique(np.linspace(0, total - 1, _STATISTICS_SAMPLES).astype(np.int64))
        for total in (num_images, num_texts)
    ]
    inputs = sources.inputs(rows[0], rows[1], CLOSED)
    heads.vision_scaler.fit(inputs["image_tokens"].flatten(0, 1))
    heads.text_scaler.fit(inputs["text_tokens"][inputs["attention_mask"].bool()])
