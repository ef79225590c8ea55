"""What a tuned model leaves for others: LoRA weights as peft reads them, and a merged backbone."""

from __future__ import annotations

import logging
from typing import Any

import torch

from aquatint.models.answering import LORA_TARGETS
from aquatint.models.backbone import Backbone
from aquatint.params import RunParams
from aquatint.training.answering_stage import restore_answering
from aquatint.training.checkpoint import Checkpoint
from aquatint.training.lora_adapter import LoraAdapter
from aquatint.training.merge import MergedBackbone, merge_backbone

logger = logging.getLogger(__name__)

_PEFT_PREFIX, _OUR_PREFIX = "base_model.model.", "backbone."
_PROBE_TOKENS = 24


def export_adapter(backbone: Backbone, checkpoint: Checkpoint) -> LoraAdapter:
    """Rename a checkpoint's low-rank weights as ``PeftModel.from_pretrained`` wants them.

    Raises:
        ValueError: If the checkpoint has none.
    """
    weights = {
        _PEFT_PREFIX + name.removeprefix(_OUR_PREFIX).replace(".default", ""): tensor
        for name, tensor in checkpoint.weights.items()
        if "lora_" in name
    }
    if not weights:
        raise ValueError("The checkpoint has no LoRA weights to export.")
    return LoraAdapter(
        {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()},
        dict(checkpoint.spec["lora"]),
        LORA_TARGETS,
        backbone.folder,
        {"checkpoint": checkpoint.digest, "backbone": backbone.digest},
    )


def merge_answering(backbone: Backbone, checkpoint: Checkpoint, run: RunParams) -> MergedBackbone:
    """Fold a checkpoint's LoRA weights into its backbone, in float32, with proof.

    Raises:
        MergeError: If logits move by more than 1e-4 times the largest one (at least 1).
    """
    if checkpoint.spec["has_head"]:
        logger.warning("A merged backbone has no place for the linear head; the checkpoint has it.")
    plain = Backbone(backbone.folder, backbone.digest, backbone.name, "float32")
    on_cpu = run.model_copy(update={"device": "cpu"})
    model = restore_answering(plain, checkpoint, on_cpu)
    return merge_backbone(backbone, model.backbone, checkpoint, probe_logits)


@torch.inference_mode()
def probe_logits(model: Any) -> list[torch.Tensor]:  # noqa: ANN401 - PreTrainedModel
    """Logits on fixed pseudo-random text."""
    generator = torch.Generator().manual_seed(0)
    vocab = model.config.text_config.vocab_size
    ids = torch.randint(0, vocab, (2, _PROBE_TOKENS), generator=generator)
    # Not through the whole model: a random id may be that of an image.
    return [model.lm_head(model.model.language_model(input_ids=ids).last_hidden_state)]
