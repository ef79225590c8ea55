"""Trainings of ``bench_accelerator.py``: the same steps by this project and by Trainer."""

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainingArguments

from accelerator_measuring import EnoughError, Run, StepClock
from aquatint.params import OptimizerParams, RunParams, StageParams
from aquatint.training.fit import epoch_order, fit
from aquatint.training.objective import Objective, Opening
from aquatint.training.state import HISTORY

RATE, BETAS, SEED = 1e-4, (0.9, 0.999), 0
LORA = {"r": 16, "lora_alpha": 32, "lora_dropout": 0.0}
# Type of features and hidden states in a cache.
STORED = "float16"


class Variant(NamedTuple):
    """How LoRA in all blocks trains.

    Attributes:
        precision: Of the forward pass, and of frozen weights.
        attention: Implementation, by transformers' name.
        compile_backend: Backend of torch.compile; empty for none.
    """

    precision: str
    attention: str = "sdpa"
    compile_backend: str = ""


class Settings(NamedTuple):
    """What all trainings of a call have in common.

    Attributes:
        device: ``cuda`` or ``cpu``.
        precision: Of the forward pass, and of frozen weights.
        num_warmup: Steps before the measured ones.
        num_steps: Measured steps.
        num_threads: CPU threads.
        is_counted: Whether the operations of the first step are counted.
    """

    device: str
    precision: str
    num_warmup: int
    num_steps: int
    num_threads: int
    is_counted: bool = True

    @property
    def clock(self) -> StepClock:
        """A new clock for one training."""
        return StepClock(self.device, self.num_warmup, self.num_steps, self.is_counted)

    @property
    def run(self) -> RunParams:
        """The run as the project's loop takes it."""
        return RunParams(
            seed=SEED,
            device=self.device,
            precision=self.precision,
            num_threads=self.num_threads,
            save_state_every_steps=10**6,
            save_state_every_minutes=10**6,
        )


class Again:
    """Samples over and over, as many as the steps of one epoch need.

    Args:
        samples: Samples that a loop can fetch by position.
        length: How many there shall be.
    """

    def __init__(self, samples: Any, length: int) -> None:
        self._samples, self._length = samples, length

    def __len__(self) -> int:
        """Number of samples."""
        return self._length

    def batch(self, positions: Tensor) -> dict[str, Any]:
        """Return the inputs of a batch."""
        return self._samples.batch(positions % len(self._samples))

    def identify(self, positions: Tensor) -> list[str]:
        """Return ids for error messages."""
        return self._samples.identify(positions % len(self._samples))


class Task(NamedTuple):
    """What is learned, by whichever loop.

    Attributes:
        samples: Samples that a loop can fetch by position.
        compute_losses: ``(model, batch) -> unweighted terms``.
        loss_weights: Weight of each term.
        batch: Samples of a step.
    """

    samples: Any
    compute_losses: Callable[[Any, dict[str, Any]], dict[str, Tensor]]
    loss_weights: Mapping[str, float]
    batch: int

    def compute_loss(self, model: Any, batch: dict[str, Any]) -> Tensor:
        """Return the weighted sum of the terms, shape ()."""
        terms = self.compute_losses(model, batch)
        return sum(weight * terms[name] for name, weight in self.loss_weights.items())


def train_here(
    model: nn.Module, groups: Mapping[str, Sequence[str]], task: Task, settings: Settings
) -> Run:
    """Train by ``training.fit.fit``, the loop of every recipe, with all groups open."""
    clock = settings.clock
    # One batch more than steps: an epoch must not end, or a state would be written.
    samples = Again(task.samples, task.batch * (clock.num_all + 1))
    params = StageParams(
        epochs=1,
        batch_size=task.batch,
        optimizer=OptimizerParams(
            learning_rate=RATE,
            min_learning_rate=RATE,
            weight_decay=0.0,
            betas=BETAS,
            warmup_fraction=0.0,
        ),
        loss_weights=dict(task.loss_weights),
    )
    objective = Objective(samples, task.compute_losses, begin_step=clock.begin)
    opening = Opening(groups, lambda epoch: set(groups))
    with tempfile.TemporaryDirectory() as folder:
        try:
            with suppress(EnoughError):
                fit(model, objective, opening, params, settings.run, Path(folder))
        finally:
            clock.stop_counting()
        lines = (Path(folder) / HISTORY).read_text().splitlines()
    return clock.result(task.batch, [json.loads(line)["loss"] for line in lines])


class WithLoss(nn.Module):
    """A model whose output is its loss, as Trainer wants it; losses are kept on the device.

    Args:
        model: Module to train.
        compute_loss: Loss of a batch, shape ().
    """

    def __init__(self, model: nn.Module, compute_loss: Callable[[Any, dict], Tensor]) -> None:
        super().__init__()
        self.model, self.losses = model, []
        self._compute_loss = compute_loss

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Return the loss."""
        loss = self._compute_loss(self.model, batch)
        self.losses.append(loss.detach())
        return {"loss": loss}


class ClockCallback(TrainerCallback):
    """Tells a clock of each step.

    Args:
        clock: The clock.
    """

    def __init__(self, clock: StepClock) -> None:
        self._clock = clock

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by Trainer."""
        self._clock.begin(state.global_step)


def train_there(model: nn.Module, task: Task, settings: Settings) -> Run:
    """Train whatever requires gradients by ``transformers.Trainer``, on the same batches."""
    clock = settings.clock
    length = task.batch * (clock.num_all + 1)
    samples, module = Again(task.samples, length), WithLoss(model, task.compute_loss)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model=module,
            args=trainer_arguments(folder, task.batch, clock.num_all + 1, settings),
            # The order of the project's first epoch.
            train_dataset=epoch_order(length, SEED, 0).tolist(),
            data_collator=lambda rows: {"batch": samples.batch(torch.tensor(rows))},
            callbacks=[ClockCallback(clock)],
        )
        try:
            with suppress(EnoughError):
                trainer.train()
        finally:
            clock.stop_counting()
    return clock.result(task.batch, torch.stack(module.losses).tolist())


def trainer_arguments(
    folder: str, batch: int, max_steps: int, settings: Settings
) -> TrainingArguments:
    """The project's optimizer and clipping; all else as Trainer has it."""
    return TrainingArguments(
        folder,
        per_device_train_batch_size=batch,
        max_steps=max_steps,
        learning_rate=RATE,
        adam_beta1=BETAS[0],
        adam_beta2=BETAS[1],
        lr_scheduler_type="constant",
        weight_decay=0.0,
        max_grad_norm=1.0,
        bf16=settings.precision == "bfloat16",
        use_cpu=settings.device == "cpu",
        train_sampling_strategy="sequential",
        remove_unused_columns=False,
        save_strategy="no",
        logging_steps=max_steps + 1,
        report_to="none",
        disable_tqdm=True,
        seed=SEED,
    )


def compile_blocks(model: nn.Module, backend: str) -> None:
    """Compile each transformer block in place; blocks of one kind share what is generated."""
    for module in list(model.modules()):
        if isinstance(module, nn.ModuleList):
            for block in module:
                block.compile(backend=backend)
