"""What a training is given and what it leaves: samples, losses, openings, results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor

LossTerms = dict[str, "Tensor"]


class Samples(Protocol):
    """Training data that a loop can fetch by position."""

    def __len__(self) -> int:
        """Number of samples of an epoch."""

    @property
    def batch(self) -> Callable[..., dict[str, Any]]:
        """Function of positions (B,), and of a ``Share``, to a batch: tensors by name.

        It is called one batch ahead, in a thread of its own and never twice at once, unless it
        draws from the generators of torch or ``random`` that the model draws from too.
        """

    def identify(self, positions: Tensor) -> list[str]:
        """Return the ids a person would look up, for error messages."""


@dataclass(frozen=True)
class Objective:
    """What a stage learns from and how it is judged.

    Attributes:
        samples: Training data.
        compute_losses: ``(model, batch) -> unweighted terms by loss name``, each of shape ().
        evaluate: ``(model) -> metrics`` with the key ``score``, higher is better; None to go
            without validation, and then the last weights are the result.
        begin_epoch: Called with each epoch, counted from 0, before its first step or, after a
            resume, before whatever of it is left; None where samples do not depend on it.
        begin_step: Called with each optimizer step, counted from 0 over the whole training, before
            its first batch: the one counter that neither workers, accumulation, ranks nor a resume
            change; None where samples and losses do not depend on it.
        spans_ranks: Whether samples and losses know of other ranks: ``samples.batch`` takes a
            ``Share``, and the mean over ranks of each term is the term of the whole batch
            (``collective.weigh``, ``gathering.gather_rows``). Without it one process trains.
        sample_weights: Weight of each sample by position, shape (N,), where the losses are weighted
            means; None where all samples count alike.
    """

    samples: Samples
    compute_losses: Callable[[Any, dict[str, Any]], LossTerms]
    evaluate: Callable[[Any], dict[str, float]] | None = None
    begin_epoch: Callable[[int], None] | None = None
    begin_step: Callable[[int], None] | None = None
    spans_ranks: bool = False
    sample_weights: Tensor | None = None

    def share(self, micro: Tensor, window: Tensor) -> float:
        """Share of a micro-batch in its accumulation window, both given by positions.

        By weight, so that the window's loss is one weighted mean however it is cut: normalised
        within micro-batches of one sample, weights would cancel.
        """
        if self.sample_weights is None:
            return len(micro) / len(window)
        return float(self.sample_weights[micro].sum() / self.sample_weights[window].sum())


@dataclass(frozen=True)
class Opening:
    """Which parameters train, and when.

    Attributes:
        groups: Names of all parameters that ever train, by group.
        open_groups: Groups that train in an epoch counted from 0.
    """

    groups: Mapping[str, Sequence[str]]
    open_groups: Callable[[int], set[str]]


@dataclass(frozen=True)
class FitResult:
    """What a training leaves.

    Attributes:
        best_weights: Trained parameters at the best validation score, by name.
        last_weights: Trained parameters after the last step.
        history: One row a step: losses, weights of the losses, rate, and validation metrics.
        efficiency: Steps, seconds, steps per second, peak memory and parameter counts.
    """

    best_weights: dict[str, Tensor]
    last_weights: dict[str, Tensor]
    history: list[dict[str, Any]]
    efficiency: dict[str, Any]
