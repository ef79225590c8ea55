"""Trackers get every step of a history, and their absence is told before anything runs."""

import pandas as pd
import pytest

from aquatint import hooks


@pytest.fixture
def history():
    return pd.DataFrame({"step": [0, 1], "loss": [2.0, 1.0], "val_r_mean": [float("nan"), 0.5]})


def test_rows_leave_out_what_was_not_measured(history):
    assert list(hooks._rows(history)) == [
        (0, {"loss": 2.0}),
        (1, {"loss": 1.0, "val_r_mean": 0.5}),
    ]


def test_tensorboard_gets_every_step(history, tmp_path, monkeypatch):
    written = []

    class Writer:
        def __init__(self, folder):
            self.folder = folder

        def add_scalar(self, name, value, step):
            written.append((name, value, step))

        def close(self):
            written.append("closed")

    class Module:
        SummaryWriter = Writer

    monkeypatch.setattr(hooks, "_import_tracker", lambda name: Module)
    hooks._log_tensorboard(tmp_path, "run", "stage1", history)
    assert written == [("loss", 2.0, 0), ("loss", 1.0, 1), ("val_r_mean", 0.5, 1), "closed"]


def test_a_tracker_that_is_not_installed_is_told_before_the_run(monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(hooks.importlib, "import_module", missing)
    with pytest.raises(ImportError, match=r"pip install -e '\.\[wandb\]'"):
        hooks._import_tracker("wandb")
