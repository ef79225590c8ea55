"""The loop: resume bit for bit, freezing, non-finite losses, accumulation, overfitting."""

import json
import threading

import pytest
import torch
from torch import nn

from aquatint.params import OptimizerParams, RunParams, StageParams
from aquatint.training.fit import NonFiniteLossError, epoch_order, fit, warn_of_idle_ranks
from aquatint.training.freezing import FreezingError, tensor_digests
from aquatint.training.loop import Loop
from aquatint.training.objective import Objective, Opening
from aquatint.training.state import HISTORY


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 8)
        self.dropout = nn.Dropout(0.2)
        self.last = nn.Linear(8, 1)

    def forward(self, x):
        return self.last(self.dropout(torch.tanh(self.first(x))))


class Rows:
    """Points of a linear map; remembers what was fetched."""

    def __init__(self, count=10):
        generator = torch.Generator().manual_seed(1)
        self.x = torch.randn(count, 4, generator=generator)
        self.y = self.x.sum(dim=1, keepdim=True)
        self.fetched = []
        self.threads = set()

    def __len__(self):
        return len(self.x)

    def batch(self, positions):
        self.fetched += positions.tolist()
        self.threads.add(threading.current_thread().name)
        return {"x": self.x[positions], "y": self.y[positions]}

    def identify(self, positions):
        return [f"row {i}" for i in positions.tolist()]


def squared(model, batch):
    return {"itc": ((model(batch["x"]) - batch["y"]) ** 2).mean()}


def make_net(seed=0):
    torch.manual_seed(seed)
    return Net()


def params(**changes):
    defaults = {
        "epochs": 3,
        "batch_size": 4,
        "optimizer": OptimizerParams(learning_rate=0.05, weight_decay=0.01, warmup_fraction=0.1),
        "loss_weights": {"itc": 1.0},
    }
    return StageParams(**{**defaults, **changes})


def all_open(net):
    return Opening({"all": [name for name, _ in net.named_parameters()]}, lambda epoch: {"all"})


def run_with(run_params, **changes) -> RunParams:
    return run_params.model_copy(update=changes)


class Killed(BaseException):
    """Stands for kill -9: nothing may catch it and clean up."""


def killed_at(step):
    seen = {"step": -1}

    def losses(model, batch):
        seen["step"] += 1
        if seen["step"] == step:
            raise Killed
        return squared(model, batch)

    return losses


class NoisyRows(Rows):
    """Rows with noise from the generator that dropout draws from too."""

    def batch(self, positions):
        batch = super().batch(positions)
        return {**batch, "x": batch["x"] + 0.1 * torch.randn_like(batch["x"])}


@pytest.mark.parametrize(
    ("kind", "num_cores", "is_ahead"),
    [(Rows, 2, True), (NoisyRows, 2, False), (Rows, 1, False)],
)
def test_batches_are_made_ahead_on_a_free_core_unless_they_draw_as_the_model_does(
    kind, num_cores, is_ahead, tmp_path, run_params, monkeypatch
):
    monkeypatch.setattr("aquatint.training.precision.count_cores", lambda: num_cores)
    rows, net = kind(), make_net()
    fit(net, Objective(rows, squared), all_open(net), params(), run_params, tmp_path)
    others = rows.threads - {threading.main_thread().name}
    assert bool(others) == is_ahead


@pytest.mark.parametrize("kind", [Rows, NoisyRows])
@pytest.mark.parametrize("step", range(9))
def test_a_training_killed_at_any_step_ends_bit_for_bit_as_an_uninterrupted_one(
    step, kind, tmp_path, run_params
):
    run = run_with(run_params, save_state_every_steps=2)

    def scores():
        def evaluate(model):
            with torch.no_grad():
                points = {"x": rows.x, "y": rows.y}
                return {"score": -squared(model, points)["itc"].item()}

        return evaluate

    rows = kind()
    whole = make_net()
    expected = fit(
        whole, Objective(rows, squared, scores()), all_open(whole), params(), run, tmp_path / "a"
    )
    first, second = make_net(), make_net()
    with pytest.raises(Killed):
        fit(
            first,
            Objective(rows, killed_at(step), scores()),
            all_open(first),
            params(),
            run,
            tmp_path / "b",
        )
    result = fit(
        second, Objective(rows, squared, scores()), all_open(second), params(), run, tmp_path / "b"
    )
    assert result.history == expected.history
    for name, tensor in expected.last_weights.items():
        assert torch.equal(result.last_weights[name], tensor), name
    for name, tensor in expected.best_weights.items():
        assert torch.equal(result.best_weights[name], tensor), name


