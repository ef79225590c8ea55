"""Fold a stage of visual thoughts into its backbone: low-rank weights and rows of new tokens."""

from __future__ import annotations

from typing import Any

import torch

from aquatint.data.visual_thought_prompts import anchor_tokens
from aquatint.models.backbone import Backbone
from aquatint.models.low_rank import merge_lora
from aquatint.models.visual_thought import VisualThoughtModel
from aquatint.params import RunParams
from aquatint.training.checkpoint import Checkpoint
from aquatint.training.covt_samples import ThoughtEncoder, pad_dialogues, style_from
from aquatint.training.covt_stage import HEADS, restore_thoughts
from aquatint.training.merge import describe_merge
from aquatint.training.merged_backbone import MergedBackbone


def merge_thoughts(
    backbone: Backbone, checkpoint: Checkpoint, run: RunParams, *, with_heads: bool
) -> MergedBackbone:
    """Merge a checkpoint into its backbone in float32, with proof that the outputs stay.

    Args:
        backbone: The backbone that the checkpoint was trained on.
        checkpoint: Checkpoint of a stage.
        run: Only its seed and threads; merging is done on the CPU.
        with_heads: Whether the heads of the anchors are kept in the folder, as a file of their
            own; text needs none of them.

    Raises:
        MergeError: If a logit moves by more than 1e-4 times the largest one (at least 1).
    """
    plain = Backbone(backbone.folder, backbone.digest, backbone.name, "float32")
    on_cpu = run.model_copy(update={"device": "cpu", "gradient_checkpointing": False})
    model = restore_thoughts(plain, checkpoint, on_cpu)
    batch = _probe_batch(plain, checkpoint)
    with torch.inference_mode():
        before = model.logits(model.read(batch).flatten(0, 1))
    merged = merge_lora(model.backbone)
    model.rows.write_into(merged)
    after = plain_logits(merged, model, batch).flatten(0, 1)
    lineage = describe_merge([before], [after], backbone, checkpoint)
    lineage["probe"] = "logits of two dialogues with an image, spans and a thought in each"
    weights = {name: tensor.detach().clone() for name, tensor in merged.state_dict().items()}
    heads = {
        name.removeprefix(f"{HEADS}."): tensor
        for name, tensor in checkpoint.weights.items()
        if with_heads and name.startswith(f"{HEADS}.")
    }
    return MergedBackbone(backbone, weights, lineage, tuple(anchor_tokens()), heads)


def _probe_batch(backbone: Backbone, checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    """Two dialogues that use images and every new token."""
    style = style_from(checkpoint.spec["num_tokens"])
    size = checkpoint.spec["image_px"]
    encoder = ThoughtEncoder(backbone, style, size)
    request = f"{style.spans(style.names)}\nWhat is the depth map of the image?"
    prompts = [encoder.prompt(request, 1), encoder.prompt("\nHow many buildings are there?", 1)]
    targets = [encoder.response("two"), encoder.response(style.thought(style.names))]
    targets[1] += encoder.added_ids
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (2, size, size, 3), generator=generator, dtype=torch.uint8)
    return {**pad_dialogues(prompts, targets, encoder.pad), "pixels": pixels}


@torch.inference_mode()
def plain_logits(
    merged: Any,  # noqa: ANN401 - PreTrainedModel
    model: VisualThoughtModel,
    batch: dict[str, torch.Tensor],
) -> torch.Tensor:
    """Logits of the merged model through its own forward pass, shape (B, T, V)."""
    from aquatint.models.qwen_vl import patchify

    vision = merged.config.vision_config
    patches, grid = patchify(
        model.normalize(batch["pixels"]), vision.patch_size, vision.spatial_merge_size
    )
    types = (batch["input_ids"] == merged.config.image_token_id).int()
    return merged(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        mm_token_type_ids=types,
        pixel_values=patches,
        image_grid_thw=grid,
    ).logits.float()
