"""What a training does when the world is against it: signals, full disks, threads, tiny batches."""

import errno
import os
import signal

import pytest
import torch
from test_fit import Rows, all_open, make_net, params, run_with, squared

from aquatint import storage
from aquatint.training.fit import fit
from aquatint.training.memory import explained_out_of_memory
from aquatint.training.objective import Objective, Opening
from aquatint.training.retrieval_stage import train_retrieval


def signalling(*at):
    """Losses that send signals at some steps: ``(step, number)``."""
    sent = dict(at)
    steps = iter(range(1000))

    def losses(model, batch):
        number = sent.get(next(steps))
        if number:
            os.kill(os.getpid(), number)
        return squared(model, batch)

    return losses


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_step_saves_and_says_how_to_go_on(
    tmp_path, run_params, caplog, number
):
    net = make_net()
    # Not python's own handler where the tests run in the background: there SIGINT is ignored.
    before = signal.getsignal(signal.SIGINT)
    objective = Objective(Rows(), signalling((4, number)))
    with pytest.raises(SystemExit) as caught:
        fit(net, objective, all_open(net), params(), run_params, tmp_path)
    assert caught.value.code == 128 + number
    assert list(tmp_path.glob("step-00000005*")), "the step of the signal was finished"
    assert "Give the same command again" in caplog.text
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_signal_ends_at_once(tmp_path, run_params, monkeypatch):
    monkeypatch.setattr("aquatint.training.interruption._ONE_WISH_SECONDS", 0.0)
    net = make_net()

    def losses(model, batch):
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("nothing runs after the second")

    with pytest.raises(SystemExit) as caught:
        fit(net, Objective(Rows(), losses), all_open(net), params(), run_params, tmp_path)
    assert caught.value.code == 128 + signal.SIGTERM
    assert not list(tmp_path.glob("step-*"))


def test_a_scheduler_that_signals_a_process_and_its_parent_has_one_wish(tmp_path, run_params):
    net = make_net()
    twice = [signalling((4, signal.SIGTERM)), signalling((4, signal.SIGTERM))]

    def losses(model, batch):
        return [signalled(model, batch) for signalled in twice][0]

    with pytest.raises(SystemExit):
        fit(net, Objective(Rows(), losses), all_open(net), params(), run_params, tmp_path)
    assert list(tmp_path.glob("step-00000005*")), "the step of the signals was finished"


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, "the disk is full"), (errno.EROFS, "read-only"), (errno.EDQUOT, "quota")],
)
def test_a_disk_that_refuses_keeps_the_last_state_and_the_training_goes_on_later(
    tmp_path, run_params, monkeypatch, number, words
):
    whole = make_net()
    run = run_with(run_params, save_state_every_steps=1)
    expected = fit(
        whole, Objective(Rows(), squared), all_open(whole), params(), run, tmp_path / "whole"
    )
    writes = iter(range(1000))
    original = storage._write_bytes

    def refuse(path, content):
        if next(writes) > 4:
            raise OSError(number, os.strerror(number))
        original(path, content)

    net = make_net()
    with monkeypatch.context() as patch:
        patch.setattr(storage, "_write_bytes", refuse)
        with pytest.raises(OSError, match=f"{words}.*Nothing already written is lost"):
            fit(net, Objective(Rows(), squared), all_open(net), params(), run, tmp_path / "full")
    kept = sorted(path.name for path in (tmp_path / "full").glob("step-*"))
    assert kept
    assert not list((tmp_path / "full").glob(".tmp-*"))
    net = make_net()
    resumed = fit(net, Objective(Rows(), squared), all_open(net), params(), run, tmp_path / "full")
    for name, tensor in expected.last_weights.items():
        assert torch.equal(resumed.last_weights[name], tensor), name


def test_another_thread_count_changes_only_the_last_digits(tmp_path, run_params):
    results = []
    for threads in (1, 2):
        net = make_net()
        run = run_with(run_params, num_threads=threads)
        folder = tmp_path / str(threads)
        results.append(fit(net, Objective(Rows(), squared), all_open(net), params(), run, folder))
    for name, tensor in results[0].last_weights.items():
        assert torch.allclose(results[1].last_weights[name], tensor, atol=1e-5), name


@pytest.mark.parametrize("batch_size", [7, 1])
def test_a_batch_of_one_image_trains_without_nan(
    make_plan, retrieval_data, run_params, states, batch_size
):
    """Eight images in batches of 7 leave one, which has no negative of another building."""
    plan = make_plan(
        "stage2",
        mode="lora",
        opening=(("adapters", "heads", "block_1"),),
        batch_size=batch_size,
        epochs=1,
    )
    _, history = train_retrieval(plan, retrieval_data, None, run_params, states)
    assert history["num_samples"].min() == 1
    terms = history[["loss", "loss_itc", "loss_itm", "loss_bbox", "loss_spatial"]]
    assert terms.notna().all(axis=None)
    alone = history[history["num_samples"] == 1]
    # One image and its two captions: all pairs are positive, and log 2 is the least there is.
    assert alone["loss_itc"].between(0.6931, 0.8).all()


def test_a_group_that_never_opens_stays(tmp_path, run_params):
    net = make_net()
    before = net.last.weight.clone()
    opening = Opening({"first": ["first.weight"], "last": ["last.weight"]}, lambda epoch: {"first"})
    fit(net, Objective(Rows(), squared), opening, params(), run_params, tmp_path)
    assert torch.equal(net.last.weight, before)


def test_out_of_memory_names_what_helps_and_keeps_the_state(tmp_path, run_params):
    net = make_net()
    run = run_with(run_params, save_state_every_steps=1)
    steps = iter(range(1000))

    def losses(model, batch):
        if next(steps) == 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return squared(model, batch)

    with pytest.raises(MemoryError) as caught:
        fit(net, Objective(Rows(), losses), all_open(net), params(), run, tmp_path)
    message = str(caught.value)
    for part in ("batch_size 4", "2 GiB", "gradient_checkpointing", "-84 %", "bfloat16", "-38 %"):
        assert part in message
    assert list(tmp_path.glob("step-00000003*"))


def test_advice_leaves_out_what_is_done_already(run_params):
    done = run_with(run_params, gradient_checkpointing=True, precision="bfloat16")
    with pytest.raises(MemoryError, match="fewer open blocks"), explained_out_of_memory(1, done):
        raise torch.OutOfMemoryError
    with pytest.raises(MemoryError) as caught, explained_out_of_memory(8, done):
        raise torch.OutOfMemoryError
    assert "half the batch_size" in str(caught.value)
    assert "gradient_checkpointing=true" not in str(caught.value)


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_gradient_checkpointing_changes_no_number_and_saves_memory(
    make_plan, deep_data, run_params, states, mode
):
    plan = make_plan(
        "stage2",
        mode=mode,
        opening=(("adapters", "heads", "block_1", "block_2"),),
        backbone=deep_data.backbone,
    )
    kept = []
    checkpoints = []
    for is_on in (False, True):
        run = run_with(run_params, gradient_checkpointing=is_on)
        sizes = {}

        def note(tensor, sizes=sizes):
            storage = tensor.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
            return tensor

        folder = type(states)(f"{states.root}-{is_on}")
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            checkpoints.append(train_retrieval(plan, deep_data, None, run, folder)[0])
        kept.append(sum(sizes.values()))
    assert checkpoints[0].digest == checkpoints[1].digest
    assert kept[1] < 0.8 * kept[0]
