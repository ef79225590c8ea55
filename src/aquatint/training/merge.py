"""Fold trained LoRA weights into a backbone, with proof that nothing else changed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from aquatint.models.backbone import Backbone
from aquatint.models.low_rank import merge_lora
from aquatint.training.checkpoint import Checkpoint
from aquatint.training.merged_backbone import MergedBackbone
from aquatint.training.retrieval_models import restore_model

if TYPE_CHECKING:
    from transformers import InternVLForConditionalGeneration, PreTrainedModel

logger = logging.getLogger(__name__)

_MAX_DIFFERENCE = 1e-4


class MergeError(RuntimeError):
    """A merged backbone does not compute what the unmerged one does."""


def merge_checkpoint(backbone: Backbone, checkpoint: Checkpoint) -> MergedBackbone:
    """Merge a checkpoint's LoRA weights into its backbone, in float32.

    A checkpoint with fully trained blocks has nothing to fold; its weights take the places of the
    backbone's.

    Args:
        backbone: The backbone that the checkpoint was trained on.
        checkpoint: Checkpoint of a retrieval stage.

    Raises:
        MergeError: If a hidden state moves by more than 1e-4 times the largest one (at least 1).
    """
    inner = restore_model(_in_float32(backbone), checkpoint).backbone
    return merge_backbone(backbone, inner, checkpoint, _probe)


def merge_backbone(
    backbone: Backbone,
    inner: PreTrainedModel,
    checkpoint: Checkpoint,
    probe: Callable[[Any], list[torch.Tensor]],
) -> MergedBackbone:
    """Merge the LoRA weights of a restored model, and prove that its outputs stay.

    Args:
        backbone: The backbone that the checkpoint was trained on.
        inner: That backbone with the checkpoint's weights in it, in float32; merged in place.
        checkpoint: Where they come from.
        probe: Outputs of a model on fixed input.

    Raises:
        MergeError: If an output moves by more than 1e-4 times the largest one (at least 1).
    """
    before = probe(inner)
    merged = merge_lora(inner)
    lineage = describe_merge(before, probe(merged), backbone, checkpoint)
    weights = {name: tensor.detach().clone() for name, tensor in merged.state_dict().items()}
    return MergedBackbone(backbone, weights, lineage)


def describe_merge(
    before: Sequence[torch.Tensor],
    after: Sequence[torch.Tensor],
    backbone: Backbone,
    checkpoint: Checkpoint,
) -> dict[str, Any]:
    """Compare outputs of the unmerged and the merged model; return a merge's lineage.

    Args:
        before: Outputs of the unmerged model on fixed input.
        after: Outputs of the merged one on the same.
        backbone: What was merged into.
        checkpoint: What was merged.

    Raises:
        MergeError: If an output moves by more than 1e-4 times the largest one (at least 1).
    """
    difference = max(
        float((old - new).abs().max() / old.abs().max().clamp(min=1))
        for old, new in zip(before, after, strict=True)
    )
    if difference > _MAX_DIFFERENCE:
        raise MergeError(
            f"Merged and unmerged outputs may differ by {_MAX_DIFFERENCE:g}, they differ by "
            f"{difference:g}. The merge was not saved."
        )
    logger.info("Merged; largest difference of an output %.1e.", difference)
    return {
        "checkpoint": {"digest": checkpoint.digest, "version": checkpoint.lineage.get("version")},
        "parent": {"name": backbone.name, "digest": backbone.digest},
        "max_difference": difference,
    }


def _in_float32(backbone: Backbone) -> Backbone:
    return Backbone(backbone.folder, backbone.digest, backbone.name, "float32")


@torch.inference_mode()
def _probe(model: InternVLForConditionalGeneration) -> list[torch.Tensor]:
    """Hidden states of both towers on fixed pseudo-random input."""
    generator = torch.Generator().manual_seed(0)
    size = model.config.vision_config.image_size
    edge = size if isinstance(size, int) else size[0]
    images = torch.randn(2, 3, edge, edge, generator=generator)
    ids = torch.randint(0, model.config.text_config.vocab_size, (2, 16), generator=generator)
    return [
        model.model.vision_tower(pixel_values=images).last_hidden_state,
        model.model.language_model(input_ids=ids).last_hidden_state,
    ]
