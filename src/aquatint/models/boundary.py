"""Two halves of a transformer: what lies below a freezing boundary, and what lies above it.

``depth`` counts blocks from the end: at depth k the last k blocks lie above the boundary. What
crosses it is the hidden state that enters the first of them.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def vision_below(tower: PreTrainedModel, pixels: Tensor, depth: int) -> Tensor:
    """Run a vision tower up to the boundary.

    Args:
        tower: InternVL's vision tower.
        pixels: Normalised images, shape (B, 3, S, S).
        depth: Blocks above the boundary.

    Returns:
        Hidden states of class token and patches, shape (B, 1 + grid * grid, D).
    """
    hidden = tower.embeddings(pixels)
    for block in _below(tower.encoder.layer, depth):
        hidden = block(hidden)
    return hidden


def vision_above(tower: PreTrainedModel, hidden: Tensor, depth: int) -> Tensor:
    """Run a vision tower from the boundary to its end, the last norm included; same shape."""
    for block in _above(tower.encoder.layer, depth):
        hidden = block(hidden)
    return tower.layernorm(hidden)


def language_below(
    model: PreTrainedModel, attention_mask: Tensor | None, depth: int, **inputs: Tensor
) -> Tensor:
    """Run a language model up to the boundary.

    Args:
        model: Decoder with ``layers`` and ``norm``: Qwen2, and the text models of Qwen2-VL and
            Qwen2.5-VL.
        attention_mask: 1 where a token is real, shape (B, T); None where all padding is on the
            right, where no real token sees it.
        depth: Blocks above the boundary.
        inputs: ``input_ids`` (B, T) or ``inputs_embeds`` (B, T, D), and ``position_ids`` where
            they are not 0, 1, 2, ...: for M-RoPE of shape (3, B, T).

    Returns:
        Hidden states, shape (B, T, D); padding rows carry no meaning.
    """
    half = _half(model, _below(model.layers, depth), nn.Identity())
    return half(attention_mask=attention_mask, use_cache=False, **inputs).last_hidden_state


def language_above(
    model: PreTrainedModel,
    hidden: Tensor,
    attention_mask: Tensor | None,
    depth: int,
    **inputs: Tensor,
) -> Tensor:
    """Run a language model from the boundary to its end, the last norm included.

    Args:
        model: As in ``language_below``.
        hidden: What ``language_below`` returned, shape (B, T, D).
        attention_mask: The same mask, shape (B, T), or None.
        depth: The same depth.
        inputs: The same ``position_ids``, if any were given.
    """
    half = _half(model, _above(model.layers, depth), model.norm)
    return half(
        inputs_embeds=hidden, attention_mask=attention_mask, use_cache=False, **inputs
    ).last_hidden_state


def _below(blocks: nn.ModuleList, depth: int) -> nn.ModuleList:
    _check_depth(blocks, depth)
    return blocks[: len(blocks) - depth]


def _above(blocks: nn.ModuleList, depth: int) -> nn.ModuleList:
    _check_depth(blocks, depth)
    return blocks[len(blocks) - depth :]


def _check_depth(blocks: nn.ModuleList, depth: int) -> None:
    if not 0 <= depth <= len(blocks):
        raise ValueError(f"A boundary lies at depth 0 to {len(blocks)}, got {depth}.")


def _half(model: PreTrainedModel, blocks: nn.ModuleList, norm: nn.Module) -> Any:  # noqa: ANN401
    """The model with some of its blocks alone; its modules are shared, not copied."""
    kinds = set(getattr(model.config, "layer_types", None) or ())
    if len(kinds) > 1:
        # The forward looks a block's kind of attention up by its position, which a half shifts.
        raise ValueError(f"A boundary needs blocks of one kind of attention, got {sorted(kinds)}.")
    half = copy.copy(model)
    half._modules = {**model._modules, "layers": blocks, "norm": norm}
    return half
