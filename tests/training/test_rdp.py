"""RDP: it learns eight samples, resumes to the bit, and is judged and flown as it should be."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from aquatint.data.increments import IncrementRule
from aquatint.features.views import ViewEncoder
from aquatint.models.rdp import Journey, RecurrentDiffusionPolicy
from aquatint.params import OptimizerParams, StageParams
from aquatint.pipelines.cma.nodes import evaluate_chunks
from aquatint.training.checkpoint import CheckpointMismatchError
from aquatint.training.imitation_evaluation import step_metrics
from aquatint.training.imitation_policy import Sight
from aquatint.training.imitation_rollout import Loop, roll_out_all
from aquatint.training.imitation_samples import ForgetfulSamples, ImitationSamples
from aquatint.training.rdp_evaluation import follow_rdp
from aquatint.training.rdp_samples import NoisySamples, RdpSamples, journey
from aquatint.training.rdp_stage import (
    RdpPlan,
    compute_rdp_losses,
    follow_rdp_both,
    restore_rdp,
    train_rdp,
)
from aquatint.training.state import TrainingStateFolder
from imitation_fixture import Corridor, toy_data
from killed import killed_after

RULE = IncrementRule(4, 2, step_m=2.5, turn_rad=np.radians(15), motion_scale_m=10.0)
MODEL = {
    "picture_grid": 2, "width": 16, "hidden": 24, "num_cross_blocks": 1, "num_heads": 2,
    "dropout": 0.0, "guidance_scale": 1.5,
    "decoder": {"horizon": 4, "num_blocks": 1, "feedforward_width": 32},
    "diffusion": {"num_train_timesteps": 6, "sampler": "ddpm", "num_inference_steps": 6,
                  "prediction_type": "sample"},
}  # fmt: skip
SHAPES = {"rgb_width": 6, "num_rgb_places": 4, "depth_width": 2, "num_depth_places": 9}


def plan(epochs=2, batch_size=8, **changes):
    params = StageParams(
        epochs=epochs,
        batch_size=batch_size,
        optimizer=OptimizerParams(learning_rate=3e-3, weight_decay=0.0, warmup_fraction=0.0),
        loss_weights={"action": 1.0, "progress": 1.0, "stop_progress": 10.0},
    )
    values = {"untold_share": 0.25, "last_action_dropout": 0.5, "stop_threshold": 0.9,
              "num_executed": 1, "num_val_samples": 2, **changes}  # fmt: skip
    return RdpPlan(params, RULE, MODEL, **values)


def train(data, backbone, run, folder, **options):
    return train_rdp(plan(**options), data, backbone, run, TrainingStateFolder(str(folder)))


def build(data):
    torch.manual_seed(0)
    return RecurrentDiffusionPolicy(vectors=data.vectors.clone(), num_past=2, **SHAPES, **MODEL)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return toy_data(tmp_path_factory.mktemp("rdp"), num_flights=16)


@pytest.fixture(scope="module")
def trained(data, backbone, run_params, tmp_path_factory):
    return train(data, backbone, run_params, tmp_path_factory.mktemp("s"))


def test_eight_samples_are_learnt_with_what_they_are_told(data, run_params):
    """Told the other side, it turns there: nothing else says to which."""
    model = build(data)
    samples = RdpSamples(data, "train", RULE)
    noisy = NoisySamples(samples, 6, 0.25, 0.5, seed=0)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    losses = []
    for epoch in range(250):
        noisy.begin_epoch(epoch)
        terms = compute_rdp_losses(model, noisy.batch(torch.arange(8)))
        loss = terms["action"] + terms["progress"] + 10 * terms["stop_progress"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(terms["action"].item())
    assert np.mean(losses[-10:]) < 0.1 * losses[0]
    spec = {"rule": dataclasses.asdict(RULE), "stop_threshold": 0.9}
    tables = {}
    for is_misled in (False, True):
        told = RdpSamples(data, "train", RULE, is_misled=is_misled)
        tables[is_misled] = follow_rdp(model, told, spec, 8, 0, torch.device("cpu"))
    found = step_metrics(tables[False])
    assert found["accuracy"] > 0.95
    assert found["progress_error"] < 0.1
    assert (
        tables[False]["average_error_m"].mean()
        < 0.2 * tables[False]["still_average_error_m"].mean()
    )
    assert step_metrics(tables[True])["accuracy"] < found["accuracy"] - 0.1


@pytest.mark.parametrize("name", Journey._fields)
def test_every_input_matters(data, name):
    model = build(data).eval()
    given = journey(RdpSamples(data, "train", RULE).batch(torch.arange(4)))
    value = getattr(given, name)
    changed = value % 6 + 1 if name == "tokens" else value + 0.5
    start = torch.randn(24, 4, 3, generator=torch.Generator().manual_seed(0))
    times = torch.zeros(24, dtype=torch.long)
    first, second = (
        model.predict(start, times, model.read(one).condition)
        for one in (given, given._replace(**{name: changed}))
    )
    assert not torch.allclose(first, second)


def test_reading_step_by_step_is_reading_at_once(data):
    model = build(data).eval()
    given = journey(RdpSamples(data, "train", RULE).batch(torch.arange(3)))
    whole, state, parts = model.read(given), None, []
    for step in range(6):
        one = Journey(*(part[:, step : step + 1] for part in given[:4]), given.tokens)
        read = model.read(one, state)
        state = read.state
        parts.append(read.condition)
    stepwise = torch.stack(parts, 1).flatten(0, 1)
    assert torch.allclose(stepwise, whole.condition, atol=1e-5)


def test_guidance_magnifies_what_words_change(data):
    model = build(data).eval()
    read = model.read(journey(RdpSamples(data, "train", RULE).batch(torch.arange(2))))
    assert (model.without_words(read.condition) != read.condition).any((1, 2)).all()
    start = torch.randn(12, 4, 3, generator=torch.Generator().manual_seed(0))
    found = {}
    for scale in (1.0, 1.5):
        model._guidance_scale = scale
        found[scale] = model.sample(read.condition, start, torch.Generator().manual_seed(1))
    assert found[1.0].shape == (12, 4, 3)
    assert not torch.allclose(found[1.0], found[1.5])
    assert found[1.5].abs().max() <= 1


def test_losses_are_the_sum_over_parts_of_a_batch(data):
    model = build(data)
    noisy = NoisySamples(RdpSamples(data, "train", RULE), 6, 0.25, 0.5, seed=0)
    whole = compute_rdp_losses(model, noisy.batch(torch.arange(6)))
    parts = [compute_rdp_losses(model, noisy.batch(torch.arange(i, i + 3))) for i in (0, 3)]
    for name, term in whole.items():
        assert term.item() == pytest.approx(sum(p[name].item() for p in parts) / 2, rel=1e-4)


def test_draws_depend_on_sample_and_epoch_alone(data):
    forgetful = ForgetfulSamples(ImitationSamples(data, "train"), 0.5, seed=0)
    noisy = NoisySamples(RdpSamples(data, "train", RULE), 6, 0.25, 0.5, seed=0)
    for samples, names in ((forgetful, ["last_actions"]),
                           (noisy, ["noise", "timesteps", "is_told", "past"])):  # fmt: skip
        whole, part = samples.batch(torch.arange(8)), samples.batch(torch.tensor([5, 2]))
        samples.begin_epoch(1)
        later = samples.batch(torch.arange(8))
        for name in names:
            assert torch.equal(whole[name][[5, 2]], part[name]), name
            assert not torch.equal(whole[name], later[name]), name


def test_a_killed_training_goes_on_to_the_same_bits(data, trained, backbone, run_params, tmp_path):
    run = run_params.model_copy(update={"save_state_every_steps": 1})
    with killed_after(1):
        train(data, backbone, run, tmp_path)
    again, history = train(data, backbone, run, tmp_path)
    assert again.digest == trained[0].digest
    assert history["loss"].tolist() == trained[1]["loss"].tolist()


@pytest.mark.slow
def test_two_processes_have_the_losses_of_one(data, backbone, run_params, tmp_path, launch_on_pair):
    """Also where the last batch of an epoch has one flight: the second process has none of it."""
    found = []
    for count in (1, 2):
        run = run_params.model_copy(update={"num_processes": count})
        states = TrainingStateFolder(str(tmp_path / str(count)))
        arguments = (plan(epochs=1, batch_size=7), data, backbone, run, states)
        found.append(launch_on_pair(train_rdp, arguments, run, tmp_path)[1])
    names = [name for name in found[0] if name.startswith(("loss", "grad"))]
    assert len(found[0]) == 2
    assert np.allclose(found[0][names], found[1][names], rtol=1e-4, atol=1e-6)


def test_saved_predictions_give_every_number(data, trained, run_params):
    predictions = follow_rdp_both(trained[0], data, "test", 3, run_params)
    again = follow_rdp_both(trained[0], data, "test", 1, run_params)
    assert predictions["predicted"].tolist() == again["predicted"].tolist()
    found = evaluate_chunks(predictions)
    own = predictions[predictions["told"] == "own"]
    assert found["chunks"]["num_steps"] == found["n"] == len(own) == 4 * 6
    assert found["chunks"]["own"]["average_error_m"] == pytest.approx(own["average_error_m"].mean())
    assert found["accuracy"] == pytest.approx((own["predicted"] == own["target"]).mean())


def test_targets_of_the_split_change_no_plan(data, trained, run_params):
    """But through where the flight went, which motion tells."""
    changed = dataclasses.replace(
        data, steps=data.steps.assign(action=1, progress=0.1 * data.steps["progress"])
    )
    first, second = (follow_rdp_both(trained[0], d, "test", 4, run_params) for d in (data, changed))
    assert first[["predicted", "progress"]].equals(second[["predicted", "progress"]])


def test_it_flies_by_its_own_stops_beside_other_policies(trained, backbone, run_params):
    corridor, vectors = Corridor(), trained[0].weights["vectors.weight"].numpy()
    corridor.vectors = vectors
    rules = [Loop(6, 3.0, 3.0, requires_stop=True, wording=wording) for wording in (0, None)]
    for loop in rules:
        sight = Sight(48, 3, 10.0)
        episodes, found = fly(corridor, backbone, trained[0], sight, loop, run_params)
        assert set(episodes["policy"]) >= {"rdp", "rdp_misled", "expert"}
        told = found["wordings"]["rdp"]
        assert told["all"]["n"] == told["0"]["n"] == 2
        own, other = (episodes[episodes["policy"] == n] for n in ("rdp", "rdp_misled"))
        gap = own["navigation_error_m"].mean() - other["navigation_error_m"].mean()
        assert told["all"]["error_m"]["difference"] == pytest.approx(gap)
    again, _ = fly(corridor, backbone, trained[0], sight, loop, run_params)
    pd.testing.assert_frame_equal(episodes, again)


def fly(corridor, backbone, checkpoint, sight, loop, run):
    places = checkpoint.spec["model"]["num_rgb_places"]
    width = checkpoint.spec["model"]["rgb_width"]
    with pytest.MonkeyPatch.context() as patch:
        seen = np.ones((2, places, width), np.float32)
        patch.setattr(ViewEncoder, "__call__", lambda self, pixels: seen[: len(pixels)])
        return roll_out_all(corridor, backbone, {"rdp": checkpoint}, sight, loop, run)


def test_a_checkpoint_of_another_size_is_refused(trained):
    spec = {**trained[0].spec, "model": {**trained[0].spec["model"], "hidden": 8}}
    with pytest.raises(CheckpointMismatchError, match="other shape"):
        restore_rdp(dataclasses.replace(trained[0], spec=spec), "cpu")


def test_places_that_are_no_square_are_refused(data):
    with pytest.raises(ValueError, match="square of places.* got 6 places"):
        RecurrentDiffusionPolicy(
            vectors=data.vectors, num_past=2, **{**SHAPES, "num_rgb_places": 6}, **MODEL
        )
