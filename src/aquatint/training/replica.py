"""A model as DDP or FSDP2 needs it: whatever uses its weights happens inside one forward."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeVar

import torch
from torch import nn

from aquatint.collective import num_ranks, sum_over_ranks

T = TypeVar("T")


class Replica(nn.Module):
    """A model on this rank, in step with its copies or shards on the others.

    Gradients of what ``call`` returns are averaged over ranks in the backward pass.

    Args:
        model: Module that trains in place; with ``fsdp2`` its parameters become shards.
        parallelism: ``ddp`` keeps the whole model on each rank, ``fsdp2`` a part of each tensor.
    """

    def __init__(self, model: nn.Module, parallelism: Literal["ddp", "fsdp2"]) -> None:
        super().__init__()
        self.model = model
        self._parallelism = parallelism if num_ranks() > 1 else "none"
        # In a list, so that DDP's wrapper does not become a part of what it wraps.
        self._wrapped: list[nn.Module] = [self]
        if self._parallelism == "fsdp2":
            _shard(self)

    def open(self) -> None:
        """Take note that other parameters train from now on."""
        if self._parallelism == "ddp":
            # Wrapped anew: DDP reduces what required gradients when it was made. Searched for
            # unused parameters, because only then do its buckets keep their first order, and
            # sums stay the same, bit for bit, whether or not a training was resumed.
            self._wrapped = [
                nn.parallel.DistributedDataParallel(
                    self, broadcast_buffers=False, find_unused_parameters=True
                )
            ]

    def call(self, function: Callable[..., T], *arguments: Any) -> T:  # noqa: ANN401
        """Return ``function(model, *arguments)`` with whole weights and gradients in step."""
        return self._wrapped[0](function, *arguments)

    def accumulate(self, is_last: bool) -> contextlib.AbstractContextManager[None]:
        """Context of one micro-batch: copies exchange gradients after the last one of a step."""
        wrapped = self._wrapped[0]
        if is_last or not isinstance(wrapped, nn.parallel.DistributedDataParallel):
            return contextlib.nullcontext()
        return wrapped.no_sync()

    def forward(self, function: Callable[..., T], *arguments: Any) -> T:  # noqa: ANN401
        """Return ``function(model, *arguments)``."""
        return function(self.model, *arguments)


def _shard(replica: Replica) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    device = next(replica.model.parameters()).device
    mesh = init_device_mesh(device.type, (num_ranks(),))
    for block in list(_blocks(replica.model)):
        fully_shard(block, mesh=mesh)
    # FSDP2 takes no tensor without a dimension; such a one is a copy on each rank, as in DDP.
    scalars = {p for p in replica.model.parameters() if p.ndim == 0}
    for scalar in scalars:
        scalar.requires_grad_().register_post_accumulate_grad_hook(_average)
    # Also after the forward: outside of it the parameters are always shards, and a state or a
    # digest never sees anything else.
    fully_shard(replica, mesh=mesh, reshard_after_forward=True, ignored_params=scalars)


def _average(parameter: torch.Tensor) -> None:
    # What earlier micro-batches left is equal on all ranks already, and stays as it is.
    if parameter.grad is not None:
        parameter.grad = sum_over_ranks(parameter.grad) / num_ranks()


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    """Transformer blocks: the members of a model's outermost lists of modules."""
    for child in module.children():
        if isinstance(child, nn.ModuleList):
            yield from child
        else:
            yield from _blocks(child)
