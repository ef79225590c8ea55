"""The one training loop: a stage is its data, its losses and its parameters."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from aquatint import collective
from aquatint.params import RunParams, StageParams
from aquatint.training.freezing import check_frozen, check_trained, open_parameters, tensor_digests
from aquatint.training.interruption import Interruption
from aquatint.training.loop import Loop, efficiency
from aquatint.training.memory import explained_out_of_memory
from aquatint.training.objective import FitResult, Objective, Opening
from aquatint.training.optim import clip_gradients, set_learning_rate
from aquatint.training.precision import (
    autocast,
    has_free_core,
    prepare_device,
    reset_peak_memory,
    to_device,
)
from aquatint.training.prefetch import one_ahead
from aquatint.training.state import HistoryFile, draw_positions, restore_state

if TYPE_CHECKING:
    from torch import Tensor, nn

logger = logging.getLogger(__name__)


class NonFiniteLossError(RuntimeError):
    """A loss or a gradient became NaN or infinite; the step was not taken."""


def epoch_order(num_samples: int, seed: int, epoch: int) -> Tensor:
    """Order of the samples in an epoch: a function of seed and epoch, whatever ran before.

    Returns:
        Permutation of the positions, shape (num_samples,).
    """
    import torch

    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return torch.randperm(num_samples, generator=generator)


def fit(
    model: nn.Module,
    objective: Objective,
    opening: Opening,
    params: StageParams,
    run: RunParams,
    folder: Path,
) -> FitResult:
    """Train ``model`` in place, from the newest state below ``folder`` if there is one.

    Args:
        model: Module; parameters outside the opened groups stay bit-identical, which is checked.
        objective: Samples, losses and validation.
        opening: Parameter groups and the epochs in which they train.
        params: Epochs, batch size, rates and loss weights.
        run: Seed, device, precision and how often a state is saved.
        folder: Where states and the running history go; belongs to this training alone.

    Raises:
        NonFiniteLossError: If a loss or gradient is not finite; names the batch's ids.
        FreezingError: If a frozen tensor moved, or a trainable one never did.
        ValueError: If there are no samples, or not the ranks that ``run`` asks for.
    """
    if len(objective.samples) == 0:
        raise ValueError("A training needs at least one sample, got 0.")
    _check_ranks(objective, run)
    device = prepare_device(run)
    loop = Loop(model, objective, opening, params, run, folder, device)
    reset_peak_memory(device)
    warn_of_idle_ranks(loop)
    restored = restore_state(folder, model, loop.optimizer)
    if restored:
        loop.progress, loop.best_weights = restored
        if loop.progress.scaler_state:
            loop.scaler.load_state_dict(loop.progress.scaler_state)
        logger.info("Resuming at step %d of %d.", loop.progress.step, loop.num_steps)
    history = HistoryFile(folder, loop.progress.step)
    try:
        with Interruption() as interruption:
            while not loop.progress.is_finished:
                run_epoch(loop, history, interruption)
                # A request during the evaluation; the state is saved.
                interruption.agree()
                if interruption.is_requested:
                    interruption.stop(loop.progress.step, loop.num_steps)
    finally:
        history.close()
    last = loop.weights()
    return FitResult(loop.best_weights or last, last, history.rows, efficiency(loop))


def _check_ranks(objective: Objective, run: RunParams) -> None:
    found = collective.num_ranks()
    if found != run.num_ranks or (found > 1 and not objective.spans_ranks):
        raise ValueError(
            f"run.num_processes {run.num_processes} on run.num_nodes {run.num_nodes} asks for "
            f"{run.num_ranks} processes, this training can take or has got "
            f"{found if objective.spans_ranks else 1}. Give --params=run.num_processes=1, or start "
            "it through training.launch with samples and losses that span ranks."
        )


def warn_of_idle_ranks(loop: Loop) -> None:
    """Say so if a step's samples do not reach all processes."""
    num_ranks = collective.num_ranks()
    if loop.pass_size < num_ranks and collective.is_first():
        logger.warning(
            "Only %d of %d processes have a sample to work on: batch_size %d with "
            "gradient_accumulation_steps %d. Raise batch_size, or take fewer processes.",
            loop.pass_size,
            num_ranks,
            loop.params.batch_size,
            loop.params.gradient_accumulation_steps,
        )


