"""Models of one's own: registered by name, trained epoch by epoch with the project's engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from aquatint.params import RunParams
from aquatint.training.experiment import ExpCfg
from aquatint.training.fit import run_epoch
from aquatint.training.interruption import Interruption
from aquatint.training.loop import Loop
from aquatint.training.objective import LossTerms, Objective, Opening, Samples
from aquatint.training.precision import prepare_device
from aquatint.training.state import HistoryFile, restore_state, save_state

if TYPE_CHECKING:
    from torch import Tensor


class TrainableModel(Protocol):
    """A module that says what its losses are."""

    def compute_losses(self, batch: dict[str, Any]) -> LossTerms:
        """Unweighted terms by the names of ``IlCfg.loss_weights``."""


Builder = TypeVar("Builder", bound=Callable[..., TrainableModel])
_BUILDERS: dict[str, Callable[..., TrainableModel]] = {}


def register_model(name: str) -> Callable[[Builder], Builder]:
    """Register what builds a model, under the ``model_name`` of an experiment.

    Args:
        name: Name.

    Raises:
        ValueError: If the name is taken by something else.
    """

    def register(builder: Builder) -> Builder:
        if _BUILDERS.get(name, builder) is not builder:
            raise ValueError(f"model_name {name!r} is registered already; choose another name.")
        _BUILDERS[name] = builder
        return builder

    return register


def build_model(name: str, arguments: dict[str, Any]) -> Any:  # noqa: ANN401 - whatever was registered
    """Build a registered model.

    Raises:
        ValueError: If nothing is registered under the name.
    """
    if name not in _BUILDERS:
        known = ", ".join(sorted(_BUILDERS)) or "none"
        raise ValueError(
            f"model_name {name!r} is not registered; registered are: {known}. Put "
            f"@register_model({name!r}) before its class, and import its module first."
        )
    return _BUILDERS[name](**arguments)


class PolicyTrainer:
    """Trains the model of an experiment.

    Its four methods may be overridden; by themselves they are what ``fit`` does, cut into epochs.

    Args:
        experiment: What is trained, and how.
        samples: Training data.
        val_samples: Validation data.
        run: Device, precision, threads; seed and label come from the experiment.
        folder: Scratch folder of states and history.
    """

    def __init__(
        self,
        experiment: ExpCfg,
        samples: Samples,
        val_samples: Samples,
        run: RunParams,
        folder: Path,
    ) -> None:
        import torch

        self.experiment, self._val_samples, self._folder = experiment, val_samples, Path(folder)
        run = experiment.run_params(run)
        if run.num_processes > 1:
            raise ValueError(
                f"num_gpus {experiment.num_gpus}: a PolicyTrainer trains in one process. Start "
                "several through training.launch, as docs/adding_a_recipe.md says."
            )
        torch.manual_seed(run.seed)
        self.model: Any = build_model(experiment.model_name, experiment.model)
        names = [name for name, tensor in self.model.named_parameters() if tensor.requires_grad]
        objective = Objective(samples, lambda model, batch: model.compute_losses(batch))
        opening = Opening({"model": names}, lambda epoch: {"model"})
        device = prepare_device(run)
        self._loop = Loop(
            self.model, objective, opening, experiment.il.stage, run, self._folder, device
        )
        self._history = HistoryFile(self._folder, 0)

    @property
    def epoch(self) -> int:
        """Epochs that are done."""
        return self._loop.progress.epoch

    @property
    def is_finished(self) -> bool:
        """Whether all epochs of the experiment are done."""
        return self._loop.progress.is_finished

    def train_epoch(self) -> dict[str, float]:
        """Train one epoch and return the mean of each term of the loss.

        Raises:
            ValueError: If all epochs are done.
            NonFiniteLossError: If a loss or gradient is not finite.
        """
        if self.is_finished:
            raise ValueError(f"All {self.experiment.il.epochs} epochs are done.")
        epoch = self.epoch
        with Interruption() as interruption:
            run_epoch(self._loop, self._history, interruption)
        rows = [row for row in self._history.rows if row["epoch"] == epoch]
        names = [name for name in rows[0] if name.startswith("loss")]
        count = sum(row["num_samples"] for row in rows)
        return {n: sum(row[n] * row["num_samples"] for row in rows) / count for n in names}

    def eval_epoch(self) -> dict[str, float]:
        """Return the mean of each term of the loss over the validation data."""
        import torch

        self.model.eval()
        totals: dict[str, float] = {}
        size = self.experiment.il.batch_size
        with torch.no_grad():
            for positions in torch.arange(len(self._val_samples)).split(size):
                batch = self._to_device(self._val_samples.batch(positions))
                terms: dict[str, Tensor] = self.model.compute_losses(batch)
                for name, term in terms.items():
                    totals[name] = totals.get(name, 0.0) + term.item() * len(positions)
        return {f"val_{name}": total / len(self._val_samples) for name, total in totals.items()}

    def save_checkpoint(self, folder: Path) -> None:
        """Write weights, optimizer, generators and position below a folder, as a whole or not."""
        loop = self._loop
        loop.progress.scaler_state = loop.scaler.state_dict()
        save_state(Path(folder), self.model, loop.optimizer, loop.progress, loop.best_weights)

    def load_checkpoint(self, folder: Path) -> None:
        """Go on from the newest complete checkpoint below a folder.

        Raises:
            FileNotFoundError: If there is none.
        """
        loop = self._loop
        restored = restore_state(Path(folder), self.model, loop.optimizer)
        if restored is None:
            raise FileNotFoundError(f"There is no complete checkpoint below {folder}.")
        loop.progress, loop.best_weights = restored
        if loop.progress.scaler_state:
            loop.scaler.load_state_dict(loop.progress.scaler_state)
        self._history.close()
        self._history = HistoryFile(self._folder, loop.progress.step)

    def _to_device(self, batch: dict[str, Any]) -> dict[str, Any]:
        from aquatint.training.precision import to_device

        return to_device(batch, self._loop.device)
