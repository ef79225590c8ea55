"""Device, threads, floating-point policy and random generators of a run."""

from __future__ import annotations

import contextlib
import ctypes
import random
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aquatint import collective
from aquatint.params import RunParams
from aquatint.processes import count_cores

if TYPE_CHECKING:
    import torch

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 2**28


def prepare_device(run: RunParams) -> torch.device:
    """Choose the device, set the thread count and seed every generator.

    The ranks of one host share its ``num_threads``; each has a device and random numbers of its
    own, the first one those of a run of one process.

    Raises:
        ValueError: If ``device`` is cuda and no CUDA device is there.
    """
    import torch

    from aquatint.training.matrix_products import multiply_by_onednn

    if run.device == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            "run.device is cuda, but torch sees no CUDA device. Install a CUDA build of torch, or "
            "give --params=run.device=cpu."
        )
    torch.set_num_threads(threads_per_rank(run))
    # A step that no small seed reaches by counting: run.seed + 1 is another run.
    seed = run.seed + 1_000_003 * collective.rank()
    random.seed(seed)
    torch.manual_seed(seed)
    is_cuda = takes_cuda(run)
    # With several threads, gradients of indexed tensors are otherwise summed in the order in which
    # threads arrive. On CUDA some kernels have no such variant, so there it is left alone.
    # ``use_deterministic_algorithms`` says the same, and loads torch's compiler to tell it.
    torch.set_deterministic_debug_mode("default" if is_cuda else "error")
    # Deterministic mode fills every new tensor with NaN, to find reads of what was never written.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if not is_cuda:
        keep_freed_blocks()
        multiply_by_onednn()
    return torch.device("cuda" if is_cuda else "cpu")


def takes_cuda(run: RunParams) -> bool:
    """Whether the run computes on a CUDA device."""
    import torch

    return run.device == "cuda" or (run.device == "auto" and torch.cuda.is_available())


def keep_freed_blocks() -> None:
    """Let glibc reuse freed tensors of up to 256 MB; with another library nothing happens.

    Above 32 MB it otherwise returns each to the kernel and gets new pages, zeroed one by one, for
    the next: normalising 16 images of 448 px took three times as long (``bench_images.py``).
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, 2 * _KEPT_BYTES)


def threads_per_rank(run: RunParams) -> int:
    """CPU threads of one process: those of the run, shared by the processes of a host."""
    return max(1, run.num_threads // run.num_processes)


def has_free_core(run: RunParams, device: torch.device) -> bool:
    """Whether a thread beside a training computes on a core that no training uses.

    Otherwise it only takes turns with the training, and Python's lock makes them expensive: a step
    of 0.20 s took 0.23 s (docs/performance.md). Beside an accelerator the training's own core is
    mostly free.
    """
    num_busy = run.nodes_at_once * run.num_processes * threads_per_rank(run)
    return device.type != "cpu" or count_cores() > num_busy


def share_on_cpu(run: RunParams, num_processes: int) -> RunParams:
    """Return the run of one stage that is shared by so many processes where it trains on CPUs.

    For a stage that everything behind it waits for, so that the other cores would have nothing to
    do. A fixed number, not that of the cores: sums depend on it. On GPUs, and where the run asks
    for more than one process by itself, the run's own number stays.
    """
    if takes_cuda(run) or run.num_ranks > 1:
        return run
    return run.model_copy(update={"num_processes": num_processes})


def check_devices(run: RunParams) -> None:
    """Check that each process of this host would get a device of its own.

    Raises:
        ValueError: If there are fewer CUDA devices than processes.
    """
    import torch

    num_devices = torch.cuda.device_count()
    if run.device == "cpu" or (run.device == "auto" and not num_devices):
        return
    if run.num_processes > num_devices:
        raise ValueError(
            f"run.num_processes {run.num_processes} needs as many CUDA devices, torch sees "
            f"{num_devices}. Give --params=run.num_processes={max(1, num_devices)}, or "
            "run.device=cpu."
        )


def autocast(device: torch.device, run: RunParams) -> contextlib.AbstractContextManager[object]:
    """Run the forward pass in the run's precision; weights and losses stay in float32."""
    import torch

    if run.precision == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=getattr(torch, run.precision))


def to_device(batch: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """Return a batch with its tensors on ``device``; other values are passed on."""
    return {
        name: value.to(device, non_blocking=True) if hasattr(value, "to") else value
        for name, value in batch.items()
    }


def reset_peak_memory(device: torch.device) -> None:
    """Start a new measurement of peak memory."""
    import torch

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with contextlib.suppress(OSError):
        # Linux resets the process's high-water mark on request; elsewhere it counts from birth.
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory_mb(device: torch.device) -> dict[str, float]:
    """Peak resident memory of this process and peak allocation on the GPU, in MB (1e6 bytes)."""
    import torch

    peak_kb = float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                peak_kb = float(line.split()[1])
    memory = {"cpu": peak_kb * 1024 / 1e6}
    if device.type == "cuda":
        memory["cuda"] = torch.cuda.max_memory_allocated(device) / 1e6
    return {name: round(value, 1) for name, value in memory.items()}
