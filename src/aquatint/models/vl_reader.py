"""What a Qwen2.5-VL makes of pictures and an instruction: hidden states of every token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from aquatint.models.qwen_vl import embed_with_images, rope_positions

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from aquatint.models.backbone import Backbone


@dataclass(frozen=True)
class ViewGrid:
    """How the tokens of one view lie.

    Attributes:
        rows: Image tokens from top to bottom.
        columns: Image tokens from left to right.
        merge_size: Patches of an image token along an edge.
    """

    rows: int
    columns: int
    merge_size: int

    @property
    def num_tokens(self) -> int:
        """Image tokens of a view."""
        return self.rows * self.columns


def view_grid(backbone: Backbone, height_px: int, width_px: int) -> ViewGrid:
    """Return the grid of image tokens of a view.

    Raises:
        ValueError: If a side is no multiple of an image token's edge.
    """
    vision = backbone.load_config().vision_config
    edge = int(vision.patch_size * vision.spatial_merge_size)
    if height_px % edge or width_px % edge:
        raise ValueError(
            f"Views must have sides that {edge} divides (patch size times merge size of "
            f"{backbone.name}), got height_px {height_px} and width_px {width_px}."
        )
    return ViewGrid(height_px // edge, width_px // edge, int(vision.spatial_merge_size))


class PromptEncoder:
    """Token ids of an instruction behind its pictures.

    Args:
        tokenizer: The backbone's tokenizer.
        marks: Tokens before, in place of and after a picture.
        num_views: Pictures of a prompt.
        grid: Grid of each.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        marks: tuple[str, str, str],
        num_views: int,
        grid: ViewGrid,
    ) -> None:
        start, image, end = (tokenizer.convert_tokens_to_ids(mark) for mark in marks)
        self._tokenizer, self.grid, self.num_views = tokenizer, grid, num_views
        self._before = [
            *self._ids("<|im_start|>user\n"),
            *[start, *[image] * grid.num_tokens, end] * num_views,
        ]
        self._after = self._ids("<|im_end|>\n<|im_start|>assistant\n")
        # The chat's own marks say nothing; the last of them has seen all.
        self._first_kept = len(self._before)
        self._pad, self._known = tokenizer.pad_token_id, dict[str, list[int]]()

    def encode(self, instruction: str) -> list[int]:
        """Ids of a prompt up to where an answer would begin."""
        if instruction not in self._known:
            body = [*self._before, *self._ids(instruction), *self._after]
            self._known[instruction] = body
        return self._known[instruction]

    def num_text_tokens(self, instruction: str) -> int:
        """Tokens of an instruction, and the prompt's last one."""
        return len(self.encode(instruction)) - len(self._before) - len(self._after) + 1

    def batch(self, instructions: Sequence[str]) -> dict[str, Tensor]:
        """Return prompts padded on the right.

        Returns:
            ``input_ids`` and ``attention_mask`` (B, T), ``grids`` (B * views, 3), and where the
            tokens of the instruction and the last one stand: ``kept`` and ``kept_is_pad`` (B, K).
        """
        ids = [self.encode(text) for text in instructions]
        width = max(map(len, ids))
        padded = torch.tensor([row + [self._pad] * (width - len(row)) for row in ids])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in ids])
        counts = [self.num_text_tokens(text) for text in instructions]
        kept = torch.zeros(len(ids), max(counts), dtype=torch.long)
        for row, (tokens, count) in enumerate(zip(ids, counts, strict=True)):
            kept[row, : count - 1] = self._first_kept + torch.arange(count - 1)
            kept[row, count - 1] = len(tokens) - 1
        kept_is_pad = torch.arange(max(counts)) >= torch.tensor(counts)[:, None]
        merge = self.grid.merge_size
        grid = torch.tensor([[1, self.grid.rows * merge, self.grid.columns * merge]])
        return {
            "input_ids": padded,
            "attention_mask": mask,
            "grids": grid.expand(len(ids) * self.num_views, 3),
            "kept": kept,
            "kept_is_pad": kept_is_pad,
        }

    def _ids(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])


def prompt_encoder(backbone: Backbone, num_views: int, grid: ViewGrid) -> PromptEncoder:
    """Return the encoder with a backbone's own tokens."""
    kind = backbone.architecture
    marks = (kind.image_start, kind.image_token, kind.image_end)
    return PromptEncoder(backbone.load_tokenizer(), marks, num_views, grid)


def read_tokens(
    backbone: PreTrainedModel,
    batch: dict[str, Any],
    features: Tensor,
    grid: ViewGrid,
    memory_grid: tuple[int, int],
    *,
    is_training: bool = False,
) -> tuple[Tensor, Tensor]:
    """Run the language model and return the last hidden states, image tokens first.

    Args:
        backbone: Qwen2-VL or Qwen2.5-VL.
        batch: What ``PromptEncoder.batch`` returned.
        features: Features of the vision tower, shape (B, V, N, D).
        grid: Grid of a view.
        memory_grid: Rows and columns that a view's tokens are averaged to.
        is_training: Whether the inputs must ask for a gradient, as checkpointed blocks need.

    Returns:
        Hidden states of V * rows * columns image tokens, then of the instruction and of the
        prompt's last token, shape (B, M, D); and where they are padding, shape (B, M).
    """
    ids, seen = batch["input_ids"], batch["attention_mask"]
    positions = rope_positions(backbone, ids, seen, batch["grids"])
    embeddings = embed_with_images(backbone, ids, features.flatten(0, 2))
    if is_training:
        embeddings = embeddings.detach().requires_grad_(True)
    hidden = backbone.model.language_model(
        inputs_embeds=embeddings, attention_mask=seen, position_ids=positions, use_cache=False
    ).last_hidden_state
    is_image = ids == backbone.config.image_token_id
    num_rows, num_views = features.shape[:2]
    image = hidden[is_image].reshape(num_rows, num_views, grid.rows, grid.columns, -1)
    image = average_grid(image, memory_grid).reshape(num_rows, -1, hidden.shape[-1])
    text_pad = batch["kept_is_pad"]
    text = hidden.gather(1, batch["kept"][..., None].expand(-1, -1, hidden.shape[-1]))
    image_pad = torch.zeros(image.shape[:2], dtype=torch.bool, device=ids.device)
    # Nothing of a padding token may be told apart, whatever stands there.
    text = text.masked_fill(text_pad[..., None], 0)
    return torch.cat([image, text], 1), torch.cat([image_pad, text_pad], 1)


def average_grid(tokens: Tensor, size: tuple[int, int]) -> Tensor:
    """Average neighbouring tokens.

    Args:
        tokens: Shape (B, V, rows, columns, D).
        size: Rows and columns of the result, none above those of the tokens.

    Returns:
        Shape (B, V, size[0], size[1], D).
    """
    if tuple(tokens.shape[2:4]) == tuple(size):
        return tokens
    flat = tokens.flatten(0, 1).permute(0, 3, 1, 2)
    pooled = F.adaptive_avg_pool2d(flat, size).permute(0, 2, 3, 1)
    return pooled.reshape(*tokens.shape[:2], *size, -1)