def run_epoch(loop: Loop, history: HistoryFile, interruption: Interruption) -> None:
    """Train one epoch from wherever it stands, evaluate it, and save the state.

    Args:
        loop: The training.
        history: Its rows.
        interruption: Requests to stop.
    """
    progress, epoch = loop.progress, loop.progress.epoch
    if loop.objective.begin_epoch:
        loop.objective.begin_epoch(epoch)
    open_groups = loop.opening.open_groups(epoch)
    open_parameters(loop.model, loop.opening.groups, open_groups)
    loop.replica.open()
    # Where groups open, all is checked; later a rate near zero may rightly move nothing.
    is_opening = epoch == 0 or open_groups != loop.opening.open_groups(epoch - 1)
    before = tensor_digests(loop.model) if is_opening else None
    order = epoch_order(len(loop.objective.samples), loop.run.seed, epoch)
    first = progress.window
    bar = tqdm(
        range(first, loop.windows_of_epoch),
        desc=f"epoch {epoch + 1}/{loop.params.epochs}",
        initial=first,
        total=loop.windows_of_epoch,
        disable=collective.hides_bars(),
        leave=False,
        unit="step",
    )
    windows = order.split(loop.window_size)
    with closing(_batches(loop, windows[first : loop.windows_of_epoch])) as batches:
        for window in bar:
            started = time.monotonic()
            loop.model.train()
            with explained_out_of_memory(loop.params.batch_size, loop.run):
                row = _take_step(loop, windows[window], batches)
            history.append(row)
            progress.train_seconds += time.monotonic() - started
            bar.set_postfix(loss=f"{row['loss']:.3f}")
            if before is not None and window == first:
                check_frozen(before, loop.model)
            _save_if_due(loop, interruption)
    # A weight that its ramp starts at 0 reaches nothing yet.
    if before is not None and first == 0 and all(loop.weights_of(epoch).values()):
        check_trained(before, loop.model)
    _finish_epoch(loop, history)


def _batches(loop: Loop, windows: Sequence[Tensor]) -> Generator[dict[str, Any]]:
    """This rank's share of each batch of some accumulation windows, one after the other.

    Made ahead where a core is free for it, but where a batch depends on more than its positions: on
    its step, which has to have begun, or on the generators that the model draws from too, whose
    order has to stay.
    """
    micros = (micro for window in windows for micro in window.split(loop.pass_size))
    if loop.objective.begin_step or not has_free_core(loop.run, loop.device):
        yield from map(loop.make_batch, micros)
        return
    first = next(micros, None)
    if first is None:
        return
    before = draw_positions()
    batch = loop.make_batch(first)
    is_function = draw_positions() == before
    yield batch
    yield from one_ahead(loop.make_batch, micros) if is_function else map(loop.make_batch, micros)


def _take_step(loop: Loop, positions: Tensor, batches: Iterator[dict[str, Any]]) -> dict[str, Any]:
    """One optimizer step over one accumulation window; returns its history row."""
    import torch

    progress = loop.progress
    weights = loop.weights_of(progress.epoch)
    rate = loop.learning_rate
    set_learning_rate(loop.optimizer, rate)
    if loop.objective.begin_step:
        loop.objective.begin_step(progress.step)
    loop.optimizer.zero_grad(set_to_none=True)
    terms = {name: 0.0 for name in weights}
    micros = positions.split(loop.pass_size)
    for number, micro in enumerate(micros):
        batch = to_device(next(batches), loop.device)
        # By the micro-batch's share of the window, so that a short last one counts for its size.
        share = loop.objective.share(micro, positions)
        with loop.replica.accumulate(is_last=number == len(micros) - 1):
            with autocast(loop.device, loop.run):
                losses = loop.replica.call(loop.objective.compute_losses, batch)
            found = _over_ranks({name: losses[name] for name in weights})
            total = sum((weights[name] * losses[name] for name in weights), start=torch.zeros(()))
            if not all(math.isfinite(found[name]) for name in weights):
                raise NonFiniteLossError(_non_finite_message(loop, found, micro))
            loop.scaler.scale(total * share).backward()
        for name in weights:
            terms[name] += found[name] * share
    norm = _step_optimizer(loop, positions)
    progress.step += 1
    progress.window += 1
    progress.is_evaluated = False
    return {
        "step": progress.step - 1,
        "epoch": progress.epoch,
        "loss": sum(weights[name] * terms[name] for name in weights),
        **{f"loss_{name}": value for name, value in terms.items()},
        **{f"weight_{name}": value for name, value in weights.items()},
        "learning_rate": rate,
        "grad_norm": norm,
        "num_samples": len(positions),
    }


