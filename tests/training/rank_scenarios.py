"""What two ranks do in test_ranks.py: ``rank_scenarios.py <folder>`` in both; one start for all.

Every scenario is a function of the data and a folder that returns plain values and tensors; the
same functions run in the test's own process, on one rank.
"""

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from aquatint import collective
from aquatint.training import retrieval_losses, retrieval_stage
from aquatint.training.fit import NonFiniteLossError
from aquatint.training.freezing import FreezingError
from aquatint.training.gathering import gather_rows
from aquatint.training.retrieval_losses import RetrievalLosses
from aquatint.training.retrieval_predictions import predict_test
from aquatint.training.retrieval_stage import train_retrieval
from aquatint.training.state import TrainingStateFolder
from aquatint.training.system2_stage import train_system2
from aquatint.training.work_order import read_value, write_value

CPU = torch.device("cpu")


class Killed(BaseException):
    """Stands for kill -9: nothing may catch it and clean up."""


def train(plan, given, folder, parent=None, **run):
    run = given["run"].model_copy(update={"num_processes": collective.num_ranks(), **run})
    states = TrainingStateFolder(str(folder))
    checkpoint, history = train_retrieval(plan, given["data"], parent, run, states)
    return checkpoint, history.to_dict(orient="list")


def stage1(given, folder):
    return train(given["stage1"], given, folder)


def stage2_lora(given, folder):
    return train(given["lora"], given, folder, given["parent"])


def stage2_full(given, folder):
    return train(given["full"], given, folder, given["parent"])


def stage2_full_sharded(given, folder):
    return train(given["full"], given, folder, given["parent"], parallelism="fsdp2")


def stage2_lora_sharded(given, folder):
    return train(given["lora"], given, folder, given["parent"], parallelism="fsdp2")


def system2(given, folder):
    """A navigation model, whose samples are dialogues of different lengths."""
    navigation = given["navigation"]
    run = given["run"].model_copy(update={"num_processes": collective.num_ranks()})
    states = TrainingStateFolder(str(folder))
    checkpoint, history = train_system2(
        navigation["plan"], navigation["data"], navigation["backbone"], run, states
    )
    return checkpoint, history.to_dict(orient="list")


def resumed(given, folder):
    """Weights digests of trainings killed twice on their way, beside those of untouched ones."""
    # Trained by an earlier scenario of this start, which has told all ranks that it is written.
    sharded = read_value(folder.parents[1] / stage2_full_sharded.__name__)
    found = {}
    for name, parallelism, plan, whole in (
        ("lora_ddp", "ddp", "lora_dropout", None),
        ("full_fsdp2", "fsdp2", "full", sharded),
    ):
        options = {"parallelism": parallelism, "save_state_every_steps": 1}
        attempt = partial(train, given[plan], given, parent=given["parent"], **options)
        checkpoint, history = whole or attempt(folder=folder / name)
        place = folder / f"{name}-killed"
        for num_steps in (2, 3):
            kill_after(num_steps, partial(attempt, folder=place))
        again = attempt(folder=place)
        found[name] = [checkpoint.digest, again[0].digest]
        assert again[1]["loss"] == history["loss"]
    return found


def kill_after(step, action):
    seen, original = {"calls": 0}, RetrievalLosses.__call__

    def losses(self, model, batch):
        seen["calls"] += 1
        if seen["calls"] > step:
            raise Killed
        return original(self, model, batch)

    RetrievalLosses.__call__ = losses
    try:
        action()
    except Killed:
        return
    finally:
        RetrievalLosses.__call__ = original
    raise AssertionError("the training was not killed")


def non_finite(given, folder):
    """Message of the error on this rank when one rank's loss alone is not finite."""
    original = retrieval_losses.bbox_loss

    def poisoned(predicted, target):
        loss = original(predicted, target)
        return loss * float("nan") if collective.rank() == collective.num_ranks() - 1 else loss

    retrieval_losses.bbox_loss = poisoned
    try:
        train(given["lora"], given, folder, given["parent"])
    except NonFiniteLossError as error:
        return collective.gather_json(str(error))
    finally:
        retrieval_losses.bbox_loss = original
    raise AssertionError("the loss that is not finite was not seen")


def frozen_moves(given, folder):
    """Message of the error when a frozen tensor moves on the last rank alone."""
    original = RetrievalLosses.__call__

    def losses(self, model, batch):
        if collective.rank() == collective.num_ranks() - 1:
            with torch.no_grad():
                model.backbone.lm_head.weight.add_(1e-3)
        return original(self, model, batch)

    RetrievalLosses.__call__ = losses
    try:
        train(given["stage1"], given, folder)
    except FreezingError as error:
        return collective.gather_json(str(error))
    finally:
        RetrievalLosses.__call__ = original
    raise AssertionError("the frozen tensor that moves was not seen")


def predictions(given, folder):
    return predict_test(given["parent"], given["data"], 1, 2, CPU)


def gathered_gradient(given, folder):
    """Gradient of a contrastive loss over rows that 2 ranks hold as 3 and 2, and of their mean."""
    rows = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    mine = rows[:3] if collective.rank() == 0 else rows[3:]
    local = (rows if collective.num_ranks() == 1 else mine).clone().requires_grad_()
    everything = gather_rows(local)
    logits = everything @ everything.T
    loss = torch.nn.functional.cross_entropy(logits, torch.arange(5).roll(1))
    loss = loss + collective.weigh(local.pow(2).sum(dim=1).mean(), len(local))
    loss.backward()
    # Averaged as DDP does with the gradients of weights.
    return {"gradient": gather_rows(local.grad / collective.num_ranks())}


def patience(given, folder):
    """Steps of a training that stops early; all ranks must stop together."""
    params = given["stage1"].params.model_copy(update={"early_stopping_patience": 1, "epochs": 20})
    plan = replace(given["stage1"], params=params)
    return {"steps": len(train(plan, given, folder)[1]["step"])}


SCENARIOS = (
    stage1,
    stage2_lora,
    stage2_full,
    stage2_full_sharded,
    stage2_lora_sharded,
    system2,
    resumed,
    non_finite,
    frozen_moves,
    predictions,
    gathered_gradient,
    patience,
)


def main():
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    given = read_value(folder / "given")
    collective.join_ranks(CPU)
    for scenario in SCENARIOS:
        result = scenario(given, folder / "states" / scenario.__name__)
        if collective.is_first():
            place = folder / scenario.__name__
            place.mkdir()
            write_value(result, place)
        collective.barrier()
    collective.leave_ranks()


if __name__ == "__main__":
    assert retrieval_stage
    main()