def test_a_finished_training_is_not_trained_again(tmp_path, run_params):
    net = make_net()
    fit(net, Objective(Rows(), squared), all_open(net), params(), run_params, tmp_path)
    rows = Rows()
    again = fit(
        make_net(1), Objective(rows, squared), all_open(net), params(), run_params, tmp_path
    )
    assert rows.fetched == []
    assert torch.equal(again.last_weights["last.weight"], net.last.weight)


def test_a_torn_state_falls_back_to_the_one_before_and_says_so(tmp_path, run_params, caplog):
    run = run_with(run_params, save_state_every_steps=1)
    net = make_net()
    with pytest.raises(Killed):
        fit(net, Objective(Rows(), killed_at(5)), all_open(net), params(), run, tmp_path)
    newest = sorted(tmp_path.glob("step-*"))[-1]
    tensors = newest / "tensors.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-7])
    whole, resumed = make_net(), make_net()
    expected = fit(
        whole, Objective(Rows(), squared), all_open(whole), params(), run, tmp_path / "whole"
    )
    result = fit(resumed, Objective(Rows(), squared), all_open(resumed), params(), run, tmp_path)
    assert "damaged" in caplog.text
    assert torch.equal(result.last_weights["first.weight"], expected.last_weights["first.weight"])


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_before_the_step_and_names_the_samples(
    poison, tmp_path, run_params
):
    net = make_net()
    before = {name: p.clone() for name, p in net.named_parameters()}

    def losses(model, batch):
        return {"itc": squared(model, batch)["itc"] * poison}

    with pytest.raises(NonFiniteLossError, match=r"row \d"):
        fit(net, Objective(Rows(), losses), all_open(net), params(), run_params, tmp_path)
    assert all(torch.equal(p, before[name]) for name, p in net.named_parameters())


def test_a_gradient_that_is_not_finite_stops_too(tmp_path, run_params):
    net = make_net()

    def losses(model, batch):
        # Finite forward, infinite backward: the square root's slope at zero.
        return {"itc": (model(batch["x"]) * 0).abs().sum().sqrt()}

    with pytest.raises(NonFiniteLossError, match="gradient norm"):
        fit(net, Objective(Rows(), losses), all_open(net), params(), run_params, tmp_path)


