"""Proof that frozen tensors stay as they were and that trainable ones move."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from aquatint.collective import any_rank, local

if TYPE_CHECKING:
    import torch
    from torch import nn

# Numbers that are digested at once.
_NUMBERS_AT_ONCE = 2**24


class FreezingError(RuntimeError):
    """What changed in training is not what was declared trainable."""


def open_parameters(model: nn.Module, groups: Mapping[str, Iterable[str]], names: set[str]) -> None:
    """Let exactly the parameters of the named groups train.

    Args:
        model: Module whose parameters are switched.
        groups: Parameter names by group; parameters in no group stay frozen.
        names: Groups that train now.

    Raises:
        ValueError: If a group is unknown or a parameter of a group does not exist.
    """
    unknown = sorted(names - set(groups))
    if unknown:
        raise ValueError(f"Unknown parameter groups {unknown}; there are {sorted(groups)}.")
    trainable = {parameter for name in names for parameter in groups[name]}
    missing = trainable - {name for name, _ in model.named_parameters()}
    if missing:
        raise ValueError(f"The model has no parameters {sorted(missing)[:5]}.")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in trainable)


def tensor_digests(model: nn.Module) -> dict[str, int]:
    """Return a 64-bit digest of the bits of every parameter, or of this rank's shard of it."""
    return {
        name: _digest(local(parameter.detach())) for name, parameter in model.named_parameters()
    }


def _digest(tensor: torch.Tensor) -> int:
    import torch

    # Part by part: the integers of a large embedding would need twenty times its own memory.
    parts = _integers(tensor).split(_NUMBERS_AT_ONCE)
    digest = 0
    for start, part in zip(itertools.count(0, _NUMBERS_AT_ONCE), parts, strict=False):
        # A small tensor leaves some ranks with an empty shard.
        if len(part):
            digest ^= int(torch.hash_tensor(_weighted(part, start)).item())
    return digest


def _integers(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor's bits as integers of its own size, shape (N,)."""
    import torch

    integer = {2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.element_size()]
    return tensor.contiguous().view(integer).flatten()


def _weighted(integers: torch.Tensor, start: int) -> torch.Tensor:
    """Integers weighted by position: a plain xor would miss swapped elements."""
    import torch

    positions = torch.arange(start, start + len(integers), device=integers.device)
    return integers.to(torch.int64) * (2 * positions + 1)


def check_frozen(before: Mapping[str, int], model: nn.Module) -> None:
    """Check that no parameter with ``requires_grad`` off has changed since ``before``.

    Raises:
        FreezingError: Naming the frozen parameters that moved.
    """
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    moved = [name for name in _changed(before, model) if name in frozen]
    if moved:
        raise FreezingError(
            f"{len(moved)} frozen parameters changed, the first are {moved[:3]}; only parameters "
            "of the open groups may move."
        )


def check_trained(before: Mapping[str, int], model: nn.Module) -> None:
    """Check that every parameter with ``requires_grad`` on has changed since ``before``.

    Raises:
        FreezingError: Naming the trainable parameters that never moved.
    """
    changed = set(_changed(before, model))
    idle = [n for n, p in model.named_parameters() if p.requires_grad and n not in changed]
    if idle:
        raise FreezingError(
            f"{len(idle)} parameters are declared trainable but never changed, the first are "
            f"{idle[:3]}; no active loss reaches them."
        )


def _changed(before: Mapping[str, int], model: nn.Module) -> list[str]:
    """Names of the parameters that differ from ``before`` on any rank."""
    after = tensor_digests(model)
    # Of a shard alone nothing can be said: a small tensor leaves some ranks with none of it.
    flags = any_rank([after[name] != before[name] for name in after])
    return [name for name, is_changed in zip(after, flags, strict=True) if is_changed]
