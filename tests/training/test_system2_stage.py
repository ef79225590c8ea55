"""System 2: each flag trains its part, eight samples are learned, a killed training goes on."""

import pandas as pd
import pytest
import torch

from aquatint.models.navigator import PARTS, NavigationModel, parameters_by_part
from aquatint.params import OptimizerParams, StageParams
from aquatint.pipelines.system2.params import System2Params
from aquatint.training.checkpoint import Checkpoint, CheckpointMismatchError
from aquatint.training.navigation_dialogues import DialogueWriter, FrameStyle
from aquatint.training.navigation_samples import (
    NavigationData,
    NavigationDialogues,
    NavigationSamples,
)
from aquatint.training.state import TrainingStateFolder
from aquatint.training.system2_inference import _see_new, predict_answers, write_answers
from aquatint.training.system2_stage import (
    System2Plan,
    build_system2,
    navigation_losses,
    restore_system2,
    train_system2,
)

STYLE = FrameStyle(frame_edge_px=48, history_edge_px=24, min_pixels=576, max_pixels=9216)


def plan(max_steps=1, batch_size=4, accumulation=1, tuned=PARTS, rate=2e-3, augments=True):
    params = StageParams(
        epochs=50,
        max_steps=max_steps,
        batch_size=batch_size,
        gradient_accumulation_steps=accumulation,
        optimizer=OptimizerParams(learning_rate=rate, weight_decay=0.0, warmup_fraction=0.0),
        loss_weights={"next_token": 1.0},
    )
    return System2Plan(params, tuned, STYLE, 3, augments, num_val=1, max_new_tokens=1)


