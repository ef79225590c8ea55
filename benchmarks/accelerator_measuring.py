"""How ``bench_accelerator.py`` measures: steps, operations, memory, peaks of devices."""

import gc
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import (
    FlopCounterMode,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)

from aquatint.features.cache import FeatureCache, FeatureStore
from aquatint.training.precision import peak_memory_mb, reset_peak_memory

_ATEN = torch.ops.aten


def _attention_flops(*shapes: Any, **_: Any) -> int:
    return sdpa_flop_count(*shapes[:3])


def _attention_backward_flops(*shapes: Any, **_: Any) -> int:
    return sdpa_backward_flop_count(*shapes[:4])


# Torch counts the attention kernels of GPUs by itself, that of CPUs not.
_CPU_ATTENTION = {
    _ATEN._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
    _ATEN._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward_flops,
}
# What a way that does not fit this machine or these versions fails with.
FAILURES = (RuntimeError, ValueError, TypeError, AttributeError, ImportError, OSError, MemoryError)


class EnoughError(Exception):
    """All steps are taken: a training is left here, before it writes its state."""


@dataclass(frozen=True)
class Run:
    """What one way took in one round.

    Attributes:
        samples_per_second: By the median step.
        memory_mb: Peak of what torch allocated on a GPU; of the whole process on a CPU.
        flops_per_sample: Operations that ran, counted in a step before the measured ones.
        losses: Of every step.
    """

    samples_per_second: float
    memory_mb: float
    flops_per_sample: float
    losses: tuple[float, ...] = ()


@dataclass(frozen=True)
class Way:
    """One way to do a piece of work.

    Attributes:
        name: For the table.
        run: Does it once.
        against: Name of the way that it is compared with; empty for none.
    """

    name: str
    run: Callable[[], Run]
    against: str = ""


@dataclass(frozen=True)
class Result:
    """All rounds of one way.

    Attributes:
        way: Which.
        runs: Those that ended.
        error: First line of what it failed with; empty if it did not.
    """

    way: Way
    runs: tuple[Run, ...]
    error: str = ""

    @property
    def samples_per_second(self) -> float:
        """Median over rounds."""
        return statistics.median(run.samples_per_second for run in self.runs)

    @property
    def memory_mb(self) -> float:
        """Largest of all rounds."""
        return max(run.memory_mb for run in self.runs)


class StepClock:
    """Told of the begin of each optimizer step, times those after the warm-up.

    Before each step it waits for the device and seeds torch, so that all ways draw the same
    negatives. The operations of the first step are counted.

    Args:
        device: Where steps run.
        num_warmup: Steps that are not timed, at least 2: the first is counted, and checks of a
            training stand behind it.
        num_steps: Steps that are.
        is_counted: Whether operations are counted; nothing compiles under a counter.
    """

    def __init__(
        self, device: str, num_warmup: int, num_steps: int, is_counted: bool = True
    ) -> None:
        if num_warmup < 2 or num_steps < 1:
            raise ValueError(
                f"There must be 2 steps of warm-up and 1 to time, got {num_warmup} and {num_steps}."
            )
        self.device, self.num_warmup = torch.device(device), num_warmup
        self.num_all = num_warmup + num_steps
        self.flops, self.memory_mb = 0.0, 0.0
        self._starts: list[float] = []
        self._counter, self._is_counting = count_operations(), False
        self._is_counted = is_counted

    def begin(self, step: int) -> None:
        """Note that a step, counted from 0, is about to begin.

        Raises:
            EnoughError: Behind the last one.
        """
        wait_for(self.device)
        now = time.perf_counter()
        self.stop_counting()
        if step == 0 and self._is_counted:
            self._counter.__enter__()
            self._is_counting = True
        if step == self.num_warmup:
            reset_peak_memory(self.device)
            now = time.perf_counter()
        if step >= self.num_warmup:
            self._starts.append(now)
        if step == self.num_all:
            self.memory_mb = device_memory_mb(self.device)
            raise EnoughError
        torch.manual_seed(step)

    def stop_counting(self) -> None:
        """Leave the counter, if it runs."""
        if self._is_counting:
            self._counter.__exit__(None, None, None)
            self._is_counting = False
            self.flops = float(self._counter.get_total_flops())

    def result(self, batch: int, losses: Sequence[float]) -> Run:
        """What was measured with steps of ``batch`` samples."""
        pairs = zip(self._starts[1:], self._starts[:-1], strict=True)
        step = statistics.median(after - before for after, before in pairs)
        return Run(batch / step, self.memory_mb, self.flops / batch, tuple(losses[: self.num_all]))


def time_extraction(
    encode: Callable[[FeatureStore, Sequence[str]], FeatureCache],
    keys: Sequence[str],
    batch: int,
    device: str,
) -> Run:
    """Fill a new cache with a model that is loaded; reading and writing files are in the time.

    Args:
        encode: Fills a cache in a store for keys.
        keys: All samples.
        batch: How many of them warm up and are counted.
        device: Where the model is.
    """
    where = torch.device(device)
    with tempfile.TemporaryDirectory() as folder:
        with count_operations() as counter:
            encode(FeatureStore(f"{folder}/first", 100), keys[:batch])
        counted = len(keys[:batch])
        wait_for(where)
        reset_peak_memory(where)
        start = time.perf_counter()
        encode(FeatureStore(f"{folder}/all", 100), keys)
        wait_for(where)
        seconds = time.perf_counter() - start
        memory_mb = device_memory_mb(where)
    return Run(len(keys) / seconds, memory_mb, counter.get_total_flops() / counted)


def count_operations() -> FlopCounterMode:
    """Context that counts multiplications and additions of matrix products and attention."""
    return FlopCounterMode(display=False, custom_mapping=_CPU_ATTENTION)


def wait_for(device: torch.device) -> None:
    """Wait until a device has done all it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def device_memory_mb(device: torch.device) -> float:
    """Peak since it was last reset: allocated on a GPU, resident on a CPU."""
    return peak_memory_mb(device)[device.type]


def free_memory() -> None:
    """Let nothing of the last way count for the next."""
    gc.collect()
    torch._dynamo.reset()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def measure(ways: Sequence[Way], num_rounds: int) -> dict[str, Result]:
    """Run all ways in turn, round after round; one that fails is not tried again."""
    runs: dict[str, list[Run]] = {way.name: [] for way in ways}
    errors: dict[str, str] = {}
    for _ in range(num_rounds):
        for way in ways:
            if way.name in errors:
                continue
            try:
                runs[way.name].append(way.run())
            except FAILURES as error:
                errors[way.name] = f"{type(error).__name__}: {error}".strip().splitlines()[0]
            free_memory()
    return {way.name: Result(way, tuple(runs[way.name]), errors.get(way.name, "")) for way in ways}
