"""A frozen System 2 that is read by latent queries, and the System 1 that they guide."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from aquatint.models.navigator import NavigationModel
from aquatint.models.qwen_vl import embed_with_images, rope_positions
from aquatint.models.system1 import System1

if TYPE_CHECKING:
    from collections.abc import Mapping

    from transformers import DynamicCache, PreTrainedModel


class _AllRemembered(Exception):
    """Every block's keys and values are there."""


class Memory(NamedTuple):
    """What a frozen language model keeps of dialogues: all that later tokens can see of them.

    Attributes:
        values: Keys and values of every block, shape (B, L, 2, G, T, E).
        lengths: Tokens of each dialogue, shape (B,).
        places: Position of the next token in the numbering of M-RoPE, shape (B,).
    """

    values: Tensor
    lengths: Tensor
    places: Tensor


@torch.inference_mode()
def remember(model: NavigationModel, batch: Mapping[str, Tensor]) -> Memory:
    """Run a frozen System 2 over whole dialogues, answers included.

    Args:
        model: System 2.
        batch: As ``DialogueWriter.write`` gives it.
    """
    backbone = model.backbone
    ids, seen = batch["input_ids"], batch["attention_mask"]
    positions = rope_positions(backbone, ids, seen, batch["grids"])
    features = batch["features"] if "features" in batch else model.see(batch)
    cache: DynamicCache = _ending_cache()(config=backbone.config.text_config)
    with contextlib.suppress(_AllRemembered):
        # Without a mask: padding stands at the end, where a causal model cannot see it.
        backbone.model.language_model(
            inputs_embeds=embed_with_images(backbone, ids, features),
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
        )
    values = torch.stack(
        [torch.stack([layer.keys, layer.values], 1) for layer in cache.layers], 1
    ).masked_fill(~seen.bool()[:, None, None, None, :, None], 0.0)
    places = torch.where(seen.bool(), positions.amax(0), -1).amax(1) + 1
    return Memory(values, seen.sum(1), places)


@functools.cache
def _ending_cache() -> type[DynamicCache]:
    """A cache that ends the pass as soon as it is full.

    Behind its keys and values the last block computes what only a next token would be read from; of
    a model of three blocks that is about a sixth of the pass (``bench_navigation.py``).
    """
    from transformers import DynamicCache

    class EndingCache(DynamicCache):
        def update(
            self, key_states: Tensor, value_states: Tensor, layer_idx: int, *rest: object
        ) -> tuple[Tensor, Tensor]:
            found = super().update(key_states, value_states, layer_idx, *rest)
            if layer_idx == len(self.layers) - 1:
                raise _AllRemembered
            return found

    return EndingCache


class DualSystem(nn.Module):
    """Latent queries behind a remembered dialogue, and a System 1 on what they find.

    Dialogues never depend on the queries, which stand behind them: with their keys and values
    remembered, only the queries run through the frozen language model, and gradients to them are
    those of the whole.

    Args:
        language_model: Of the frozen System 2.
        num_latents: Latent queries.
        system1: What they guide.
    """

    def __init__(self, language_model: PreTrainedModel, num_latents: int, system1: System1) -> None:
        super().__init__()
        self.language_model = language_model.requires_grad_(False)
        width = language_model.config.hidden_size
        self.queries = nn.Parameter(0.02 * torch.randn(1, num_latents, width))
        self.system1 = system1

    def train(self, mode: bool = True) -> DualSystem:
        """Switch System 1 alone: the frozen language model drops nothing."""
        super().train(mode)
        self.language_model.eval()
        return self

    def latents(self, memory: Memory) -> Tensor:
        """Read remembered dialogues; returns the queries' last hidden states, (B, N, D)."""
        from transformers import DynamicCache

        batch, num_latents = len(memory.lengths), self.queries.shape[1]
        cache = DynamicCache(config=self.language_model.config)
        values = memory.values.to(self.queries.dtype)
        for block in range(values.shape[1]):
            cache.update(values[:, block, 0], values[:, block, 1], block)
        steps = torch.arange(values.shape[4] + num_latents, device=values.device)
        # Own tokens come behind the padding; what is padded stays unseen.
        is_seen = (steps < memory.lengths[:, None]) | (steps >= values.shape[4])
        own = torch.arange(num_latents, device=values.device)
        positions = (memory.places[:, None] + own)[None].expand(3, -1, -1)
        return self.language_model(
            inputs_embeds=self.queries.expand(batch, -1, -1),
            attention_mask=is_seen.long(),
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state

    @property
    def trained_names(self) -> list[str]:
        """Names of all parameters but the frozen ones."""
        return [n for n, _ in self.named_parameters() if not n.startswith("language_model.")]

    def statistics(self) -> dict[str, Tensor]:
        """Statistics of latents by name: no parameters, but part of every checkpoint."""
        return {f"system1.scaler.{n}": value for n, value in self.system1.scaler.named_buffers()}
