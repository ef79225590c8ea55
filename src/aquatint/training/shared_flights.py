"""Flights of closed loops shared among processes: the same whatever their number."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from tqdm import tqdm

from aquatint.collective import hides_bars
from aquatint.params import RunParams
from aquatint.processes import count_cores, map_with_shared
from aquatint.training.precision import takes_cuda
from aquatint.training.work_order import find_function, name_function, read_value, write_value

# A process imports and loads for as long as a thousand steps take.
_STEPS_WORTH_A_PROCESS = 2000
# Of a process with torch and transformers, without weights.
_BYTES_OF_A_PROCESS = 2**30
R = TypeVar("R")


class FlightGroup(NamedTuple):
    """Agents that one policy lets fly at the same time.

    Attributes:
        policy: Its name.
        agents: Their numbers among all episodes of the simulator.
    """

    policy: str
    agents: tuple[int, ...]


Pilot = Callable[[Any, FlightGroup], R]


def group_flights(policies: Iterable[str], num_episodes: int, most: int) -> list[FlightGroup]:
    """Cut every policy's flights into groups.

    How they are cut depends on nothing but their number: rounding differs with the size of a batch,
    so a group must be the same whoever flies it.

    Args:
        policies: Names.
        num_episodes: Flights of each.
        most: Agents of a group.

    Returns:
        All groups of the first policy in the order of its flights, then those of the next.
    """
    num_groups = -(-num_episodes // most)
    # Of even sizes: the last one is what processes wait for.
    spans = [tuple(span.tolist()) for span in np.array_split(np.arange(num_episodes), num_groups)]
    return [FlightGroup(policy, span) for policy in policies for span in spans]


def pilot_run(run: RunParams) -> RunParams:
    """What pilots are given for ``run``: on CPUs one thread each, however many pilots there are."""
    return run if takes_cuda(run) else run.model_copy(update={"num_threads": 1})


def count_pilots(run: RunParams, num_steps: int, weights_bytes: int = 0) -> int:
    """Return how many processes should fly.

    Args:
        run: Device; a GPU is not shared.
        num_steps: Most steps of all flights together that a model decides.
        weights_bytes: Of all weights that a pilot loads.
    """
    if takes_cuda(run):
        return 1
    wanted = min(count_cores(), num_steps // _STEPS_WORTH_A_PROCESS)
    # Twice: while weights are loaded, file and module hold them.
    fitting = _available_bytes() // (_BYTES_OF_A_PROCESS + 2 * weights_bytes)
    return max(1, min(wanted, fitting))


def share_flights(
    open_pilot: Callable[..., Pilot[R]],
    arguments: tuple[object, ...],
    simulator: object,
    groups: Sequence[FlightGroup],
    num_pilots: int,
) -> list[R]:
    """Let pilots fly groups of agents.

    Args:
        open_pilot: From ``arguments`` to a pilot; a module's own function. It is called once in
            each process, and loads there what a pilot needs.
        arguments: What ``work_order.write_value`` takes.
        simulator: The world, before its first episode; each process gets a copy.
        groups: Who flies together; see ``group_flights``.
        num_pilots: How many processes; 1 for this one alone.

    Returns:
        What the pilot returns for each group, in their order.
    """
    bar = tqdm(total=len(groups), desc="flying", disable=hides_bars(), leave=False, unit="group")
    with bar, contextlib.ExitStack() as stack:
        crew = _Crew(simulator)
        if num_pilots > 1:
            crew.folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="aquatint-"))
            write_value((name_function(open_pilot), arguments), Path(crew.folder))
        else:
            crew.pilot = open_pilot(*arguments)
        flown = []
        for result in map_with_shared(_fly, crew, groups, num_pilots):
            flown.append(result)
            bar.update()
    return flown


@dataclass
class _Crew:
    """What a process flies with; the pilot is opened by the first group."""

    simulator: Any
    folder: str = ""
    pilot: Pilot[Any] | None = None


def _fly(crew: _Crew, group: FlightGroup) -> Any:  # noqa: ANN401 - whatever the pilot returns
    if crew.pilot is None:
        name, arguments = read_value(Path(crew.folder))
        crew.pilot = find_function(name)(*arguments)
    return crew.pilot(crew.simulator, group)


def _available_bytes() -> int:
    """Memory that is free or can be freed; where the system does not tell, without end."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return 2**62
