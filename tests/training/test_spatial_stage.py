import numpy as np
import pandas as pd
import pytest
import torch

from aquatint.data.spatial_features import SPATIAL_FEATURES, spatial_features
from aquatint.models.spatial_mlp import SpatialMlp
from aquatint.params import OptimizerParams, StageParams
from aquatint.training.blind_baselines import predict_blindly
from aquatint.training.image_use import evaluate_spatial
from aquatint.training.spatial_stage import (
    SpatialPlan,
    choose_threshold,
    predict_spatial,
    train_spatial,
)
from aquatint.training.state import TrainingStateFolder


def objects(*rows):
    """Rows of (image, type, x1, y1, x2, y2)."""
    table = pd.DataFrame(rows, columns=["image_id", "object_type", "x1", "y1", "x2", "y2"])
    return table.assign(cx=(table["x1"] + table["x2"]) / 2, cy=(table["y1"] + table["y2"]) / 2)


def test_the_nine_numbers_by_hand():
    table = objects(
        ("a", "slope_drain", 0.4, 0.0, 0.6, 0.4),
        ("a", "rock_toe", 0.4, 0.3, 0.6, 0.5),
        ("a", "toe_drain", 0.4, 0.8, 0.6, 1.0),
        ("b", "vegetation", 0.0, 0.0, 0.5, 0.5),
    )
    found = pd.DataFrame(spatial_features(table), columns=SPATIAL_FEATURES)
    rock = found.iloc[1]
    assert rock["center_y"] == pytest.approx(0.4)
    assert rock["box_area"] == pytest.approx(0.04)
    assert rock["detector_confidence"] == 1
    assert rock["slope_drain_distance"] == pytest.approx(0.2 / 2**0.5)
    assert rock["is_near_slope_drain"] == 1
    assert rock["is_above_toe_drain"] == 1
    assert rock["is_below_slope_drain"] == 1
    assert found.iloc[0]["rock_toe_overlap"] == pytest.approx(0.25)
    assert found.iloc[3]["slope_drain_distance"] == 1, "other images do not count"
    assert ((found >= 0) & (found <= 1)).all().all()


def test_the_published_network_has_the_published_number_of_parameters():
    network = SpatialMlp(feature_width=512, num_types=4, type_width=32, num_spatial=9,
                         hidden=(256, 128), num_answers=2, dropout=0.3)  # fmt: skip
    assert sum(p.numel() for p in network.parameters()) == 175_106


def test_every_input_of_the_network_matters():
    torch.manual_seed(0)
    network = SpatialMlp(feature_width=8, num_types=4, type_width=4, num_spatial=9,
                         hidden=(16, 8), num_answers=2, dropout=0.0).eval()  # fmt: skip
    features, types, spatial = torch.randn(2, 8), torch.tensor([0, 1]), torch.rand(2, 9)
    base = network(features, types, spatial)
    assert base.shape == (2, 2)
    for changed in (
        network(features + 1, types, spatial),
        network(features, types + 1, spatial),
        network(features, types, spatial + 1),
    ):
        assert not torch.allclose(base, changed)


def test_threshold_and_temperature_are_chosen_on_what_they_are_given():
    logits = np.array([[0.0, -4.0], [0.0, -3.0], [0.0, -1.5], [0.0, -1.0]])
    found = choose_threshold(logits, np.array([0, 0, 1, 1]))
    chance = 1 / (1 + np.exp(-logits[:, 1] / found["temperature"]))
    assert ((chance >= found["threshold"]) == [False, False, True, True]).all()
    sure = np.array([[9.0, 0.0], [0.0, 9.0]] * 10)
    assert choose_threshold(sure, np.array([0, 1, 1, 0] * 5))["temperature"] > 2


@pytest.mark.parametrize("target", ["binary", "condition"])
def test_it_learns_from_frozen_features_and_stands_beside_its_baselines(
    target, inspection_data, run_params, tmp_path
):
    params = StageParams(
        epochs=40,
        batch_size=8,
        optimizer=OptimizerParams(learning_rate=1e-2, weight_decay=0.0, warmup_fraction=0.0),
        loss_weights={"answer": 1.0},
    )
    plan = SpatialPlan(params, target, (32, 16), 8, 0.0, True)
    states = TrainingStateFolder(str(tmp_path))
    checkpoint, history = train_spatial(plan, inspection_data, run_params, states)
    assert history["loss"].iloc[-1] < 0.5 * history["loss"].iloc[0]
    found = predict_spatial(checkpoint, inspection_data, "test")
    metrics = evaluate_spatial(found, inspection_data.instances)
    assert metrics["n"] == len(inspection_data.rows("test"))
    assert metrics["accuracy"] > 0.6
    chances = np.stack(found["probabilities"].to_list())
    answers = found["answers"].iloc[0]
    truth = np.array([[name == target for name in answers] for target in found["target"]])
    assert metrics["brier_error"] == pytest.approx(((chances - truth) ** 2).sum(1).mean())
    assert 0 <= metrics["expected_calibration_error"] <= 1
    assert metrics["faulty_roc_area"] > 0.5
    assert set(metrics["baselines"]) == {"majority", "type_only", "type_and_position"}
    again, _ = train_spatial(plan, inspection_data, run_params, TrainingStateFolder(f"{tmp_path}b"))
    assert again.digest == checkpoint.digest


def test_blind_answers_come_from_train_and_fall_back_where_nothing_is_known():
    train = pd.DataFrame({"object_type": list("aaabb"), "position": ["top"] * 3 + ["low"] * 2,
                          "class_name": ["x", "x", "y", "y", "y"]})  # fmt: skip
    asked = pd.DataFrame({"object_type": list("abc"), "position": ["low", "low", "top"]})
    names = predict_blindly(train, asked, ("object_type", "position"), "class_name")
    assert names.tolist() == ["x", "y", "y"]
    assert predict_blindly(train, asked, (), "class_name").tolist() == ["y"] * 3
    with pytest.raises(ValueError, match="at least one train instance"):
        predict_blindly(train[:0], asked, (), "class_name")
