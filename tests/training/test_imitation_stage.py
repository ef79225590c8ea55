"""Imitation: it learns what only words or pictures tell, it resumes, it flies what it learnt."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from aquatint.data.flight_records import NUM_ACTIONS
from aquatint.features.cache import FeatureStore, build_cache
from aquatint.features.flights import frame_keys
from aquatint.params import OptimizerParams, StageParams
from aquatint.training.checkpoint import CheckpointMismatchError
from aquatint.training.imitation_evaluation import evaluate_predictions, step_metrics
from aquatint.training.imitation_policy import Sight
from aquatint.training.imitation_rollout import Loop, roll_out_all
from aquatint.training.imitation_samples import ImitationData, ImitationSamples
from aquatint.training.imitation_stage import (
    ImitationPlan,
    follow_both,
    restore_policy,
    train_imitation,
)
from aquatint.training.navigation_rollout import (
    RandomPolicy,
    compare_policies,
    judge,
    roll_out,
    simple_policies,
)
from aquatint.training.state import TrainingStateFolder
from imitation_fixture import Corridor, toy_data
from killed import killed_after


def plan(kind="cma", epochs=25, **changes):
    params = StageParams(
        epochs=epochs,
        batch_size=4,
        optimizer=OptimizerParams(learning_rate=1e-2, weight_decay=0.0, warmup_fraction=0.0),
        loss_weights={"action": 1.0, "progress": 1.0},
    )
    values = {"inflection_weight": 3.2, "last_action_dropout": 0.5, "hidden": 24, **changes}
    return ImitationPlan(kind, params, **values)


def train(data, backbone, run, folder, **options):
    return train_imitation(plan(**options), data, backbone, run, TrainingStateFolder(str(folder)))


@pytest.mark.parametrize("kind", ["cma", "seq2seq"])
def test_it_learns_to_do_what_it_is_told_and_another_instruction_misleads_it(
    kind, backbone, run_params, tmp_path
):
    data = toy_data(tmp_path / "cache")
    checkpoint, history = train(data, backbone, run_params, tmp_path / "s", kind=kind)
    assert history["loss_action"].iloc[-1] < 0.2 * history["loss_action"].iloc[0]
    found = evaluate_predictions(follow_both(checkpoint, data, "test", 4, run_params))
    assert found["accuracy"] > 0.95
    assert found["progress_error"] < 0.15
    assert found["misled"]["fall"] > 0.2
    assert found["baselines"]["last_action"]["inflection_accuracy"] < 0.2
    assert found["n"] == 12 * 6


def test_it_learns_what_only_pictures_show(backbone, run_params, tmp_path):
    data = toy_data(tmp_path / "cache", is_told=False)
    checkpoint, _ = train(data, backbone, run_params, tmp_path / "s")
    found = evaluate_predictions(follow_both(checkpoint, data, "test", 4, run_params))
    assert found["accuracy"] > 0.95
    assert found["misled"]["fall"] == 0


def test_a_killed_training_goes_on_to_the_same_bits(backbone, run_params, tmp_path):
    data = toy_data(tmp_path / "cache", num_flights=16)
    run = run_params.model_copy(update={"save_state_every_steps": 1})
    whole, history = train(data, backbone, run, tmp_path / "whole", epochs=3)
    with killed_after(4):
        train(data, backbone, run, tmp_path / "killed", epochs=3)
    again, resumed = train(data, backbone, run, tmp_path / "killed", epochs=3)
    assert again.digest == whole.digest
    assert resumed["loss"].tolist() == history["loss"].tolist()


def test_targets_of_the_split_change_no_prediction(backbone, run_params, tmp_path):
    """But through the action of the step before, which is an input."""
    data = toy_data(tmp_path / "cache", num_flights=16)
    checkpoint, _ = train(data, backbone, run_params, tmp_path / "s", epochs=1)
    last = data.steps["step"] == 5
    changed = data.steps.assign(
        action=data.steps["action"].where(~last, 1), progress=0.1 * data.steps["progress"]
    )
    other = ImitationData(data.records, changed, data.instructions, data.pictures, data.depth,
                          data.vectors)  # fmt: skip
    first, second = (follow_both(checkpoint, d, "test", 4, run_params) for d in (data, other))
    assert first[["predicted", "progress"]].equals(second[["predicted", "progress"]])


def test_samples_are_padded_behind_their_ends(backbone, tmp_path):
    data = toy_data(tmp_path / "cache", num_flights=8)
    short = data.steps[~((data.steps["flight_id"] == "train/house/000000")
                         & (data.steps["step"] > 3))]  # fmt: skip
    records = data.records.assign(
        num_steps=[4 if name.endswith("0000") else 6 for name in data.records["flight_id"]]
    )
    cut = ImitationData(records, short, data.instructions, data.pictures, data.depth, data.vectors)
    batch = ImitationSamples(cut, "train").batch(torch.tensor([0, 1]))
    assert batch["is_step"].sum(1).tolist() == [4, 6]
    assert batch["last_actions"][0, 0] == NUM_ACTIONS
    assert (batch["rgb"][0, 4:] == 0).all()
    assert batch["rgb"].shape == (2, 6, 4, 6)


def test_a_checkpoint_of_another_policy_is_refused(backbone, run_params, tmp_path):
    data = toy_data(tmp_path / "cache", num_flights=8)
    checkpoint, _ = train(data, backbone, run_params, tmp_path / "s", epochs=1)
    checkpoint.spec["kind"] = "seq2seq"
    with pytest.raises(CheckpointMismatchError, match="unexpected"):
        restore_policy(checkpoint, "cpu")


def test_step_metrics_by_hand():
    found = pd.DataFrame({
        "instruction_id": ["a"] * 3 + ["b"] * 2, "flight_id": ["a"] * 3 + ["b"] * 2,
        "target": [1, 1, 0, 2, 2], "predicted": [1, 0, 0, 2, 1],
        "progress": [0.0, 0.5, 1.0, 0.0, 0.5], "progress_target": [0.0, 0.5, 1.0, 0.0, 1.0],
    })  # fmt: skip
    metrics = step_metrics(found)
    assert metrics["accuracy"] == pytest.approx(3 / 5)
    assert metrics["num_inflections"] == 3
    assert metrics["inflection_accuracy"] == 1
    assert metrics["progress_error"] == pytest.approx(0.1)


def test_policies_fly_until_they_stop_and_are_compared_on_the_same_episodes():
    tables = []
    for name, policy in simple_policies(seed=0).items():
        results = roll_out(Corridor(), policy, 20)
        tables.append(judge(results, 3.0, 3.0, requires_stop=True).assign(policy=name))
    episodes = pd.concat(tables, ignore_index=True)
    expert = episodes[episodes["policy"] == "expert"]
    assert expert["success"].tolist() == [1, 1]
    assert expert["path_length_m"].tolist() == [10, 10]
    forward = episodes[episodes["policy"] == "forward"]
    assert forward["success"].tolist() == [0, 0]
    assert forward["oracle_success"].tolist() == [1, 1]
    found = compare_policies(episodes, {"expert": "forward"})
    assert found["policies"]["expert"]["spl"] == 1
    assert found["comparisons"]["expert"]["difference"] == 1
    assert found["comparisons"]["expert"]["n"] == 2


def test_chance_and_flights_are_each_agents_own_whoever_flies_with_it():
    policy = RandomPolicy(0)
    draws = []
    for agents in ([0, 1, 2], [2]):
        policy.begin(Corridor(), 3)
        draws.append([policy.decide(Corridor(), agents)[-1] for _ in range(40)])
    assert draws[0] == draws[1]
    assert len(set(draws[0])) > 2
    whole = roll_out(Corridor(), policy, 20)
    parts = [roll_out(Corridor(), policy, 20, agents=[agent])[0] for agent in (0, 1)]
    for own, other in zip(whole, parts, strict=True):
        assert np.array_equal(own["path"], other["path"])


def test_a_simulator_with_other_words_is_refused(backbone, run_params, tmp_path):
    data = toy_data(tmp_path / "cache", num_flights=8)
    checkpoint, _ = train(data, backbone, run_params, tmp_path / "s", epochs=1)

    class Talking(Corridor):
        def word_vectors(self):
            return np.ones((9, 5), np.float32)

    loop = Loop(5, 3.0, 3.0, requires_stop=True, wording=0)
    with pytest.raises(ValueError, match="cma was trained with 7 word vectors .* the 8 of"):
        roll_out_all(Talking(), backbone, {"cma": checkpoint}, Sight(48, 3, 1.0), loop, run_params)


def test_what_all_features_of_a_place_have_in_common_changes_nothing(
    backbone, run_params, tmp_path
):
    """Frozen features differ by a hundredth of what they share: policies see the hundredth."""
    data = toy_data(tmp_path / "cache", num_flights=16)
    reader = data.pictures.open()
    keys = frame_keys(data.records)["key"].tolist()
    stored = reader.read(reader.places(keys))
    offset = np.linspace(-50, 50, stored[0].size, dtype=np.float32).reshape(stored[0].shape)
    shifted = build_cache(FeatureStore(str(tmp_path / "other"), 1.0), {"kind": "shifted"}, keys,
                          lambda i: stored[list(i)] * 3 + offset)  # fmt: skip
    first, second = (
        follow_both(train(d, backbone, run_params, tmp_path / n, epochs=1)[0], d, "test", 4,
                    run_params)
        for n, d in (("own", data), ("shifted", dataclasses.replace(data, pictures=shifted)))
    )  # fmt: skip
    assert np.allclose(first["progress"], second["progress"], atol=1e-3)
