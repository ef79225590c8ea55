"""A backbone with LoRA and the dual encoder on top, as one module that trains and is saved."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from aquatint.models.backbone import encode_image_tokens, encode_text_tokens
from aquatint.models.boundary import language_above, vision_above
from aquatint.models.dual_encoder import DualEncoder, TextEncoding
from aquatint.models.length_groups import in_length_groups
from aquatint.models.pixels import PixelNormalizer

if TYPE_CHECKING:
    from transformers import InternVLForConditionalGeneration

_PADDED = ("attention_mask", "input_ids", "text_tokens")
OpeningMode = Literal["none", "lora", "full"]
_VISION_BLOCK = r"model\.vision_tower\.encoder\.layer\.{block}\."
_TEXT_BLOCK = r"model\.language_model\.layers\.{block}\."
_VISION_LINEARS = r"(attention\.(q_proj|k_proj|v_proj|projection_layer)|mlp\.fc[12])"
_TEXT_LINEARS = r"(self_attn\.(q|k|v|o)_proj|mlp\.(gate|up|down)_proj)"


class RetrievalModel(nn.Module):
    """Frozen InternVL, its open blocks, and the heads.

    Args:
        backbone: InternVL with every parameter frozen.
        heads: Adapters, projections and task heads.
        image_mean: Channel means of the backbone's preprocessing, in [0, 1].
        image_std: Channel standard deviations.
        token_grid: Edge of the patch grid that the heads see; the tower's own grid or a divisor.
    """

    def __init__(
        self,
        backbone: InternVLForConditionalGeneration,
        heads: DualEncoder,
        *,
        image_mean: tuple[float, ...],
        image_std: tuple[float, ...],
        token_grid: int,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.heads = heads
        self.token_grid = token_grid
        # Under FSDP2 each pass is a meeting of all ranks, which need not have as many groups.
        self.groups_texts = True
        self.normalize = PixelNormalizer(image_mean, image_std)

    def encode_pixels(self, pixels: Tensor) -> Tensor:
        """Normalise images and run the vision tower.

        Args:
            pixels: Images as uint8, shape (B, S, S, 3).

        Returns:
            Class token and patch tokens on the token grid, shape (B, 1 + token_grid ** 2, D).
        """
        images = self.normalize(pixels).to(self.backbone.dtype)
        return pool_grid(encode_image_tokens(self.backbone, images), self.token_grid)

    def encode_images(self, batch: Mapping[str, Any]) -> Tensor:
        """Return tokens of the images of a batch from wherever its inputs enter the tower.

        Args:
            batch: ``pixels``; or ``image_tokens``, which are hidden states with ``depth`` blocks
                above them, or with ``depth`` 0 the finished tokens.

        Returns:
            Class token and patch tokens on the token grid, shape (B, 1 + token_grid ** 2, D).
        """
        if "pixels" in batch:
            return self.encode_pixels(batch["pixels"])
        tokens = batch["image_tokens"]
        if batch["depth"] == 0:
            return tokens
        tower = self.backbone.model.vision_tower
        hidden = vision_above(tower, tokens.to(self.backbone.dtype), batch["depth"])
        return pool_grid(hidden, self.token_grid)

    def encode_texts(self, batch: Mapping[str, Any]) -> Tensor:
        """Return hidden states of the texts of a batch, shape (M, T, D).

        Args:
            batch: ``input_ids``, or ``text_tokens`` with ``depth`` as in ``encode_images``; padded
                on the right.
        """
        if "input_ids" in batch:
            return encode_text_tokens(self.backbone, batch["input_ids"])
        tokens = batch["text_tokens"]
        if batch["depth"] == 0:
            return tokens
        model = self.backbone.model.language_model
        return language_above(model, tokens.to(self.backbone.dtype), None, batch["depth"])

    def embed_texts(self, batch: Mapping[str, Any]) -> TextEncoding:
        """Encode, adapt, pool and project the texts of a batch.

        Args:
            batch: As for ``encode_texts``, with ``attention_mask`` (M, T) and, for those of like
                length to be encoded together, ``text_lengths`` (M,) as an array.
        """
        if "text_lengths" not in batch or not self.groups_texts:
            return self._embed_group(batch)

        def encode(group: Tensor, width: int) -> TextEncoding:
            rows = group.to(batch["attention_mask"].device)
            padded = {n: batch[n][rows, :width] for n in _PADDED if n in batch}
            return self._embed_group({**batch, **padded})

        return TextEncoding(*in_length_groups(batch["text_lengths"], encode))

    def _embed_group(self, batch: Mapping[str, Any]) -> TextEncoding:
        dtype = self.heads.image_projection.weight.dtype
        return self.heads.encode_text(self.encode_texts(batch).to(dtype), batch["attention_mask"])


def pool_grid(tokens: Tensor, token_grid: int) -> Tensor:
    """Average patch tokens over squares; (B, 1 + G * G, D) -> (B, 1 + token_grid ** 2, D).

    Raises:
        ValueError: If ``token_grid`` does not divide the grid of ``tokens``.
    """
    grid = round((tokens.shape[1] - 1) ** 0.5)
    if grid % token_grid:
        raise ValueError(f"token_grid {token_grid} does not divide the patch grid {grid}.")
    if grid == token_grid:
        return tokens
    maps = tokens[:, 1:].transpose(1, 2).reshape(len(tokens), -1, grid, grid)
    pooled = nn.functional.avg_pool2d(maps, grid // token_grid).flatten(2).transpose(1, 2)
    return torch.cat([tokens[:, :1], pooled], dim=1)


def open_backbone(
    backbone: InternVLForConditionalGeneration,
    mode: OpeningMode,
    num_blocks: int,
    lora: Mapping[str, Any],
) -> dict[str, list[str]]:
    """Prepare the last blocks of both towers for training and name their parameters.

    Args:
        backbone: InternVL; with ``lora``, low-rank weights are put into it in place.
        mode: ``none`` opens nothing, ``lora`` adds low-rank weights, ``full`` opens all weights.
        num_blocks: How many of the last blocks of each tower may open.
        lora: ``r``, ``lora_alpha`` and ``lora_dropout`` of ``peft.LoraConfig``.

    Returns:
        Parameter names within ``backbone`` by group: ``block_1`` for the last block of each tower,
        ``block_2`` for the one before it, and so on.

    Raises:
        ValueError: If a tower has fewer blocks than ``num_blocks``.
    """
    if mode == "none":
        return {}
    totals = (
        backbone.config.vision_config.num_hidden_layers,
        backbone.config.text_config.num_hidden_layers,
    )
    if num_blocks > min(totals):
        raise ValueError(
            f"Cannot open {num_blocks} blocks: the vision tower has {totals[0]}, the language "
            f"model {totals[1]}."
        )
    if mode == "lora":
        _inject_lora(backbone, num_blocks, totals, lora)
    groups = {}
    for depth in range(1, num_blocks + 1):
        pattern = re.compile(_blocks_pattern([depth], totals))
        groups[f"block_{depth}"] = [
            name
            for name, _ in backbone.named_parameters()
            if pattern.match(name) and (mode == "full" or "lora_" in name)
        ]
    return groups


def _blocks_pattern(depths: list[int], totals: tuple[int, int]) -> str:
    """Regex of the blocks at these depths (1 is the last) of vision tower and language model."""
    vision = "|".join(_VISION_BLOCK.format(block=totals[0] - depth) for depth in depths)
    text = "|".join(_TEXT_BLOCK.format(block=totals[1] - depth) for depth in depths)
    return f"({vision}|{text})"


def _inject_lora(
    backbone: InternVLForConditionalGeneration,
    num_blocks: int,
    totals: tuple[int, int],
    lora: Mapping[str, Any],
) -> None:
    from aquatint.models.low_rank import inject_lora

    blocks = _blocks_pattern(list(range(1, num_blocks + 1)), totals)
    inject_lora(backbone, lora, f"{blocks}({_VISION_LINEARS}|{_TEXT_LINEARS})")
