"""The two stages: what trains, what is handed over, what resumes, what leaks."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from aquatint.models.vl_reader import prompt_encoder, read_tokens, view_grid
from aquatint.training.checkpoint import CheckpointMismatchError
from aquatint.training.state import TrainingStateFolder
from aquatint.training.vla_export import (
    STAGE1_KEYS,
    STAGE2_KEYS,
    export_policy,
    inspect_checkpoint,
    load_policy,
    source_checkpoint,
)
from aquatint.training.vla_losses import ActionLosses
from aquatint.training.vla_merge import merge_vla
from aquatint.training.vla_model import build_vla, restore_vla
from aquatint.training.vla_predict import (
    choose_chunks,
    predict_chunks,
    probe_instruction,
    probe_sensor,
)
from aquatint.training.vla_samples import RobotSteps, TrainingSteps
from aquatint.training.vla_stage import compare_handover, train_vla
from vla_fixture import plan_of, rules_of

KINDS = ("regression", "diffusion")


@pytest.fixture(scope="module")
def trained(vla_data, run_params, tmp_path_factory):
    """Both stages of both experts."""
    found = {}
    for kind in KINDS:
        root = tmp_path_factory.mktemp(kind)
        first, history1 = train_vla(plan_of("stage1", kind, epochs=6), vla_data, run_params,
                                    TrainingStateFolder(str(root / "stage1")))  # fmt: skip
        second, history2 = train_vla(plan_of("stage2", kind), vla_data, run_params,
                                     TrainingStateFolder(str(root / "stage2")), first)  # fmt: skip
        found[kind] = first, second, history1, history2
    return found


def test_cached_tokens_are_those_that_the_live_backbone_gives(vla_data):
    cached, live = (RobotSteps(vla_data, "val", seeing) for seeing in ("cached", "live"))
    rows = np.arange(0, len(cached), 3)
    stored, batch = cached.batch(rows), live.batch(rows)
    grid = view_grid(vla_data.backbone, 48, 48)
    with torch.inference_mode():
        tokens, is_pad = read_tokens(
            vla_data.backbone.load(), batch, batch["features"], grid, (2, 2)
        )
    assert torch.equal(is_pad, stored["token_is_pad"])
    assert torch.allclose(tokens, stored["tokens"], atol=1e-5)


def test_features_as_inputs_are_what_pixels_and_ids_give(vla_data):
    """Without positions in three dimensions they would differ without a word."""
    live = RobotSteps(vla_data, "val", "live")
    batch = live.batch(np.array([0, 5]))
    model = vla_data.backbone.load()
    from aquatint.data.frame_refs import load_frame
    from aquatint.models.pixels import PixelNormalizer
    from aquatint.models.qwen_vl import patchify

    root = next(p for p in [vla_data.windows.folder]).rpartition("/store")[0] + "/raw"
    from pathlib import Path

    pictures = [load_frame(Path(root), live.rows["image_refs"].iloc[i][0]) for i in (0, 5)]
    normalize = PixelNormalizer(*vla_data.backbone.image_statistics)
    patches, grids = patchify(normalize(torch.from_numpy(np.stack(pictures))), 12, 2)
    is_image = (batch["input_ids"] == model.config.image_token_id).int()
    with torch.inference_mode():
        whole = model.model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"],
                            pixel_values=patches, image_grid_thw=grids,
                            mm_token_type_ids=is_image).last_hidden_state  # fmt: skip
        grid = view_grid(vla_data.backbone, 48, 48)
        tokens, _ = read_tokens(model, batch, batch["features"], grid, (2, 2))
    found = whole[is_image.bool()].reshape(2, 4, -1)
    assert torch.allclose(found, tokens[:, :4], atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_training_lowers_the_loss(trained, kind):
    _, _, history1, history2 = trained[kind]
    losses = history1.groupby("epoch")["loss_action"].mean()
    assert losses.iloc[-1] < 0.8 * losses.iloc[0]
    assert np.isfinite(history2["loss"]).all()
    assert {"val_loss", "val_loss_sensor", "val_loss_no_sensor"} <= set(history1)


@pytest.mark.parametrize("kind", KINDS)
def test_exactly_what_is_declared_trains(trained, vla_data, run_params, kind):
    first, second, _, _ = trained[kind]
    prefixes = {name.partition(".")[0] for name in first.weights}
    assert prefixes == {"sensor_encoder", "action_expert"}, "the backbone is no part of stage 1"
    lora = [name for name in second.weights if name.startswith("backbone.")]
    assert lora
    assert all("lora_" in name and "language_model" in name for name in lora)
    model, _ = build_vla(vla_data.backbone, second.spec, run_params, is_live=True)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    restored = dict(
        restore_vla(vla_data.backbone, second, run_params, is_live=True).named_parameters()
    )
    changed = {name for name, tensor in before.items() if not torch.equal(tensor, restored[name])}
    assert changed <= set(second.weights), "nothing frozen moved"
    assert {name for name in changed if "lora_B" in name}, "gradients reached the LoRA weights"


@pytest.mark.parametrize("kind", KINDS)
def test_every_tensor_of_stage1_is_found_in_a_fresh_stage2(trained, vla_data, run_params, kind):
    from aquatint.training.vla_stage import take_over

    first, second, _, _ = trained[kind]
    model, groups = build_vla(vla_data.backbone, second.spec, run_params, is_live=True)
    take_over(model, first, groups)
    tensors = model.state_dict()
    assert len(first.weights) > 20
    for name, tensor in first.weights.items():
        assert torch.equal(tensors[name], tensor), name
    record = compare_handover(first, second.spec["policy"])
    assert (
        record["num_tensors"]
        == len(first.weights)
        == record["sensor_encoder"] + record["action_expert"]
    )
    assert second.lineage["parents"][0]["digest"] == first.digest


def test_stage2_without_stage1_stops_with_the_published_message(vla_data, run_params, tmp_path):
    states = TrainingStateFolder(str(tmp_path))
    with pytest.raises(ValueError, match="Stage 2 training requires stage1 checkpoint"):
        train_vla(plan_of("stage2"), vla_data, run_params, states)


def test_a_checkpoint_of_another_size_or_stage_is_refused(trained):
    first, second, _, _ = trained["regression"]
    wider = json.loads(json.dumps(first.spec["policy"]))
    wider["expert"]["feedforward_width"] = 48
    with pytest.raises(CheckpointMismatchError, match="other_shape"):
        compare_handover(first, wider)
    with pytest.raises(CheckpointMismatchError, match="got one of 'stage2'"):
        compare_handover(second, second.spec["policy"])
    partial = dataclasses.replace(first, weights=dict(list(first.weights.items())[5:]))
    with pytest.raises(CheckpointMismatchError, match="missing"):
        compare_handover(partial, first.spec["policy"])


@pytest.mark.parametrize("kind", KINDS)
def test_one_batch_gives_the_gradients_of_its_parts(vla_data, run_params, kind):
    """1 x 8 is 4 x 2: the weights of samples and the noise do not depend on the cut."""
    gradients = []
    for size in (8, 2):
        model, _ = build_vla(vla_data.backbone, plan_of(kind=kind).spec(vla_data), run_params,
                             is_live=False)  # fmt: skip
        samples = TrainingSteps(RobotSteps(vla_data, "train", "cached"), vla_data, 0,
                                model.diffusion)  # fmt: skip
        losses = ActionLosses(tuple(vla_data.normaliser["action"]["is_constant"]))
        window = torch.arange(8)
        total = samples.sample_weights[window].sum()
        for micro in window.split(size):
            share = samples.sample_weights[micro].sum() / total
            (losses(model, samples.batch(micro))["action"] * share).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    assert torch.allclose(*gradients, atol=1e-6)
    assert gradients[0].abs().max() > 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_that_was_cut_off_ends_as_if_it_had_not_been(
    vla_data, run_params, tmp_path, kind
):
    plan = plan_of(kind=kind)
    whole, history = train_vla(plan, vla_data, run_params, TrainingStateFolder(str(tmp_path / "a")))
    often = run_params.model_copy(update={"save_state_every_steps": 1})
    calls = []

    def crash(self, positions, share=None, original=TrainingSteps.batch):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(self, positions, share)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingSteps, "batch", crash)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            train_vla(plan, vla_data, often, TrainingStateFolder(str(tmp_path / "b")))
    resumed, again = train_vla(plan, vla_data, often, TrainingStateFolder(str(tmp_path / "b")))
    assert resumed.digest == whole.digest
    assert again["loss"].tolist() == history["loss"].tolist()
    assert len(calls) == 3


@pytest.mark.slow
def test_two_processes_have_the_losses_of_one(
    trained, vla_data, run_params, tmp_path, launch_on_pair
):
    """LoRA in the backbone and the noise of a diffusion; one parent, whoever trains on."""
    histories = []
    for count, parallelism in ((1, "ddp"), (2, "ddp"), (2, "fsdp2")):
        run = run_params.model_copy(update={"num_processes": count, "parallelism": parallelism})
        states = TrainingStateFolder(str(tmp_path / f"{count}-{parallelism}"))
        plan = plan_of("stage2", "diffusion", epochs=1)
        arguments = plan, vla_data, run, states, trained["diffusion"][0]
        histories.append(launch_on_pair(train_vla, arguments, run, tmp_path)[1])
    names = [name for name in histories[0] if name.startswith(("loss", "grad", "val"))]
    assert len(histories[0]) > 1
    alone, *shared = (history[names] for history in histories)
    for found in shared:
        assert np.allclose(alone, found, rtol=1e-4, atol=1e-6, equal_nan=True)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(
    vla_data, run_params, tmp_path
):
    plan = plan_of(epochs=1)
    digests = [
        train_vla(plan, vla_data, run_params.model_copy(update={"seed": seed}),
                  TrainingStateFolder(str(tmp_path / name)))[0].digest
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]  # fmt: skip
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_done_does_not_reach_who_acts(trained, vla_data, run_params, kind):
    """Targets replaced by noise: the same predictions."""
    first = trained[kind][0]
    model = restore_vla(vla_data.backbone, first, run_params, is_live=False)
    steps = RobotSteps(vla_data, "test", "cached")
    rows = np.arange(6)
    before = choose_chunks(model, steps, rows, 0, 4)
    steps.targets = np.random.default_rng(0).normal(size=steps.targets.shape).astype(np.float32)
    assert np.array_equal(choose_chunks(model, steps, rows, 0, 4), before)
    assert np.allclose(choose_chunks(model, steps, rows, 0, 2), before, atol=1e-3), "batch size"


def test_a_random_prior_does_not_help(trained, vla_data, run_params):
    found = probe_sensor(trained["regression"][1], vla_data, run_params, 2, 16)
    assert set(found) == {"own", "zeroed", "missing", "random_prior", "target", "is_pad"}
    scale = np.asarray(vla_data.normaliser["action"]["std"])
    varies = ~np.asarray(vla_data.normaliser["action"]["is_constant"])
    errors = {
        name: np.mean(
            ((found[name] - found["target"])[~found["is_pad"]][:, varies] / scale[varies]) ** 2
        )
        for name in ("own", "random_prior")
    }
    assert errors["random_prior"] > errors["own"]
    assert not np.array_equal(found["own"], found["zeroed"])


def test_another_instruction_is_another_than_a_step_s_own(trained, vla_data, run_params):
    found = probe_instruction(trained["regression"][1], vla_data, run_params, 2, 16)
    own = predict_chunks(trained["regression"][1], vla_data, run_params, ("test",), 2, 16)
    before = np.stack(own["predicted"].to_list()).reshape(found["own"].shape)
    assert np.allclose(found["own"], before, atol=0.05), "as the policy is judged elsewhere"
    assert (np.abs(found["other"] - found["own"]).reshape(len(before), -1).max(1) > 0).all()


def test_shuffled_actions_are_predicted_no_better_than_by_their_mean(trained, vla_data, run_params):
    table = predict_chunks(trained["regression"][1], vla_data, run_params, ("test",), 1, 32)
    predicted = np.stack(table["predicted"].to_list())
    target = np.stack(table["target"].to_list())
    order = np.random.default_rng(0).permutation(len(target))
    spread = target.std(0) > 1e-6
    shuffled = ((predicted - target[order])[:, spread] ** 2 / target.var(0)[spread]).mean()
    assert shuffled > 0.9
    assert ((predicted - target)[:, spread] ** 2 / target.var(0)[spread]).mean() < shuffled


def test_pictures_are_drawn_as_often_as_their_format_weighs(vla_data):
    first = vla_data.steps["episode_id"].unique()[0]
    steps = vla_data.steps.assign(
        source=np.where(vla_data.steps["episode_id"] == first, "trajectory", "episode"),
        split="train",
    )
    rules = rules_of(mixture={"trajectory": 0.0, "episode": 1.0})
    data = dataclasses.replace(vla_data, steps=steps, rules=rules)
    samples = TrainingSteps(RobotSteps(data, "train", "none", "missing"), data, 0, None)
    drawn = {name.partition("@")[0] for name in samples.identify(torch.arange(len(samples)))}
    assert first not in drawn
    data = dataclasses.replace(data, rules=rules_of(mixture={"trajectory": 3.0, "episode": 1.0}))
    samples = TrainingSteps(RobotSteps(data, "train", "none", "missing"), data, 0, None)
    names = [n.partition("@")[0] for n in samples.identify(torch.arange(len(samples)))]
    others = len(names) - names.count(first)
    assert names.count(first) / others == pytest.approx(
        3 / (steps["episode_id"].nunique() - 1), rel=0.35
    )
    data = dataclasses.replace(data, rules=rules_of(mixture={"bridge": 1.0}))
    steps = RobotSteps(data, "train", "none", "missing")
    with pytest.raises(ValueError, match="draws none of the formats"):
        TrainingSteps(steps, data, 0, None)


def test_samples_weigh_by_confidence_and_sensor(vla_data):
    steps = RobotSteps(vla_data, "train", "none", "missing")
    heard = steps.rows["has_sensor"].to_numpy()
    assert set(steps.weights[heard]) == {2.0}
    assert set(steps.weights[~heard]) == {1.0}


def test_the_last_action_is_a_prior_that_is_known_when_acting(vla_data):
    data = dataclasses.replace(vla_data, rules=rules_of(prior="last_action"))
    steps = RobotSteps(data, "val", "none", "missing")
    assert np.array_equal(steps.priors[1, 0], steps.targets[0, 0])
    assert (steps.priors[0] == 0).all(), "nothing came before the first"


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_a_merged_backbone_computes_what_the_unmerged_one_does(
    vla_data, run_params, tmp_path, trained, mode
):
    second = trained["regression"][1]
    if mode == "full":
        plan = plan_of("stage2", mode="full", epochs=1)
        second, _ = train_vla(plan, vla_data, run_params, TrainingStateFolder(str(tmp_path / "s")),
                              trained["regression"][0])  # fmt: skip
        opened = {
            n.split("layers.")[1][0] for n in second.weights if "layers." in n and "backbone" in n
        }
        assert opened == {"1"}, "the last block alone"
    merged = merge_vla(vla_data.backbone, second, run_params)
    assert merged.lineage["max_difference"] < 1e-4
    base = vla_data.backbone.load().state_dict()
    moved = [n for n, t in merged.weights.items() if not torch.equal(t, base[n])]
    assert moved
    assert all("language_model" in name for name in moved)


def test_the_exported_policy_acts_as_the_checkpoint_does(vla_data, run_params, tmp_path, trained):
    from aquatint.models.backbone import Backbone, folder_digest

    second = trained["regression"][1]
    merged_folder = tmp_path / "merged"
    merged_folder.mkdir()
    merge_vla(vla_data.backbone, second, run_params).save_pretrained(merged_folder)
    merged = Backbone(str(merged_folder), folder_digest(merged_folder), "pocket+lora")
    folder = tmp_path / "policy"
    folder.mkdir()
    settings = {"num_views": 1, "dtype": "float32", "num_executed_actions": 3}
    export_policy(second, merged, settings).save(folder)
    runner = load_policy(folder, run_params)
    steps = RobotSteps(vla_data, "test", "live")
    row = steps.rows.iloc[0]
    from pathlib import Path

    from aquatint.data.frame_refs import load_frame
    from aquatint.data.robot_rows import STATE_NAMES
    from aquatint.data.sensor_files import read_sensor_rows

    raw = Path(vla_data.windows.folder.rpartition("/store")[0]) / "raw"
    sensor = None
    if row["has_sensor"]:
        rows = read_sensor_rows(raw / row["sensor_file"], 650.0)
        sensor = rows[row["sensor_start"] : row["sensor_stop"]]
    seen = ([load_frame(raw, row["image_refs"][0])], row["instruction"],
            row[list(STATE_NAMES)].to_numpy(np.float64), sensor)  # fmt: skip
    model = restore_vla(vla_data.backbone, second, run_params, is_live=True)
    chunk = choose_chunks(model, steps, np.array([0]), 0, 1)[0]
    actions = [runner.select_action(*seen) for _ in range(3)]
    assert np.abs(np.stack(actions) - chunk[:3]).max() < 0.05, "mm and degrees"
    assert actions[0][6] == 1.0, "the constant gripper comes back exactly"
    runner.reset()
    with pytest.raises(ValueError, match="states must be finite"):
        runner.select_action(seen[0], seen[1], np.full(12, np.nan), sensor)
    (merged_folder / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="needs the backbone it was exported with"):
        load_policy(folder, run_params)


def test_checkpoints_have_the_published_keys(trained, tmp_path):
    first, second, history1, history2 = trained["diffusion"]
    for number, (checkpoint, history, keys) in enumerate(
        ((first, history1, STAGE1_KEYS), (second, history2, STAGE2_KEYS))
    ):
        export = source_checkpoint(checkpoint, history)
        folder = tmp_path / str(number)
        folder.mkdir()
        export.save(folder)
        found = torch.load(folder / "checkpoint.pt", weights_only=True)
        assert tuple(found) == keys
        assert found["training_stage"] == f"stage{number + 1}"
        assert found["val_loss"] == pytest.approx(history["val_loss"].min())
        listed = inspect_checkpoint(checkpoint, export.content)
        total = sum(entry["parameters"] for entry in listed["modules"].values())
        assert total == sum(t.numel() for t in checkpoint.weights.values())
    assert set(export.content["model_state_dict"]) == set(second.weights)


def test_the_prompt_stands_behind_its_pictures(vla_data):
    encoder = prompt_encoder(vla_data.backbone, 2, view_grid(vla_data.backbone, 48, 48))
    ids = encoder.encode("Go to red.")
    image = vla_data.backbone.load_config().image_token_id
    places = [i for i, token in enumerate(ids) if token == image]
    assert len(places) == 2 * 4
    body = vla_data.backbone.load_tokenizer()("Go to red.")["input_ids"]
    assert encoder.num_text_tokens("Go to red.") == len(body) + 1
    batch = encoder.batch(["Go to red.", "Go to blue, please."])
    assert [ids[i] for i in batch["kept"][0][~batch["kept_is_pad"][0]]] == [*body, ids[-1]]
    assert max(places) < len(ids) - 5
