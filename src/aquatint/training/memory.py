"""What to do when a step does not fit into the accelerator's memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from aquatint.params import RunParams

# Of the bytes that one stage-2 step keeps for its backward pass, at InternVL3-1B's widths with LoRA
# in the last two blocks: benchmarks/bench_memory.py.
_CHECKPOINTING, _HALF_BATCH, _BFLOAT16 = "-84 %", "-50 %", "-38 %"


@contextlib.contextmanager
def explained_out_of_memory(batch_size: int, run: RunParams) -> Iterator[None]:
    """Turn an out-of-memory error of the device into one that names what helps most.

    Raises:
        MemoryError: In place of the device's own error.
    """
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise MemoryError(
            f"A step with batch_size {batch_size} does not fit into the device's memory "
            f"({error}). {_advice(batch_size, run)} The last saved state is kept: the same command "
            "goes on from it wherever the change leaves the numbers as they are."
        ) from error


def _advice(batch_size: int, run: RunParams) -> str:
    ways = []
    if not run.gradient_checkpointing:
        ways.append(f"run.gradient_checkpointing=true ({_CHECKPOINTING}, same numbers, slower)")
    if batch_size > 1:
        ways.append(
            f"half the batch_size and twice the gradient_accumulation_steps ({_HALF_BATCH}, fewer "
            "negatives for ITC)"
        )
    if run.precision != "bfloat16":
        ways.append(f"run.precision=bfloat16 with a backbone in bfloat16 ({_BFLOAT16})")
    if not ways:
        return "What is left is fewer open blocks, or more processes with run.parallelism=fsdp2."
    return f"What helps most, of the memory that a step keeps: {'; '.join(ways)}."