def few(data, size=8, kinds=("pixel", "turn", "stop")):
    """As many samples of the train split as asked for, of all kinds, and one to validate on."""
    train = data.samples[data.samples["split"] == "train"]
    per_kind = [train[train["kind"] == kind].head(-(-size // len(kinds))) for kind in kinds]
    chosen = pd.concat([*per_kind, data.samples[data.samples["split"] == "val"].head(1)])
    return NavigationData(data.root, data.frames, chosen.reset_index(drop=True))


@pytest.mark.parametrize("tuned", [("vision",), ("mlp",), ("llm",), PARTS])
def test_each_flag_trains_exactly_its_part(tuned, navigation_data, navigation_backbone,
                                           run_params, tmp_path):  # fmt: skip
    states = TrainingStateFolder(str(tmp_path))
    checkpoint, history = train_system2(
        plan(max_steps=2, tuned=tuned), few(navigation_data), navigation_backbone, run_params,
        states,
    )  # fmt: skip
    before = restore_system2(navigation_backbone, None, run_params)
    after = restore_system2(navigation_backbone, checkpoint, run_params)
    parts = parameters_by_part(before)
    own, trained = dict(before.named_parameters()), dict(after.named_parameters())
    changed = {name for name in own if not torch.equal(own[name], trained[name])}
    assert changed == {name for part in tuned for name in parts[part]}
    assert len(history) == 2


def test_flags_that_train_nothing_are_refused():
    fields = {
        "tune_mm_vision": False, "tune_mm_mlp": False, "tune_mm_llm": False,
        "vision_learning_rate": 1.0, "data_augmentation": False, "frame_edge_px": 48,
        "history_edge_px": 24, "min_pixels": 1, "max_pixels": 2, "max_new_tokens": 1,
        "repeats_instruction": True,
        "num_val": 1, "cpu_processes": 2, **plan().params.model_dump(),
    }  # fmt: skip
    with pytest.raises(ValueError, match="nothing would train"):
        System2Params(**fields)
    params = System2Params(**{**fields, "tune_mm_vision": True, "vision_learning_rate": 5e-4})
    factors = System2Plan.from_params(params, 8).params.optimizer.group_factors
    assert factors == {"vision": pytest.approx(0.25)}


def test_eight_samples_are_learned_by_heart(navigation_data, navigation_backbone,
                                            run_params, tmp_path):  # fmt: skip
    data = few(navigation_data)
    checkpoint, history = train_system2(
        plan(max_steps=80, batch_size=8, rate=4e-3, augments=False), data, navigation_backbone,
        run_params, TrainingStateFolder(str(tmp_path)),
    )  # fmt: skip
    losses = history["loss"]
    assert losses.tail(5).mean() < 0.25 * losses.head(3).mean()
    last = Checkpoint(checkpoint.last_weights or checkpoint.weights, checkpoint.spec)
    model = restore_system2(navigation_backbone, last, run_params)
    writer = DialogueWriter(navigation_backbone, STYLE)
    found = predict_answers(model, NavigationDialogues(data.of_split("train"), writer, 3, 0), 8, 6)
    assert (found["predicted_kind"] == found["kind"]).mean() > 0.8


def test_a_killed_training_ends_as_an_uninterrupted_one(
    navigation_data, navigation_backbone, run_params, tmp_path, monkeypatch
):
    data, run = few(navigation_data), run_params.model_copy(update={"save_state_every_steps": 1})
    whole, _ = train_system2(plan(max_steps=4), data, navigation_backbone, run,
                             TrainingStateFolder(str(tmp_path / "whole")))  # fmt: skip
    fetch, calls = NavigationSamples.batch, []

    def fails(self, *arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return fetch(self, *arguments)

    states = TrainingStateFolder(str(tmp_path / "killed"))
    monkeypatch.setattr(NavigationSamples, "batch", fails)
    with pytest.raises(KeyboardInterrupt):
        train_system2(plan(max_steps=4), data, navigation_backbone, run, states)
    monkeypatch.undo()
    again, history = train_system2(plan(max_steps=4), data, navigation_backbone, run, states)
    assert again.digest == whole.digest
    assert history["step"].tolist() == [0, 1, 2, 3]


def test_gradients_do_not_depend_on_how_a_batch_is_cut(navigation_data, navigation_backbone,
                                                       run_params, tmp_path):  # fmt: skip
    weights = []
    for batch_size, accumulation in ((4, 1), (1, 4)):
        checkpoint, _ = train_system2(
            plan(1, batch_size, accumulation, rate=1e-3), few(navigation_data),
            navigation_backbone, run_params, TrainingStateFolder(str(tmp_path / str(batch_size))),
        )  # fmt: skip
        weights.append(checkpoint.weights)
    names = [n for n in weights[0] if n.endswith("q_proj.weight")]
    assert names
    for name in names:
        # Adam's first step is the sign of a gradient times the rate: few may differ by rounding.
        is_equal = torch.isclose(weights[0][name], weights[1][name], atol=1e-5)
        assert is_equal.float().mean() > 0.99


def test_only_answers_are_learned(navigation_data, navigation_backbone, run_params):
    writer = DialogueWriter(navigation_backbone, STYLE)
    data = few(navigation_data)
    once = NavigationData(data.root, data.frames, data.samples.assign(repeats=1))
    dialogues = NavigationDialogues(once, writer, 3, 0)
    batch = NavigationSamples(dialogues, None).batch(torch.arange(len(dialogues)))
    for number, row in enumerate(dialogues.rows[: len(batch["labels"])]):
        learned = batch["labels"][number][batch["labels"][number] != -100].tolist()
        said = writer.decode(learned).replace(" ", "")
        expected = ("↓" if row["kind"] == "pixel" else "") + row["answer"].replace(" ", "")
        assert said == expected
    model, _ = build_system2(navigation_backbone, plan().spec, run_params)
    loss = navigation_losses(model, batch)["next_token"]
    hidden = {**batch, "labels": torch.full_like(batch["labels"], -100)}
    assert loss > 1
    assert navigation_losses(model, hidden)["next_token"].item() == 0.0


def test_answers_do_not_know_the_targets(navigation_data, navigation_backbone, run_params):
    data = few(navigation_data)
    samples = data.samples.assign(
        goal_row=data.samples["goal_row"].where(data.samples["goal_row"] < 0, 1),
        goal_column=data.samples["goal_column"].where(data.samples["goal_column"] < 0, 2),
        answer=data.samples["answer"].where(data.samples["kind"] != "pixel", "1 2"),
    )
    model = restore_system2(navigation_backbone, None, run_params)
    writer = DialogueWriter(navigation_backbone, STYLE)
    tables = [
        predict_answers(model, NavigationDialogues(chosen, writer, 3, 0), 4, 3)
        for chosen in (data, NavigationData(data.root, data.frames, samples))
    ]
    said = [table[["first_answer", "second_answer"]].to_numpy().tolist() for table in tables]
    assert said[0] == said[1]


def test_images_that_were_seen_before_are_not_encoded_again(
    navigation_data, navigation_backbone, run_params, monkeypatch
):
    model = restore_system2(navigation_backbone, None, run_params)
    writer = DialogueWriter(navigation_backbone, STYLE)
    dialogues = NavigationDialogues(few(navigation_data, 8), writer, 3, 0)
    asked = [[dialogues.first_turn(i)] for i in range(len(dialogues))]
    batch = writer.write(asked)
    images = [image for [turn] in asked for image in turn.images]
    whole, known, encoded = model.see(batch), {}, []

    def see(part):
        encoded.append(len(part["grids"]))
        return NavigationModel.see(model, part)

    monkeypatch.setattr(model, "see", see)
    for _ in range(2):
        assert torch.allclose(_see_new(model, batch, images, known), whole, atol=1e-5)
    different = len({image.tobytes() for image in images})
    assert encoded == [different]
    assert different < len(images)
    assert {image.shape for image in images} == {(48, 48, 3), (24, 24, 3)}
    assert write_answers(model, writer, asked, 3) == write_answers(model, writer, asked, 3, known)


def test_another_instruction_and_grey_images_change_what_is_shown(navigation_data,
                                                                  navigation_backbone):  # fmt: skip
    writer = DialogueWriter(navigation_backbone, STYLE)
    data = few(navigation_data, 40)
    own, other, grey = (NavigationDialogues(data, writer, 3, 0, told)
                        for told in ("own", "other", "grey"))  # fmt: skip
    texts = [[d.first_turn(i).question for i in range(len(d))] for d in (own, other, grey)]
    assert texts[0] == texts[2]
    assert sum(a != b for a, b in zip(*texts[:2], strict=True)) > 0.8 * len(own)
    assert {int(v) for image in grey.first_turn(0).images for v in image.ravel()} == {128}
    assert len(set(own.first_turn(0).images[-1].ravel().tolist())) > 20


def test_another_backbones_checkpoint_is_refused(navigation_backbone, run_params):
    wrong = Checkpoint({"backbone.lm_head.weight": torch.zeros(1)}, {"tuned": ["llm"]})
    with pytest.raises(CheckpointMismatchError, match="does not fit pocket"):
        restore_system2(navigation_backbone, wrong, run_params)


def test_a_broken_frame_is_named(navigation_data, navigation_backbone, tmp_path):
    data = few(navigation_data)
    frames = data.frames.assign(look_down_path="none.jpg")
    broken = NavigationData(data.root, frames, data.samples)
    writer = DialogueWriter(navigation_backbone, STYLE)
    dialogues = NavigationDialogues(broken.of_split("train", "pixel"), writer, 3, 0)
    with pytest.raises(ValueError, match=r"none\.jpg must be a whole JPEG or PNG"):
        dialogues.turns(0, has_answers=True)
