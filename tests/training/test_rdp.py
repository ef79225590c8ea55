"""RDP: it learns what it is told, resumes, flies what it learnt."""

import numpy as np
import pytest
import torch

from aquatint.data.increments import IncrementRule
from aquatint.models.rdp import RecurrentDiffusionPolicy
from aquatint.params import OptimizerParams, StageParams
from aquatint.training import fit as fit_module
from aquatint.training.checkpoint import CheckpointMismatchError
from aquatint.training.imitation_evaluation import evaluate_predictions
from aquatint.training.imitation_samples import ImitationData
from aquatint.training.launch import launch
from aquatint.training.rdp_evaluation import chunk_metrics, follow_rdp
from aquatint.training.rdp_samples import NoisySamples, RdpSamples, journey
from aquatint.training.rdp_stage import (
    RdpPlan,
    compute_rdp_losses,
    follow_rdp_both,
    restore_rdp,
    train_rdp,
)
from aquatint.training.state import TrainingStateFolder
from imitation_fixture import toy_data

RULE = IncrementRule(4, 2, step_m=2.5, turn_rad=np.radians(15), motion_scale_m=10.0)
MODEL = {
    "picture_grid": 2, "width": 16, "hidden": 24, "num_cross_blocks": 1, "num_heads": 2,
    "dropout": 0.0, "guidance_scale": 1.5,
    "decoder": {"horizon": 4, "num_blocks": 1, "feedforward_width": 32},
    "diffusion": {"num_train_timesteps": 6, "sampler": "ddpm", "prediction_type": "epsilon"},
}  # fmt: skip


def plan(epochs=25, **changes):
    params = StageParams(
        epochs=epochs,
        batch_size=8,
        optimizer=OptimizerParams(learning_rate=1e-2, weight_decay=0.0, warmup_fraction=0.05),
        loss_weights={"action": 1.0, "progress": 1.0, "stop_progress": 10.0},
    )
    values = {"untold_share": 0.25, "last_action_dropout": 0.5, "stop_threshold": 0.9,
              "num_executed": 1, "num_val_samples": 4, **changes}  # fmt: skip
    return RdpPlan(params, RULE, MODEL, **values)


def train(data, backbone, run, folder, **options):
    return train_rdp(plan(**options), data, backbone, run, TrainingStateFolder(str(folder)))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return toy_data(tmp_path_factory.mktemp("rdp"))


def test_it_learns_to_go_where_it_is_told(data, backbone, run_params, tmp_path):
    checkpoint, history = train(data, backbone, run_params, tmp_path, epochs=30)
    assert history["loss_action"].iloc[-5:].mean() < 0.4 * history["loss_action"].iloc[0]
    predictions = follow_rdp_both(checkpoint, data, "test", 4, run_params)
    found = evaluate_predictions(predictions)
    print(found["accuracy"], found["misled"]["fall"], found["per_class"], found["progress_error"])
    chunks = chunk_metrics(predictions)
    print(chunks)
    assert found["accuracy"] > 0.9
    assert found["misled"]["fall"] > 0.1
    assert chunks["own"]["average_error_m"] < 0.5 * chunks["still"]["average_error_m"]
    assert chunks["own"]["average_error_m"] < chunks["other"]["average_error_m"]