def test_only_the_open_groups_move(tmp_path, run_params):
    net = make_net()
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    groups = {"head": ["last.weight", "last.bias"]}
    opening = Opening(groups, lambda epoch: {"head"})
    fit(net, Objective(Rows(), squared), opening, params(), run_params, tmp_path)
    changed = {name for name, p in net.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {"last.weight", "last.bias"}


def test_a_frozen_tensor_that_moves_is_an_error(tmp_path, run_params):
    net = make_net()
    opening = Opening({"head": ["last.weight"]}, lambda epoch: {"head"})

    def losses(model, batch):
        with torch.no_grad():
            model.first.weight.add_(1e-3)
        return squared(model, batch)

    with pytest.raises(FreezingError, match="first.weight"):
        fit(net, Objective(Rows(), losses), opening, params(), run_params, tmp_path)


def test_digests_in_parts_see_what_a_digest_of_the_whole_sees(monkeypatch):
    net = make_net()
    whole = tensor_digests(net)
    monkeypatch.setattr("aquatint.training.freezing._NUMBERS_AT_ONCE", 5)
    assert tensor_digests(net) == whole
    with torch.no_grad():
        # Two numbers that lie in different parts.
        net.first.weight.view(-1)[[1, 17]] = net.first.weight.view(-1)[[17, 1]]
    changed = tensor_digests(net)
    assert {name for name in whole if changed[name] != whole[name]} == {"first.weight"}


def test_a_trainable_tensor_that_no_loss_reaches_is_an_error(tmp_path, run_params):
    net = make_net()

    def losses(model, batch):
        return {"itc": (model.first(batch["x"]) ** 2).mean()}

    with pytest.raises(FreezingError, match="last.weight"):
        fit(net, Objective(Rows(), losses), all_open(net), params(), run_params, tmp_path)


def test_groups_open_in_their_epochs(tmp_path, run_params):
    net = make_net()
    snapshots = []
    groups = {"head": ["last.weight", "last.bias"], "body": ["first.weight", "first.bias"]}
    opening = Opening(groups, lambda epoch: {"head"} if epoch < 2 else {"head", "body"})

    def evaluate(model):
        snapshots.append(model.first.weight.detach().clone())
        return {"score": 0.0}

    start = net.first.weight.detach().clone()
    fit(net, Objective(Rows(), squared, evaluate), opening, params(), run_params, tmp_path)
    assert torch.equal(snapshots[0], start)
    assert torch.equal(snapshots[1], start)
    assert not torch.equal(snapshots[2], start)


@pytest.mark.parametrize(("batch_size", "accumulation"), [(8, 1), (4, 2), (2, 4), (3, 3)])
def test_accumulation_gives_the_gradients_of_the_whole_batch(
    batch_size, accumulation, tmp_path, run_params
):
    def train(batch, steps, folder):
        net = make_net()
        net.dropout.p = 0.0
        stage = params(epochs=1, batch_size=batch, gradient_accumulation_steps=steps)
        rows = Rows(8)
        return fit(net, Objective(rows, squared), all_open(net), stage, run_params, folder)

    whole = train(8, 1, tmp_path / "whole")
    split = train(batch_size, accumulation, tmp_path / "split")
    assert split.history[0]["grad_norm"] == pytest.approx(whole.history[0]["grad_norm"], rel=1e-5)
    assert torch.allclose(
        split.last_weights["first.weight"], whole.last_weights["first.weight"], atol=1e-6
    )


def test_every_sample_is_seen_once_an_epoch_in_an_order_of_seed_and_epoch(tmp_path, run_params):
    rows, net = Rows(), make_net()
    fit(net, Objective(rows, squared), all_open(net), params(epochs=2), run_params, tmp_path)
    assert sorted(rows.fetched[:10]) == sorted(rows.fetched[10:]) == list(range(10))
    assert rows.fetched[:10] == epoch_order(10, 0, 0).tolist()
    assert rows.fetched[:10] != rows.fetched[10:]
    assert epoch_order(10, 1, 0).tolist() != rows.fetched[:10]


def test_eight_samples_are_overfitted(tmp_path, run_params):
    net = make_net()
    net.dropout.p = 0.0
    stage = params(epochs=200, batch_size=8)
    result = fit(net, Objective(Rows(8), squared), all_open(net), stage, run_params, tmp_path)
    assert result.history[-1]["loss"] < 0.01 * result.history[0]["loss"]


def test_the_best_weights_are_those_of_the_best_score_and_patience_stops(tmp_path, run_params):
    net, kept = make_net(), []
    scores = iter([0.1, 0.5, 0.3, 0.2, 0.9])

    def evaluate(model):
        kept.append(model.last.weight.detach().clone())
        return {"score": next(scores)}

    stage = params(epochs=5, early_stopping_patience=2)
    objective = Objective(Rows(), squared, evaluate)
    result = fit(net, objective, all_open(net), stage, run_params, tmp_path)
    assert len(kept) == 4, "two epochs without gain end the training"
    assert torch.equal(result.best_weights["last.weight"], kept[1])
    assert torch.equal(result.last_weights["last.weight"], kept[3])
    assert result.efficiency["best_score"] == 0.5


def test_validations_may_lie_epochs_apart_and_the_last_epoch_has_one(tmp_path, run_params):
    seen = []

    def evaluate(model):
        seen.append(len(rows.fetched))
        return {"score": -float(len(seen))}

    rows, net = Rows(), make_net()
    stage = params(epochs=5, validate_every_epochs=2)
    fit(net, Objective(rows, squared, evaluate), all_open(net), stage, run_params, tmp_path)
    assert seen == [20, 40, 50]


def test_loss_weights_follow_the_ramp(tmp_path, run_params):
    net = make_net()
    stage = params(epochs=4, ramped_losses=("itc",), loss_ramp=(0.5, 0.75, 1.0))
    result = fit(net, Objective(Rows(), squared), all_open(net), stage, run_params, tmp_path)
    weights = {row["epoch"]: row["weight_itc"] for row in result.history}
    assert weights == {0: 0.5, 1: 0.75, 2: 1.0, 3: 1.0}


def test_the_running_history_is_readable_lines(tmp_path, run_params):
    net = make_net()
    result = fit(net, Objective(Rows(), squared), all_open(net), params(), run_params, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / HISTORY).read_text().splitlines()]
    assert lines == result.history
    assert len(lines) == 9


