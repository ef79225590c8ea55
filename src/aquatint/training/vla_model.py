"""A policy with its backbone beside it, built from a specification and restored from weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from aquatint.models.answering import LORA_TARGETS
from aquatint.models.backbone import Backbone
from aquatint.models.fusion import Condition
from aquatint.models.low_rank import inject_lora
from aquatint.models.vl_reader import ViewGrid, read_tokens, view_grid
from aquatint.models.vla_policy import VlaPolicy
from aquatint.params import RunParams
from aquatint.training.checkpoint import Checkpoint, CheckpointMismatchError
from aquatint.training.precision import prepare_device

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SENSOR, EXPERT, VL = "sensor", "expert", "vl"
_PREFIXES = {SENSOR: "sensor_encoder.", EXPERT: "action_expert.", VL: "backbone."}


class VlaModel(VlaPolicy):
    """A policy that reads tokens from a cache, or has its backbone make them.

    Args:
        backbone: Qwen2.5-VL with every parameter frozen but what trains; None reads a cache.
        grid: Grid of a view's image tokens.
        memory_grid: Rows and columns of the tokens that are kept of a view.
        policy: Arguments of ``VlaPolicy``.
        has_checkpointing: Whether blocks of the backbone and the sensor encoder compute their
            activations again in the backward pass.
    """

    def __init__(
        self,
        backbone: PreTrainedModel | None,
        grid: ViewGrid,
        memory_grid: tuple[int, int],
        policy: Mapping[str, Any],
        has_checkpointing: bool = False,
    ) -> None:
        super().__init__(**policy, has_checkpointing=has_checkpointing)
        self.backbone = backbone
        self._grid, self._memory_grid = grid, memory_grid
        self._has_checkpointing = has_checkpointing
        if backbone is not None and has_checkpointing:
            # Non-reentrant: the inputs are frozen, and the other kind would then drop gradients.
            backbone.activation_checkpointing_enable({"use_reentrant": False})

    def look(self, batch: Mapping[str, Any]) -> Condition:
        """Fuse a batch, its tokens read by the backbone unless they come from a cache."""
        return self.condition(self._with_tokens(batch))

    def choose(self, batch: Mapping[str, Any]) -> Tensor:
        """Choose normalised actions (B, H, A) for a batch of either kind."""
        return self.act(self._with_tokens(batch))

    def _with_tokens(self, batch: Mapping[str, Any]) -> Mapping[str, Any]:
        if not self.sees or "tokens" in batch:
            return batch
        if self.backbone is None:
            raise ValueError("A policy without its backbone needs cached tokens.")
        tokens, is_pad = read_tokens(
            self.backbone,
            dict(batch),
            batch["features"],
            self._grid,
            self._memory_grid,
            is_training=self.training and self._has_checkpointing,
        )
        return {**batch, "tokens": tokens.float(), "token_is_pad": is_pad}


def build_vla(
    backbone: Backbone, spec: Mapping[str, Any], run: RunParams, *, is_live: bool
) -> tuple[VlaModel, dict[str, list[str]]]:
    """Build a model with fresh weights.

    Args:
        backbone: Frozen backbone.
        spec: ``policy``, ``frames`` (style) and ``opening`` of the backbone: ``mode``, ``lora``,
            ``num_blocks``.
        run: Seed and device.
        is_live: Whether the backbone stands beside the policy. One that trains always does.

    Returns:
        The model on the run's device, and the names of its trainable parameters by group.
    """
    device = prepare_device(run)
    torch.manual_seed(run.seed)
    style, opening = spec["frames"], spec["opening"]
    is_opened = opening["mode"] != "none"
    grid = view_grid(backbone, style["height_px"], style["width_px"])
    loaded, names = None, []
    if is_live or is_opened:
        loaded = backbone.load(str(device))
    # The policy first: its weights must not depend on whether a backbone is opened beside it.
    memory = (int(style["memory_grid"][0]), int(style["memory_grid"][1]))
    model = VlaModel(loaded, grid, memory, spec["policy"], run.gradient_checkpointing)
    if loaded is not None and is_opened:
        names = open_language_model(loaded, opening)
    groups = {
        group: [name for name, _ in model.named_parameters() if name.startswith(prefix)]
        for group, prefix in _PREFIXES.items()
        if group != VL
    }
    groups[VL] = [f"backbone.{name}" for name in names]
    if loaded is not None:
        loaded.requires_grad_(False)
    return model.to(device), {group: members for group, members in groups.items() if members}


def open_language_model(loaded: PreTrainedModel, opening: Mapping[str, Any]) -> list[str]:
    """Prepare the language model for training and return the names of what trains.

    Args:
        loaded: Backbone, changed in place.
        opening: ``mode`` lora (low-rank weights at q, k, v and o of every block) or full (the last
            ``num_blocks`` blocks and the norm behind them).

    Raises:
        ValueError: If there are fewer blocks than asked for.
    """
    if opening["mode"] == "lora":
        return inject_lora(loaded, opening["lora"], LORA_TARGETS)
    blocks = loaded.model.language_model.layers
    num, wanted = len(blocks), int(opening["num_blocks"])
    if not 0 < wanted <= num:
        raise ValueError(f"num_blocks must be 1 to {num}, the backbone's blocks, got {wanted}.")
    opened = tuple(f"model.language_model.layers.{i}." for i in range(num - wanted, num))
    final = "model.language_model.norm."
    return [n for n, _ in loaded.named_parameters() if n.startswith((*opened, final))]


def restore_vla(
    backbone: Backbone, checkpoint: Checkpoint, run: RunParams, *, is_live: bool
) -> VlaModel:
    """Build a checkpoint's model and put its weights in; none may be missing or left over.

    Raises:
        CheckpointMismatchError: If names or shapes differ.
    """
    model, groups = build_vla(backbone, checkpoint.spec, run, is_live=is_live)
    wanted = {n for names in groups.values() for n in names} | set(model.statistics())
    load_exactly(model, checkpoint.weights, wanted)
    return model.eval()


def load_exactly(model: VlaModel, weights: Mapping[str, Tensor], wanted: set[str]) -> None:
    """Copy ``weights`` into the tensors named ``wanted``, which must be the same ones.

    Raises:
        CheckpointMismatchError: Listing missing and unexpected names and differing shapes.
    """
    tensors = dict(model.named_parameters()) | model.statistics()
    shapes = {
        name: f"{tuple(tensor.shape)} instead of {tuple(tensors[name].shape)}"
        for name, tensor in weights.items()
        if name in wanted and tensors[name].shape != tensor.shape
    }
    missing, unexpected = sorted(wanted - set(weights)), sorted(set(weights) - wanted)
    if missing or unexpected or shapes:
        raise CheckpointMismatchError(
            f"The checkpoint does not fit its policy: {len(missing)} missing {missing[:3]}, "
            f"{len(unexpected)} unexpected {unexpected[:3]}, {len(shapes)} of another shape "
            f"{dict(list(shapes.items())[:3])}. Train the stage again, or pin a checkpoint that "
            "fits with --load-versions."
        )
    with torch.no_grad():
        for name, tensor in weights.items():
            tensors[name].copy_(tensor)
