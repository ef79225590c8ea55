"""Fold what stage 2 trained in the backbone into it, with proof that nothing else changed."""

from __future__ import annotations

from aquatint.models.backbone import Backbone
from aquatint.params import RunParams
from aquatint.training.answering_export import probe_logits
from aquatint.training.checkpoint import Checkpoint
from aquatint.training.merge import MergeError, merge_backbone
from aquatint.training.merged_backbone import MergedBackbone
from aquatint.training.vla_model import restore_vla


def merge_vla(backbone: Backbone, checkpoint: Checkpoint, run: RunParams) -> MergedBackbone:
    """Merge a checkpoint's LoRA weights, or put its fully trained blocks in, in float32.

    Raises:
        MergeError: If logits move by more than 1e-4 times the largest one (at least 1).
    """
    plain = Backbone(backbone.folder, backbone.digest, backbone.name, "float32")
    on_cpu = run.model_copy(update={"device": "cpu", "gradient_checkpointing": False})
    model = restore_vla(plain, checkpoint, on_cpu, is_live=True)
    if model.backbone is None:
        raise MergeError("The checkpoint's policy has no backbone to merge into.")
    return merge_backbone(backbone, model.backbone, checkpoint, probe_logits)
