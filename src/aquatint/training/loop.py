"""The state of a running training, with what can be told from it."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aquatint.collective import num_ranks, share_batch, whole
from aquatint.params import RunParams, StageParams
from aquatint.training.objective import Objective, Opening
from aquatint.training.optim import build_adamw
from aquatint.training.precision import peak_memory_mb
from aquatint.training.schedules import cosine_factor, ramped_weights
from aquatint.training.state import Progress, save_state

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from aquatint.training.replica import Replica


@dataclass
class Loop:
    """A training between two steps; lives as long as one call of ``fit``.

    Attributes:
        model: Module that trains in place.
        objective: Samples, losses, validation.
        opening: Which parameters train, and when.
        params: Epochs, batch size, rates, loss weights.
        run: Seed, device, precision, how often a state is saved.
        folder: Where states and history go.
        device: Where to compute.
        replica: The model in step with those of other ranks.
        optimizer: AdamW over all parameters that ever train.
        scaler: Loss scaler; does nothing but in float16.
        progress: Position, best score, time spent.
        best_weights: Weights at the best score; empty before the first.
        saved_at: Monotonic time of the last saved state.
    """

    model: nn.Module
    objective: Objective
    opening: Opening
    params: StageParams
    run: RunParams
    folder: Path
    device: torch.device
    replica: Replica = field(init=False)
    optimizer: torch.optim.AdamW = field(init=False)
    scaler: torch.amp.GradScaler = field(init=False)
    progress: Progress = field(default_factory=Progress)
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    saved_at: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        import torch

        from aquatint.training.replica import Replica

        self.model.to(self.device)
        # Before the optimizer, which has to hold the shards.
        self.replica = Replica(self.model, self.run.parallelism)
        self.optimizer = build_adamw(self.model, self.opening.groups, self.params.optimizer)
        self.scaler = torch.amp.GradScaler(
            self.device.type, enabled=self.run.precision == "float16"
        )

    @property
    def window_size(self) -> int:
        """Samples of one optimizer step, over all ranks."""
        return self.params.batch_size * self.params.gradient_accumulation_steps

    @property
    def pass_size(self) -> int:
        """Samples of one forward and backward pass, over all ranks.

        ``batch_size``, but at least one for each rank as far as the window reaches: a batch of 1
        accumulated over 4 keeps four GPUs busy. Only where the window is one weighted mean however
        it is cut; a loss over pairs of a batch depends on the cut.
        """
        if self.objective.sample_weights is None:
            return self.params.batch_size
        return min(max(self.params.batch_size, num_ranks()), self.window_size)

    @property
    def windows_per_epoch(self) -> int:
        """Optimizer steps of an epoch; the last may be smaller."""
        return math.ceil(len(self.objective.samples) / self.window_size)

    @property
    def windows_of_epoch(self) -> int:
        """Optimizer steps of the epoch that now runs; the last one may be cut short."""
        left = self.num_steps - self.progress.epoch * self.windows_per_epoch
        return min(self.windows_per_epoch, left)

    @property
    def num_steps(self) -> int:
        """Optimizer steps of the whole training."""
        planned = self.params.epochs * self.windows_per_epoch
        return min(planned, self.params.max_steps or planned)

    @property
    def learning_rate(self) -> float:
        """Rate of the next step, before factors of groups."""
        chosen = self.params.optimizer
        return chosen.learning_rate * cosine_factor(
            self.progress.step,
            self.num_steps,
            chosen.warmup_fraction,
            chosen.hold_fraction,
            chosen.min_learning_rate / chosen.learning_rate,
        )

    def weights_of(self, epoch: int) -> dict[str, float]:
        """Loss weights of an epoch, by name; those of 0 in all epochs are left out."""
        params = self.params
        active = {name: weight for name, weight in params.loss_weights.items() if weight}
        return ramped_weights(active, params.ramped_losses, params.loss_ramp, epoch)

    def make_batch(self, positions: Tensor) -> dict[str, Any]:
        """This rank's share of one batch, on the CPU."""
        samples = self.objective.samples
        if num_ranks() == 1:
            return samples.batch(positions)
        return samples.batch(positions, share_batch(len(positions)))

    def weights(self) -> dict[str, Tensor]:
        """Copies of all parameters that ever train, on the CPU."""
        by_name = dict(self.model.named_parameters())
        return {
            name: whole(by_name[name].detach()).cpu().clone()
            for names in self.opening.groups.values()
            for name in names
        }

    def save(self) -> None:
        """Write the state and note when."""
        self.progress.scaler_state = self.scaler.state_dict()
        save_state(self.folder, self.model, self.optimizer, self.progress, self.best_weights)
        self.saved_at = time.monotonic()


def efficiency(loop: Loop) -> dict[str, Any]:
    """Return steps, seconds, steps a second, peak memory and parameter counts, as measured."""
    seconds = loop.progress.train_seconds
    trained = {name for names in loop.opening.groups.values() for name in names}
    counts = {name: p.numel() for name, p in loop.model.named_parameters()}
    return {
        "num_steps": loop.progress.step,
        "best_step": loop.progress.best_step,
        "best_score": loop.progress.best_score,
        "train_seconds": round(seconds, 2),
        "steps_per_second": round(loop.progress.step / seconds, 3) if seconds else None,
        "peak_memory_mb": peak_memory_mb(loop.device),
        "num_trainable_parameters": sum(counts[name] for name in trained),
        "num_parameters": sum(counts.values()),
        "num_trainable_by_group": {
            group: sum(counts[name] for name in names)
            for group, names in loop.opening.groups.items()
        },
        "device": str(loop.device),
        "num_threads": loop.run.num_threads,
        "num_processes": num_ranks(),
    }
