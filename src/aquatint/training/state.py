"""The state of a training between two steps: written atomically, read back bit for bit."""

from __future__ import annotations

import contextlib
import json
import logging
import random
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aquatint.collective import gather_json, gather_parts, is_first, rank, shard_like, whole
from aquatint.storage import (
    DamagedArtefactError,
    is_complete,
    publish_file,
    publish_folder,
    verify_folder,
)

if TYPE_CHECKING:
    import torch
    from torch import nn
    from torch.optim import Optimizer

logger = logging.getLogger(__name__)

TENSORS, PROGRESS, HISTORY = "tensors.safetensors", "progress.json", "history.jsonl"
_KEPT_STATES = 2


@dataclass(frozen=True)
class TrainingStateFolder:
    """Scratch folder of one training node; a light handle that the catalog hands out.

    Attributes:
        root: Folder that holds one sub-folder for each fingerprint of a training.
    """

    root: str

    def for_fingerprint(self, fingerprint: str) -> Path:
        """Folder of the training with this fingerprint; another fingerprint never resumes it."""
        return Path(self.root) / state_folder_name(fingerprint)

    @property
    def last_step(self) -> int | None:
        """Step of the newest complete state of any training; None without one."""
        states = [path for path in Path(self.root).glob("*/step-*") if is_complete(path)]
        return max((int(path.name.split("-")[1]) for path in states), default=None)

    def discard(self, fingerprint: str) -> None:
        """Delete the states of one training; those of others stay resumable."""
        shutil.rmtree(self.for_fingerprint(fingerprint), ignore_errors=True)


def state_folder_name(fingerprint: str) -> str:
    """Name of the folder of a training."""
    return fingerprint[:16]


@dataclass
class Progress:
    """Where a training stands; everything but tensors.

    Attributes:
        step: Optimizer steps done.
        epoch: Epoch that the next step belongs to, counted from 0.
        window: Accumulation windows of this epoch that are done.
        is_evaluated: Whether the epoch that ended at ``step`` was evaluated.
        is_finished: Whether nothing is left to do.
        best_score: Best validation score so far; None before the first.
        best_step: Step of the best score.
        epochs_without_gain: Evaluations since the best one.
        train_seconds: Time spent in steps, over all attempts.
        random_states: State of Python's generator, by rank.
        scaler_state: State of the fp16 loss scaler; empty without one.
    """

    step: int = 0
    epoch: int = 0
    window: int = 0
    is_evaluated: bool = False
    is_finished: bool = False
    best_score: float | None = None
    best_step: int = 0
    epochs_without_gain: int = 0
    train_seconds: float = 0.0
    random_states: list[Any] = field(default_factory=list)
    scaler_state: dict[str, Any] = field(default_factory=dict)


def save_state(
    folder: Path,
    model: nn.Module,
    optimizer: Optimizer,
    progress: Progress,
    best_weights: dict[str, torch.Tensor],
) -> None:
    """Write one state below ``folder`` and prune all but the newest two; all ranks together.

    Args:
        folder: The training's own folder; the state goes to ``step-<step>-...`` in it.
        model: Model; only parameters that the optimizer holds are kept, the rest never changes.
        optimizer: Optimizer with its moments.
        progress: Position, best score and the rest.
        best_weights: Weights at the best score; may be empty.
    """
    from safetensors.torch import save_file

    version, internal, gauss = random.getstate()
    progress.random_states = gather_json([version, list(internal), gauss])
    # On every rank, for FSDP2 gathers each tensor from all; kept on the first alone.
    tensors = {n: t.detach().cpu() for n, t in _flatten(model, optimizer) if is_first()}
    tensors |= {f"best.{name}": tensor for name, tensor in best_weights.items()}
    for kind, state in _generator_states().items():
        tensors |= {f"rng.{kind}.{r}": part for r, part in enumerate(gather_parts(state))}
    if not is_first():
        return

    def write(target: Path) -> None:
        save_file({name: t.contiguous() for name, t in tensors.items()}, target / TENSORS)
        (target / PROGRESS).write_text(json.dumps(asdict(progress)))

    suffix = "done" if progress.is_finished else "evaluated" if progress.is_evaluated else "step"
    final = folder / f"step-{progress.step:08d}-{_ORDER[suffix]}{suffix}"
    with contextlib.suppress(FileExistsError):  # the same step of the same training
        publish_folder(final, write)
    for old in _states(folder)[_KEPT_STATES:]:
        shutil.rmtree(old, ignore_errors=True)


_ORDER = {"step": 0, "evaluated": 1, "done": 2}


