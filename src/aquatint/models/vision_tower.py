"""Qwen's vision towers, with the work of transformers' that depends on nothing but sizes left out.

Same parameters under the same names, same sums. On a CPU, and wherever a batch has many small
images, most of a tower's time goes into Python between small kernels
(``benchmarks/bench_vision_tower.py``).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel


class PatchProjection(nn.Module):
    """Qwen's patch embedding as the matrix product it is, with the parameters it has.

    transformers runs a convolution whose kernel covers its whole input: the same sums, but three
    times slower forward and back on a CPU (``benchmarks/bench_vision_tower.py``).

    Args:
        proj: The convolution, whose weight and name stay.
    """

    def __init__(self, proj: nn.Conv3d) -> None:
        super().__init__()
        self.proj = proj

    def forward(self, patches: Tensor) -> Tensor:
        """Map patches (N, 3 * 2 * patch ** 2) to (N, width)."""
        weight = self.proj.weight
        return F.linear(patches.to(weight.dtype), weight.flatten(1), self.proj.bias)


class GroupedAttention(nn.Module):
    """Attention within images or windows of them, in one call for all of a length.

    transformers calls its kernel once for each image, or each window, where FlashAttention with its
    variable lengths is not installed.

    Args:
        qkv: Projection to queries, keys and values, one behind the other.
        proj: Projection of what was found.
        num_heads: Heads.
    """

    def __init__(self, qkv: nn.Linear, proj: nn.Linear, num_heads: int) -> None:
        super().__init__()
        self.qkv, self.proj = qkv, proj
        self.num_heads = num_heads

    def forward(
        self,
        hidden_states: Tensor,
        cu_seqlens: Tensor,
        position_embeddings: tuple[Tensor, Tensor],
        **_: object,
    ) -> Tensor:
        """Attend within each sequence of a row of sequences.

        Args:
            hidden_states: All tokens, shape (N, D).
            cu_seqlens: Where sequences begin, and N, shape (sequences + 1,).
            position_embeddings: Cosines and sines of rotary positions, shape (N, D / heads) each.

        Returns:
            Shape (N, D).
        """
        # Here, where only a Qwen comes: its module takes a second to import, InternVL has none.
        from transformers.models.qwen2_vl.modeling_qwen2_vl import apply_rotary_pos_emb_vision

        queries, keys, values = (
            self.qkv(hidden_states).unflatten(1, (3, self.num_heads, -1)).unbind(1)
        )
        queries, keys = apply_rotary_pos_emb_vision(queries, keys, *position_embeddings)
        groups = _groups(cu_seqlens.diff().cpu(), hidden_states.device)
        if len(groups) == 1:
            return self.proj(_attend(queries, keys, values, groups[0].length))
        parts = [
            _attend(queries[group.tokens], keys[group.tokens], values[group.tokens], group.length)
            for group in groups
        ]
        back = torch.cat([group.tokens for group in groups]).argsort()
        return self.proj(torch.cat(parts).index_select(0, back))


class _Group(NamedTuple):
    """Length of sequences, and the numbers of their tokens, one sequence behind the other."""

    length: int
    tokens: Tensor


def _groups(lengths: Tensor, device: torch.device) -> list[_Group]:
    of_token = lengths.repeat_interleave(lengths)
    return [
        _Group(length, torch.nonzero(of_token == length)[:, 0].to(device))
        for length in lengths.unique().tolist()
    ]


def _attend(queries: Tensor, keys: Tensor, values: Tensor, length: int) -> Tensor:
    """Attend within sequences of ``length`` tokens; tokens (N, heads, width) to (N, D)."""
    shown = [part.unflatten(0, (-1, length)).transpose(1, 2) for part in (queries, keys, values)]
    found = F.scaled_dot_product_attention(*shown)
    return found.transpose(1, 2).flatten(0, 1).flatten(1)


def quicken_tower(model: PreTrainedModel) -> None:
    """Put the modules of this file into a Qwen's vision tower; other models stay as they are.

    FlashAttention, where it is asked for, is left: it takes all sequences in one call itself.
    """
    visual = getattr(model.model, "visual", None)
    if visual is None:
        return
    visual.patch_embed = PatchProjection(visual.patch_embed.proj)
    if visual.config._attn_implementation == "sdpa":
        for block in visual.blocks:
            stock = block.attn
            block.attn = GroupedAttention(stock.qkv, stock.proj, stock.num_heads)


def image_features(model: PreTrainedModel, patches: Tensor, grids: Tensor) -> Tensor:
    """Run a Qwen's vision tower and its merger.

    Args:
        model: Qwen2-VL or Qwen2.5-VL.
        patches: Of all images in order, shape (P, 3 * 2 * patch ** 2).
        grids: Patches of each image as (1, rows, columns), shape (M, 3).

    Returns:
        Features in the language model's width, row by row of each image in order, shape (N, D).
    """
    visual = model.model.visual
    layout = _layout(grids.tolist(), visual.config)
    # Lengths are read in Python: on a GPU each look at them would wait for all that is under way.
    stays = {"cu_seqlens", "cu_window_seqlens"} if _is_grouped(visual) else set()
    placed = {
        name: tensor if name in stays else tensor.to(patches.device)
        for name, tensor in layout.items()
    }
    return visual(patches.to(visual.dtype), grid_thw=grids, **placed).pooler_output


def _is_grouped(visual: nn.Module) -> bool:
    return any(isinstance(module, GroupedAttention) for module in visual.modules())


class _Places(NamedTuple):
    """What a tower has to know of one image.

    Attributes:
        positions: Row and column of each patch, shape (P, 2).
        order: Numbers of merged patches, window by window; None without windows.
        windows: Patches of each window, empty without windows.
    """

    positions: Tensor
    order: Tensor | None
    windows: tuple[int, ...]


# Images of a training have few sizes, but a data set's own may have many.
@functools.lru_cache(maxsize=1024)
def _places(grid: tuple[int, ...], merge: int, patch_px: int, window_px: int | None) -> _Places:
    """Have transformers lay out one image."""
    from transformers.vision_utils import get_vision_position_ids, get_vision_window_index

    one = torch.tensor([grid])
    positions = get_vision_position_ids(one, merge)
    if window_px is None:
        return _Places(positions, None, ())
    order, ends = get_vision_window_index(one, merge, window_px, patch_px)
    return _Places(positions, order, tuple(ends.diff().tolist()))


def _layout(grids: Sequence[Sequence[int]], vision: PreTrainedConfig) -> dict[str, Tensor]:
    """What transformers would compute from all grids, by the names under which it takes it."""
    merge = vision.spatial_merge_size
    window_px = getattr(vision, "window_size", None)
    found = [_places(tuple(grid), merge, vision.patch_size, window_px) for grid in grids]
    layout = {
        "position_ids": torch.cat([places.positions for places in found]),
        "cu_seqlens": _ends([size for grid in grids for size in [grid[1] * grid[2]] * grid[0]]),
    }
    if window_px is None:
        return layout
    firsts = _ends([len(places.positions) // merge**2 for places in found])
    layout["window_index"] = torch.cat(
        [places.order + first for places, first in zip(found, firsts[:-1], strict=True)]
    )
    layout["cu_window_seqlens"] = _ends([size for places in found for size in places.windows])
    return layout


def _ends(sizes: Sequence[int]) -> Tensor:
    """0, and the sums up to each size; int32 as kernels of variable length take them."""
    return F.pad(torch.tensor(sizes).cumsum(0), (1, 0)).to(torch.int32)
