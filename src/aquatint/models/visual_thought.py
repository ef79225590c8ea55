"""A Qwen2.5-VL that thinks in anchors: LoRA everywhere, new tokens, heads on their states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from aquatint.models.anchor_heads import (
    AnchorShape,
    MaskDecoder,
    NormAxis,
    build_head,
    decode_by_kernels,
    predict_anchor,
)
from aquatint.models.anchor_tokens import TokenRows
from aquatint.models.pixels import PixelNormalizer
from aquatint.models.qwen_vl import encode_views, rope_positions

if TYPE_CHECKING:
    from transformers import PreTrainedModel

EXCLUDED_NAMES = ("embed_tokens", "lm_head")


class VisualThoughtModel(nn.Module):
    """A backbone with its new tokens and the heads of its anchors.

    Args:
        backbone: Qwen2-VL or Qwen2.5-VL, frozen, with LoRA or not.
        rows: Rows of the new tokens.
        heads: Heads by anchor; may be empty.
        statistics: Channel means and deviations of the backbone's images.
        has_checkpointing: Whether activations of the blocks are computed again in the backward
            pass.
    """

    def __init__(
        self,
        backbone: PreTrainedModel,
        rows: TokenRows,
        heads: Mapping[str, nn.Module],
        statistics: tuple[tuple[float, ...], tuple[float, ...]],
        has_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.rows = rows
        self.heads = nn.ModuleDict(dict(heads))
        self.normalize = PixelNormalizer(*statistics)
        # Not a submodule: a frozen teacher's decoder is no part of what is saved.
        self._decoder: list[MaskDecoder] = [decode_by_kernels]
        if has_checkpointing:
            backbone.activation_checkpointing_enable({"use_reentrant": False})

    def use_mask_decoder(self, decoder: MaskDecoder) -> None:
        """Let the masks be decoded by a frozen teacher's own decoder."""
        self._decoder = [decoder]

    def read(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Run images and text.

        Args:
            batch: ``input_ids`` and ``attention_mask`` (B, T) padded on the right, ``pixels`` uint8
                (M, S, S, 3) of the images in order.

        Returns:
            Hidden states, shape (B, T, D).
        """
        ids, seen, pixels = batch["input_ids"], batch["attention_mask"], batch["pixels"]
        embeddings = self.rows.embed(self.backbone, ids)
        grids = self.grids(pixels)
        if len(pixels):
            features = encode_views(self.backbone, self.normalize(pixels)).flatten(0, 1)
            is_image = (ids == self.backbone.config.image_token_id)[..., None]
            embeddings = embeddings.masked_scatter(is_image, features.to(embeddings.dtype))
        return self.backbone.model.language_model(
            inputs_embeds=embeddings,
            attention_mask=seen,
            position_ids=rope_positions(self.backbone, ids, seen, grids),
        ).last_hidden_state

    def grids(self, pixels: Tensor) -> Tensor:
        """Grid (1, gh, gw) in patches of each image (M, S, S, 3), shape (M, 3)."""
        patch = self.backbone.config.vision_config.patch_size
        rows, columns = pixels.shape[1] // patch, pixels.shape[2] // patch
        return torch.tensor([[1, rows, columns]], device=pixels.device).expand(len(pixels), 3)

    def logits(self, states: Tensor) -> Tensor:
        """Next-token logits of chosen hidden states (N, D) in float32, shape (N, V)."""
        return self.rows.logits(self.backbone, states)

    def predict(self, name: str, states: Tensor, context: Tensor) -> Tensor:
        """Run an anchor's head on the states of its tokens, shape (B, n, D)."""
        return predict_anchor(name, self.heads[name], states, context, self._decoder[0])


def lora_targets(backbone: PreTrainedModel, excluded: Sequence[str]) -> list[str]:
    """Names of all linears of language model and vision tower, but for excluded words.

    Args:
        backbone: Qwen2-VL or Qwen2.5-VL without LoRA.
        excluded: A linear with one of these in its name is left out.
    """
    towers = ("model.visual.", "model.language_model.")
    return [
        name
        for name, module in backbone.named_modules()
        if isinstance(module, nn.Linear)
        and name.startswith(towers)
        and not any(word in name for word in (*EXCLUDED_NAMES, *excluded))
    ]


def build_heads(
    width: int,
    num_tokens: Mapping[str, int],
    shapes: Mapping[str, AnchorShape],
    axis: NormAxis = "features",
) -> dict[str, Any]:
    """Build the heads of all anchors of a format."""
    return {
        name: build_head(width, count, shapes[name], axis) for name, count in num_tokens.items()
    }