def _over_ranks(losses: Mapping[str, Tensor]) -> dict[str, float]:
    """Terms of the whole batch: equal on all ranks, so that all stop if one is not finite."""
    import torch

    values = torch.stack([losses[name].detach().float() for name in losses])
    means = collective.sum_over_ranks(values) / collective.num_ranks()
    return dict(zip(losses, means.tolist(), strict=True))


def _step_optimizer(loop: Loop, positions: Tensor) -> float:
    """Clip the gradients and step, unless they are not finite; return their norm."""
    import torch

    loop.scaler.unscale_(loop.optimizer)
    norm = clip_gradients(loop.optimizer, loop.params.optimizer.max_grad_norm)
    # An fp16 overflow is expected now and then: the scaler skips that step and halves its scale.
    if not torch.isfinite(norm) and not loop.scaler.is_enabled():
        raise NonFiniteLossError(
            _non_finite_message(loop, {"gradient norm": float(norm)}, positions)
        )
    loop.scaler.step(loop.optimizer)
    loop.scaler.update()
    return float(norm)


def _non_finite_message(loop: Loop, values: Mapping[str, float], positions: Tensor) -> str:
    found = ", ".join(f"{name} {value:g}" for name, value in values.items())
    ids = ", ".join(loop.objective.samples.identify(positions)[:8])
    return (
        f"Losses must be finite, got {found} in step {loop.progress.step}, before the optimizer "
        f"step, on the samples {ids}. The last good state is kept in {loop.folder}; lower "
        "learning_rate or look at these samples."
    )


def _save_if_due(loop: Loop, interruption: Interruption) -> None:
    """Save the state every N steps or M minutes, or because the process was asked to stop."""
    late = time.monotonic() - loop.saved_at > 60 * loop.run.save_state_every_minutes
    # Together: each rank has its own clock, and its own moment at which a signal arrives.
    is_late = interruption.agree(late)
    if interruption.is_requested:
        loop.save()
        interruption.stop(loop.progress.step, loop.num_steps)
    if loop.progress.step % loop.run.save_state_every_steps == 0 or is_late:
        loop.save()


def _finish_epoch(loop: Loop, history: HistoryFile) -> None:
    """Evaluate, keep the best weights, stop early if nothing improves, save the state."""
    progress = loop.progress
    is_last = progress.step >= loop.num_steps
    is_due = is_last or (progress.epoch + 1) % loop.params.validate_every_epochs == 0
    if loop.objective.evaluate and is_due:
        loop.save()  # so that a crash of the evaluation costs no step
        loop.model.eval()
        metrics = _evaluate(loop, loop.objective.evaluate)
        history.amend_last({f"val_{name}": value for name, value in metrics.items()})
        _keep_best(loop, metrics["score"])
    _log_epoch(loop, history.rows)
    progress.epoch, progress.window, progress.is_evaluated = progress.epoch + 1, 0, True
    patience = loop.params.early_stopping_patience
    is_stuck = patience is not None and progress.epochs_without_gain >= patience
    if is_stuck:
        logger.info("Stopping early: no gain in %d epochs.", progress.epochs_without_gain)
    progress.is_finished = is_stuck or progress.step >= loop.num_steps
    loop.save()


def _evaluate(loop: Loop, evaluate: Callable[[Any], dict[str, float]]) -> dict[str, float]:
    import torch

    with torch.no_grad():
        metrics = loop.replica.call(evaluate)
    # The first rank's, so that no rounding makes one rank stop early and another go on.
    return collective.gather_json(metrics)[0]


def _keep_best(loop: Loop, score: float) -> None:
    progress = loop.progress
    if progress.best_score is None or score > progress.best_score:
        progress.best_score, progress.best_step = score, progress.step
        progress.epochs_without_gain = 0
        loop.best_weights = loop.weights()
    else:
        progress.epochs_without_gain += 1


def _log_epoch(loop: Loop, rows: list[dict[str, Any]]) -> None:
    epoch = loop.progress.epoch
    mine = [row for row in rows if row["epoch"] == epoch]
    means = {name: sum(row[name] for row in mine) / len(mine) for name in mine[0] if "loss" in name}
    shown = {**means, **{k: v for k, v in mine[-1].items() if k.startswith("val_")}}
    logger.info(
        "epoch %d/%d, step %d/%d: %s",
        epoch + 1,
        loop.params.epochs,
        loop.progress.step,
        loop.num_steps,
        ", ".join(f"{name} {value:.4f}" for name, value in shown.items()),
    )
