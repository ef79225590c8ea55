"""What is handed to ranks comes back as it was, and nothing foreign is ever imported."""

import json
from dataclasses import dataclass

import pandas as pd
import pytest
import torch

from aquatint.params import OptimizerParams
from aquatint.training.checkpoint import Checkpoint
from aquatint.training.retrieval_predictions import Predictions
from aquatint.training.retrieval_stage import train_retrieval
from aquatint.training.work_order import (
    VALUE,
    find_function,
    name_function,
    read_value,
    write_value,
)


def round_trip(value, folder):
    folder.mkdir()
    write_value(value, folder)
    return read_value(folder)


@pytest.mark.parametrize(
    "value",
    [
        None,
        [1, 2.5, "a", True, None],
        (1, ("b", [])),
        {"list": [1], "nested": {"tuple": (0.1,)}},
        OptimizerParams(learning_rate=1e-3, weight_decay=0.01, warmup_fraction=0.1),
        torch.device("cpu"),
    ],
)
def test_values_come_back_equal_and_of_the_same_type(value, tmp_path):
    found = round_trip(value, tmp_path / "order")
    assert found == value
    assert type(found) is type(value)


def test_a_checkpoint_comes_back_bit_for_bit(tmp_path):
    shared = torch.randn(3, 2)
    weights = {
        "a": shared,
        "b": shared,
        "half": torch.ones(2).bfloat16(),
        "scalar": torch.tensor(1),
    }
    checkpoint = Checkpoint(weights, {"width": 2}, {"stage": "stage1"})
    found = round_trip(checkpoint, tmp_path / "order")
    assert found.digest == checkpoint.digest
    assert found.lineage == checkpoint.lineage


def test_plans_tables_and_handles_come_back(make_plan, retrieval_data, tmp_path):
    plan, data = round_trip((make_plan("stage2"), retrieval_data), tmp_path / "order")
    assert plan == make_plan("stage2")
    assert data.backbone == retrieval_data.backbone
    assert data.caches == retrieval_data.caches
    for name, table in vars(retrieval_data.tables).items():
        pd.testing.assert_frame_equal(getattr(data.tables, name), table)


def test_named_tuples_and_empty_tables_come_back(tmp_path):
    tables = [pd.DataFrame({"x": [1.0, 2.0]}), *[pd.DataFrame()] * 4]
    found = round_trip(Predictions(*tables), tmp_path / "order")
    assert isinstance(found, Predictions)
    assert found.image_embeds["x"].tolist() == [1.0, 2.0]
    assert found.boxes.empty


@dataclass
class Foreign:
    value: int = 0


@pytest.mark.parametrize("value", [object(), {1: 2}, Foreign(), {1, 2}, lambda: None])
def test_what_cannot_be_handed_over_is_an_error(value, tmp_path):
    (tmp_path / "order").mkdir()
    with pytest.raises((TypeError, ValueError), match="aquatint|got"):
        write_value(value, tmp_path / "order")


@pytest.mark.parametrize(
    "content",
    [
        {"object": ["os:system", {}]},
        {"object": ["subprocess:Popen", {"args": "true"}]},
        {"object": ["aquatint.training.launch:subprocess", {}]},
        {"object": ["aquatint.training.launch:launch", {}]},
        {"model": ["aquatint.storage:DamagedArtefactError", {}]},
        {"table": "../../secret.parquet"},
        {"unknown": "x"},
    ],
)
def test_an_order_that_names_something_else_is_refused(content, tmp_path):
    folder = tmp_path / "order"
    round_trip(1, folder)
    (folder / VALUE).write_text(json.dumps(content))
    with pytest.raises((ValueError, FileNotFoundError)):
        read_value(folder)


def test_functions_go_by_name_and_only_those_of_modules_here():
    assert find_function(name_function(train_retrieval)) is train_retrieval
    with pytest.raises(ValueError, match="nothing of aquatint"):
        name_function(round_trip)
    with pytest.raises(ValueError, match="no function of aquatint"):
        find_function("aquatint.training.launch:signal")
    with pytest.raises(ValueError, match="own functions alone"):
        name_function(torch.no_grad()(train_retrieval))
