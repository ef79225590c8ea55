"""The trainer's contract: the documented example runs, and its checkpoints go on to the bit."""

import re
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from aquatint.data.flight_records import RecordRule
from aquatint.training.checkpoint import weights_digest
from aquatint.training.experiment import EvalCfg, ExpCfg, IlCfg
from aquatint.training.trainer import PolicyTrainer, build_model, register_model

PAGE = Path(__file__).parents[2] / "docs" / "custom_trainer.md"


@pytest.fixture(scope="module")
def example(tmp_path_factory, run_params):
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[1]
    found = {"run": run_params, "folder": tmp_path_factory.mktemp("trainer")}
    torch.manual_seed(7)
    exec(compile(code, str(PAGE), "exec"), found)
    return found


def trainer(example, folder):
    return PolicyTrainer(
        example["experiment"], example["steps"], example["steps"], example["run"], folder
    )


def test_the_documented_example_learns(example):
    done = example["trainer"]
    assert done.is_finished
    assert done.epoch == 4
    assert done.eval_epoch()["val_action"] < 1.38, "chance is log 4"
    assert list((example["folder"] / "checkpoints").glob("step-*"))
    with pytest.raises(ValueError, match="All 4 epochs"):
        done.train_epoch()


def test_a_loaded_checkpoint_goes_on_to_the_same_bits(example, tmp_path):
    first = trainer(example, tmp_path / "first")
    for _ in range(2):
        first.train_epoch()
    first.save_checkpoint(tmp_path / "saved")
    second = trainer(example, tmp_path / "second")
    second.load_checkpoint(tmp_path / "saved")
    assert second.epoch == 2
    ends = []
    for each in (first, second, trainer(example, tmp_path / "third")):
        while not each.is_finished:
            each.train_epoch()
        ends.append(weights_digest(each.model.state_dict()))
    assert len(set(ends)) == 1


def test_what_is_missing_is_named(example, tmp_path):
    with pytest.raises(FileNotFoundError, match="no complete checkpoint"):
        trainer(example, tmp_path / "a").load_checkpoint(tmp_path / "none")
    with pytest.raises(ValueError, match="'other' is not registered; registered are:.*nearest"):
        build_model("other", {})
    with pytest.raises(ValueError, match="registered already"):
        register_model("nearest_turn")(lambda: None)
    many = example["experiment"].model_copy(update={"num_gpus": 2})
    with pytest.raises(ValueError, match="in one process"):
        PolicyTrainer(many, example["steps"], example["steps"], example["run"], tmp_path / "b")


def test_configurations_are_checked_and_fit_the_engine():
    il = IlCfg(epochs=80, batch_size=2, lr=1e-4, filter_failure=True)
    assert il.stage.optimizer.learning_rate == 1e-4
    rule = RecordRule(mode="strict", max_rejected_fraction=0.0, **il.reading)
    assert (rule.keeps_failed, rule.min_failed_steps, rule.max_steps) == (False, 15, 200)
    named = ExpCfg(name="first", model_name="cma", il=il, eval=EvalCfg(success_distance=2.0))
    stated = named.recipe_parameters()
    assert stated["cma"]["rollout"]["loop"]["success_radius_m"] == 2.0
    assert stated["cma"]["cma"]["train"]["inflection_weight"] == 3.2
    assert stated["cma"]["cma"]["train"]["optimizer"]["learning_rate"] == 1e-4
    assert stated["run"]["label"] == "first"
    diffused = named.model_copy(update={"model_name": "rdp"}).recipe_parameters()
    assert "inflection_weight" not in diffused["cma"]["rdp"]["train"]
    with pytest.raises(ValueError, match="cma, seq2seq, rdp"):
        named.model_copy(update={"model_name": "other"}).recipe_parameters()
    both = {"dataset_r2r_root_dir": "a", "lmdb_features_dir": "b"}
    with pytest.raises(ValidationError, match="two sources"):
        IlCfg(epochs=1, batch_size=1, lr=1.0, **both)
    with pytest.raises(ValidationError, match="no parameter 'Filter_failure'"):
        IlCfg(epochs=1, batch_size=1, lr=1.0, Filter_failure=True)
    with pytest.raises(ValidationError, match="val_seen"):
        EvalCfg(split="train")
    with pytest.raises(ValidationError, match="name"):
        ExpCfg(name="a b", model_name="cma", il=il)