def _states(folder: Path) -> list[Path]:
    """Folders of states, newest first."""
    return sorted(folder.glob("step-*"), reverse=True)


def restore_state(
    folder: Path, model: nn.Module, optimizer: Optimizer
) -> tuple[Progress, dict[str, torch.Tensor]] | None:
    """Load the newest complete state below ``folder`` into model, optimizer and generators.

    A state that is torn or altered is skipped with a warning that says why.

    Returns:
        Progress and the weights at the best score; None if there is no state.
    """
    import torch
    from safetensors.torch import load_file

    for candidate in _states(folder):
        try:
            if not is_complete(candidate):
                raise DamagedArtefactError(f"{candidate} was never finished.")
            verify_folder(candidate)
        except DamagedArtefactError as error:
            logger.warning("Skipping a damaged training state: %s", error)
            continue
        tensors = load_file(candidate / TENSORS)
        progress = Progress(**json.loads((candidate / PROGRESS).read_text()))
        _unflatten(model, optimizer, tensors)
        torch.set_rng_state(tensors[f"rng.cpu.{rank()}"])
        if torch.cuda.is_available() and f"rng.cuda.{rank()}" in tensors:
            torch.cuda.set_rng_state(tensors[f"rng.cuda.{rank()}"])
        version, internal, gauss = progress.random_states[rank()]
        random.setstate((version, tuple(internal), gauss))
        best = {k.removeprefix("best."): v for k, v in tensors.items() if k.startswith("best.")}
        return progress, best
    return None


def draw_positions() -> tuple[object, ...]:
    """Where the generators stand that a state keeps: equal as long as nothing draws from them."""
    states = _generator_states()
    return random.getstate(), *(state.numpy().tobytes() for state in states.values())


def _generator_states() -> dict[str, torch.Tensor]:
    """States of torch's generators of this rank, by kind of device."""
    import torch

    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def _flatten(model: nn.Module, optimizer: Optimizer) -> Iterator[tuple[str, torch.Tensor]]:
    import torch

    for name, parameter in _optimized(model, optimizer):
        yield f"model.{name}", whole(parameter.detach())
        for key, value in optimizer.state.get(parameter, {}).items():
            yield f"optimizer.{key}.{name}", whole(torch.as_tensor(value))


def _unflatten(model: nn.Module, optimizer: Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    import torch

    keys = {key.split(".", 2)[1] for key in tensors if key.startswith("optimizer.")}
    with torch.no_grad():
        for name, parameter in _optimized(model, optimizer):
            parameter.copy_(shard_like(tensors[f"model.{name}"], parameter))
            state = {
                key: tensors[f"optimizer.{key}.{name}"]
                for key in keys
                if f"optimizer.{key}.{name}" in tensors
            }
            if state:
                # AdamW keeps its step counter on the CPU and its moments beside the parameter.
                optimizer.state[parameter] = {
                    key: value if key == "step" else shard_like(value, parameter)
                    for key, value in state.items()
                }


def _optimized(model: nn.Module, optimizer: Optimizer) -> list[tuple[str, torch.Tensor]]:
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    return [(name, p) for name, p in model.named_parameters() if id(p) in held]


class HistoryFile:
    """Rows of a training, one JSON object a line, readable while it runs.

    All ranks keep the rows, the first one writes them.

    Args:
        folder: The training's own folder.
        num_steps: Rows of later steps are dropped: they belong to an attempt that was cut off.
    """

    def __init__(self, folder: Path, num_steps: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / HISTORY
        self.rows: list[dict[str, Any]] = []
        if path.exists():
            rows = [
                json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")
            ]
            # A step's validation values came as a second line, which replaces the first.
            self.rows = list({row["step"]: row for row in rows if row["step"] < num_steps}.values())
        self._file = None
        if is_first():
            # As a whole: a kill between truncating and writing would lose the rows for good.
            publish_file(path, "".join(json.dumps(row) + "\n" for row in self.rows).encode())
            self._file = path.open("a")

    def append(self, row: dict[str, Any]) -> None:
        """Add one row and hand it to the operating system at once."""
        self.rows.append(row)
        self._write(row)

    def amend_last(self, values: dict[str, Any]) -> None:
        """Add validation values to the last row; the file gets them as a second line."""
        self.rows[-1] = {**self.rows[-1], **values}
        self._write(self.rows[-1])

    def close(self) -> None:
        """Close the file."""
        if self._file:
            self._file.close()

    def _write(self, row: dict[str, Any]) -> None:
        if self._file:
            self._file.write(json.dumps(row) + "\n")
            self._file.flush()
