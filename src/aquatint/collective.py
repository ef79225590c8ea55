"""What the ranks of one training do together; in a run of one process each is the identity."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.distributed import ProcessGroup

# Beside the default group: DDP reduces in that one while a backward pass gathers in this one, and
# two ranks may reach the two in different order.
_groups: list[ProcessGroup] = []


@dataclass(frozen=True)
class Share:
    """The part of a batch that one rank computes.

    Attributes:
        rows: Slice of the batch. A rank that is left without any takes the first row as a
            stand-in: DDP and FSDP2 need all ranks in every step.
        is_counted: False for a stand-in, which adds nothing to any sum.
    """

    rows: slice
    is_counted: bool


def join_ranks(device: torch.device) -> None:
    """Meet the other ranks that ``torch.distributed.run`` has started."""
    import torch.distributed as dist

    # CPU tensors go through gloo on GPUs too: flags, counts and random states are no GPU's work.
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    _groups.append(dist.new_group())


def leave_ranks() -> None:
    """Part from the other ranks."""
    import torch.distributed as dist

    _groups.clear()
    dist.destroy_process_group()


def num_ranks() -> int:
    """Processes that work on this training, on all hosts."""
    import torch.distributed as dist

    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Number of this process, counted from 0."""
    import torch.distributed as dist

    return dist.get_rank() if dist.is_initialized() else 0


def is_first() -> bool:
    """Whether this is the process that writes files and speaks."""
    return rank() == 0


def hides_bars() -> bool | None:
    """For tqdm's ``disable``: only the first rank shows progress, and only on a terminal."""
    return None if is_first() else True


def share_rows(count: int) -> slice:
    """This rank's contiguous share of ``count`` rows; shares differ by one row at most."""
    return slice(count * rank() // num_ranks(), count * (rank() + 1) // num_ranks())


def share_batch(count: int) -> Share:
    """This rank's share of a batch of ``count`` samples, or a stand-in for it."""
    rows = share_rows(count)
    return Share(rows, True) if rows.stop > rows.start else Share(slice(0, 1), False)


def barrier() -> None:
    """Wait for all ranks."""
    import torch.distributed as dist

    if num_ranks() > 1:
        dist.barrier(group=_groups[0])


def gather_json(value: Any) -> list[Any]:  # noqa: ANN401 - any JSON value
    """Return the value of every rank, in the order of the ranks."""
    import torch

    if num_ranks() == 1:
        return [value]
    # As bytes of JSON, because torch's own gather of objects unpickles what it receives.
    content = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
    return [json.loads(bytes(part.tolist())) for part in gather_parts(content)]


def any_rank(flags: Sequence[bool]) -> list[bool]:
    """Return for each flag whether it is set on any rank."""
    return [any(column) for column in zip(*gather_json(list(flags)), strict=True)]


def largest(values: Sequence[float]) -> list[float]:
    """Return the largest of each value over all ranks."""
    columns = zip(*gather_json([float(value) for value in values]), strict=True)
    return [max(column) for column in columns]


def gather_parts(tensor: Tensor, counts: Sequence[int] | None = None) -> list[Tensor]:
    """Return the tensors of all ranks, which may differ in their first dimension alone.

    Args:
        tensor: Rows of this rank.
        counts: Rows of each rank, where they are known; else they are asked for first.
    """
    import torch
    import torch.distributed as dist

    if num_ranks() == 1:
        return [tensor]

    if counts is None:
        # On the CPU: a GPU would have to be waited for.
        lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(num_ranks())]
        dist.all_gather(lengths, torch.tensor([len(tensor)]), group=_groups[0])
        counts = [int(length) for length in lengths]
    padded = tensor.new_zeros(max(counts), *tensor.shape[1:])
    padded[: len(tensor)] = tensor
    # As bytes: gloo does not know every type, and nothing is computed here.
    parts = [torch.empty_like(padded).flatten().view(torch.uint8) for _ in counts]
    dist.all_gather(parts, padded.flatten().view(torch.uint8), group=_groups[0])
    rows = [part.view(tensor.dtype).view(padded.shape) for part in parts]
    return [part[:count] for part, count in zip(rows, counts, strict=True)]


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """Return the sum over ranks, without gradients."""
    import torch.distributed as dist

    total = tensor.detach().clone()
    if num_ranks() > 1:
        dist.all_reduce(total, group=_groups[0])
    return total


def from_first(tensor: Tensor) -> Tensor:
    """Return the first rank's tensor of this shape and type."""
    import torch.distributed as dist

    if num_ranks() > 1:
        dist.broadcast(tensor, 0, group=_groups[0])
    return tensor


def weigh(mean: Tensor, count: float) -> Tensor:
    """Scale a mean over this rank's items so that the mean over ranks is that over all items.

    The one place that knows how unequal shares are averaged: DDP and FSDP2 give every rank's
    gradient the same weight.

    Args:
        mean: Mean over ``count`` items of this rank, shape ().
        count: Items of this rank, or the sum of their weights; 0 for a stand-in.
    """
    if num_ranks() == 1:
        return mean
    total = sum(gather_json(count))
    return mean * (count * num_ranks() / (total or 1))


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor that FSDP2 has sharded as a whole; all ranks must call this together."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def local(tensor: Tensor) -> Tensor:
    """Return this rank's shard of a tensor that FSDP2 has sharded; another one as it is."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def shard_like(tensor: Tensor, sharded: Tensor) -> Tensor:
    """Return this rank's shard of a whole ``tensor``, laid out as ``sharded`` is."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(sharded, DTensor):
        return tensor.to(sharded.device)
    # Each rank has the whole tensor from the same file: nothing needs to be sent.
    return distribute_tensor(
        tensor.to(sharded.device), sharded.device_mesh, sharded.placements, src_data_rank=None
    )