def test_no_samples_is_an_error(tmp_path, run_params):
    net = make_net()
    with pytest.raises(ValueError, match="at least one sample, got 0"):
        fit(net, Objective(Rows(0), squared), all_open(net), params(), run_params, tmp_path)


def test_a_signal_during_the_last_evaluation_ends_the_run(tmp_path, run_params):
    import os
    import signal

    net = make_net()

    def evaluate(model):
        os.kill(os.getpid(), signal.SIGTERM)
        return {"score": 0.0}

    with pytest.raises(SystemExit) as caught:
        fit(
            net,
            Objective(Rows(), squared, evaluate),
            all_open(net),
            params(epochs=1),
            run_params,
            tmp_path,
        )
    assert caught.value.code == 128 + signal.SIGTERM


def test_a_kill_while_the_history_is_trimmed_keeps_it(tmp_path, run_params, monkeypatch):
    from aquatint.training import state

    net = make_net()
    fit(net, Objective(Rows(), squared), all_open(net), params(), run_params, tmp_path)
    before = (tmp_path / HISTORY).read_text()

    def crash(*args):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("aquatint.storage._write_bytes", crash)
        with pytest.raises(Killed):
            state.HistoryFile(tmp_path, 5)
    assert (tmp_path / HISTORY).read_text() == before


@pytest.mark.parametrize(
    ("ranks", "batch_size", "accumulation", "is_mean", "expected"),
    [
        (1, 1, 4, True, 1),
        (4, 1, 4, True, 4),  # one sample a rank in place of one rank at a time
        (3, 1, 4, True, 3),
        (8, 1, 4, True, 4),  # no further than one step reaches
        (2, 4, 2, True, 4),
        (4, 1, 4, False, 1),  # a loss over pairs depends on what is in a batch
    ],
)
def test_small_batches_leave_no_rank_idle_where_the_loss_is_a_mean(
    ranks, batch_size, accumulation, is_mean, expected, monkeypatch, run_params, tmp_path, caplog
):
    net, rows = make_net(), Rows()
    weights = torch.ones(len(rows)) if is_mean else None
    given = params(batch_size=batch_size, gradient_accumulation_steps=accumulation)
    objective = Objective(rows, squared, sample_weights=weights)
    loop = Loop(net, objective, all_open(net), given, run_params, tmp_path, torch.device("cpu"))
    monkeypatch.setattr("aquatint.training.loop.num_ranks", lambda: ranks)
    monkeypatch.setattr("aquatint.collective.num_ranks", lambda: ranks)
    assert loop.pass_size == expected
    with caplog.at_level("WARNING"):
        warn_of_idle_ranks(loop)
    assert ("processes have a sample" in caplog.text) == (expected < ranks)


def test_processes_that_nobody_started_are_an_error(tmp_path, run_params):
    net, run = make_net(), run_with(run_params, num_processes=2)
    with pytest.raises(ValueError, match=r"num_processes 2 .* asks for 2 processes"):
        fit(net, Objective(Rows(), squared), all_open(net), params(), run, tmp_path)
