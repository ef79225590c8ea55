"""The stages: curriculum, hand-over, merges, resume, accumulation, and that they learn."""

import dataclasses

import numpy as np
import pytest
import torch

from aquatint.data.visual_thought_prompts import anchor_tokens
from aquatint.models.answering import IGNORE_INDEX
from aquatint.models.backbone import Backbone, folder_digest
from aquatint.params import OptimizerParams, StageParams
from aquatint.training.checkpoint import Checkpoint, CheckpointMismatchError
from aquatint.training.covt_curriculum import Curriculum
from aquatint.training.covt_losses import ThoughtLosses
from aquatint.training.covt_merge import merge_thoughts
from aquatint.training.covt_samples import (
    SampleRules,
    ThoughtEncoder,
    ThoughtSamples,
    histories,
    style_from,
)
from aquatint.training.covt_stage import (
    ThoughtPlan,
    build_thoughts,
    inherit_heads,
    restore_thoughts,
    train_thoughts,
)
from aquatint.training.state import TrainingStateFolder
from covt_fixture import IMAGE_PX, NUM_TOKENS, first_turns
from killed import killed_after

WEIGHTS = {"next_token": 1.0, "sam": 1.0, "depth": 0.005, "dino": 0.5, "pidinet": 1.0,
           "siglip": 5.0, "metaclip": 5.0}  # fmt: skip
ALL = Curriculum(0, 2, 4, 5)


def plan(
    max_steps=6, batch_size=4, accumulation=1, curriculum=ALL, num_tokens=NUM_TOKENS, rate=1e-3,
    dropout=0.1,
):  # fmt: skip
    names = {"next_token", *(name for name, _ in num_tokens)} if curriculum else {"next_token"}
    params = StageParams(
        epochs=1000,
        max_steps=max_steps,
        batch_size=batch_size,
        gradient_accumulation_steps=accumulation,
        optimizer=OptimizerParams(learning_rate=rate, weight_decay=0.1, warmup_fraction=0.0),
        loss_weights={name: weight for name, weight in WEIGHTS.items() if name in names},
    )
    lora = {"r": 4, "lora_alpha": 8, "lora_dropout": dropout}
    return ThoughtPlan(
        "stage", params, lora, num_tokens, curriculum, IMAGE_PX, 0, curriculum is not None,
        "features",
    )  # fmt: skip


def train(data, run, folder, parent=None, **options):
    return train_thoughts(plan(**options), data, parent, run, TrainingStateFolder(str(folder)))


def saved(merged, folder):
    folder.mkdir(parents=True)
    merged.save_pretrained(folder)
    return Backbone(str(folder), folder_digest(folder), "merged")


def samples_of(data, curriculum=ALL, seed=0):
    encoder = ThoughtEncoder(data.backbone, style_from(NUM_TOKENS), IMAGE_PX)
    rules = SampleRules(curriculum, 0, True, seed)
    return ThoughtSamples(data.of_split("train"), encoder, data.pixels, data.anchors, rules)


@pytest.fixture(scope="module")
def stage1(covt_data, run_params, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stage1")
    return train(covt_data, run_params, folder, curriculum=Curriculum(6, 6, 6, 6))


@pytest.fixture(scope="module")
def merged(covt_data, stage1, run_params, tmp_path_factory):
    found = merge_thoughts(covt_data.backbone, stage1[0], run_params, with_heads=True)
    return found, saved(found, tmp_path_factory.mktemp("merged") / "m")


def test_published_steps_give_the_published_stages():
    second = Curriculum(0, 3000, 6000, 8000)
    assert [second.stage_at(step) for step in (0, 2999, 3000, 5999, 6000, 9999)] == [
        2,
        2,
        3,
        3,
        4,
        4,
    ]
    assert second.has_anchors(8000)
    assert not second.has_anchors(8001)
    first = Curriculum(6000, 6000, 6000, 6000)
    assert {first.stage_at(step) for step in range(6000)} == {1}
    with pytest.raises(ValueError, match="ascend"):
        Curriculum(10, 5, 20, 20)


def test_a_sample_depends_on_seed_step_and_turn_alone(covt_data):
    one, other = samples_of(covt_data), samples_of(covt_data)
    for step in (0, 3, 17, 400):
        one.begin_step(step)
        for earlier in (5, step):
            other.begin_step(earlier)
        assert [one.exchange(i) for i in range(8)] == [other.exchange(i) for i in range(8)]
    other = samples_of(covt_data, seed=1)
    other.begin_step(400)
    assert [one.exchange(i) for i in range(8)] != [other.exchange(i) for i in range(8)]


def stages_seen(data, run, folder, monkeypatch, **options):
    """Stage of every micro-batch's samples by optimizer step, as a training fetched them."""
    seen = {}
    original = ThoughtSamples.batch

    def batch(self, positions, share=None):
        drawn = tuple(self.exchange(i).response for i in positions.tolist())
        seen[self._step] = seen.get(self._step, ()) + drawn
        return original(self, positions, share)

    monkeypatch.setattr(ThoughtSamples, "batch", batch)
    train(data, run, folder, **options)
    monkeypatch.undo()
    return seen


def test_the_curriculum_is_that_of_optimizer_steps_however_a_batch_is_cut(
    covt_data, run_params, tmp_path, monkeypatch
):
    whole = stages_seen(covt_data, run_params, tmp_path / "a", monkeypatch, batch_size=4)
    cut = stages_seen(
        covt_data, run_params, tmp_path / "b", monkeypatch, batch_size=2, accumulation=2
    )
    assert whole == cut
    assert list(whole) == list(range(6))
    assert all("<think>" not in text for text in whole[0] + whole[1])
    assert all("<think>" in text for text in whole[2] + whole[3])


def test_one_large_batch_and_two_small_ones_have_the_same_gradients(
    covt_data, run_params, tmp_path
):
    rows = [
        train(covt_data, run_params, tmp_path / str(size), max_steps=2, batch_size=size,
              accumulation=8 // size, curriculum=Curriculum(0, 0, 0, 9), dropout=0.0)[1]
        for size in (8, 2)
    ]  # fmt: skip
    names = [name for name in rows[0] if name.startswith("loss") or name == "grad_norm"]
    assert np.allclose(rows[0][names], rows[1][names], rtol=2e-3, atol=1e-5)


def test_answers_weigh_more_behind_a_thought_and_alike_without(covt_data):
    encoder = ThoughtEncoder(covt_data.backbone, style_from(NUM_TOKENS), IMAGE_PX)
    thinks = Curriculum(0, 0, 99, 99)
    for curriculum in (thinks, None):
        rules = SampleRules(curriculum, 0, True, 0, answer_weight=7.0)
        samples = ThoughtSamples(
            covt_data.of_split("train"), encoder, covt_data.pixels, covt_data.anchors, rules
        )
        batch = samples.batch(torch.arange(2))
        for ids, labels, weights in zip(
            batch["input_ids"].tolist(), batch["labels"], batch["token_weights"], strict=True
        ):
            learned = weights[labels != IGNORE_INDEX]
            if curriculum is None:
                assert learned.unique().tolist() == [1.0]
            else:
                first = ids.index(encoder.answer_mark)
                assert weights[:first].unique().tolist() == [1.0]
                assert weights[first : int((labels != IGNORE_INDEX).nonzero().max()) + 1].min() == 7


def test_anchors_end_where_text_alone_is_learned(covt_data, run_params, tmp_path):
    _, history = train(covt_data, run_params, tmp_path, curriculum=Curriculum(0, 1, 6, 3))
    held = history[["loss_sam", "loss_depth", "loss_dino", "loss_siglip"]].to_numpy()
    assert (held[:4] > 0).all()
    assert (held[4:] == 0).all()


def test_a_killed_training_ends_like_one_that_nobody_touched(covt_data, run_params, tmp_path):
    """With dropout and across a change of stage: generators, rate and curriculum go on."""
    run = run_params.model_copy(update={"save_state_every_steps": 1})
    whole, history = train(covt_data, run, tmp_path / "whole")
    with killed_after(3):
        train(covt_data, run, tmp_path / "cut")
    resumed, again = train(covt_data, run, tmp_path / "cut")
    assert resumed.digest == whole.digest
    assert history.equals(again)


def test_only_lora_rows_and_heads_train_and_all_of_them_do(stage1, covt_data, run_params):
    checkpoint, _ = stage1
    _, groups = build_thoughts(covt_data.backbone, checkpoint.spec, run_params)
    assert set(groups) == {"lora", "rows", "heads"}
    assert {name for names in groups.values() for name in names} == set(checkpoint.weights)
    assert any("heads.depth.generator" in name for name in groups["heads"])
    assert any("visual" in name for name in groups["lora"])
    fresh, _ = build_thoughts(covt_data.backbone, checkpoint.spec, run_params)
    before = dict(fresh.named_parameters())
    for name, tensor in checkpoint.weights.items():
        assert not torch.equal(before[name], tensor), f"{name} trained"


def test_the_merge_is_exact_and_not_the_base(merged, covt_data, stage1):
    found, backbone = merged
    assert found.lineage["max_difference"] < 1e-4
    base = covt_data.backbone.load()
    trained = backbone.load()
    first_id = stage1[0].spec["first_id"]
    old = base.get_input_embeddings().weight
    new = trained.get_input_embeddings().weight
    assert torch.equal(new[:first_id], old), "old rows keep every bit"
    assert len(new) == first_id + len(anchor_tokens())
    name = "model.language_model.layers.0.self_attn.q_proj.weight"
    assert not torch.equal(base.state_dict()[name], trained.state_dict()[name])


def test_the_merged_folder_loads_with_plain_transformers(merged, stage1):
    from safetensors.torch import load_file
    from transformers import AutoModelForImageTextToText, AutoTokenizer

    _, backbone = merged
    model = AutoModelForImageTextToText.from_pretrained(backbone.folder)
    assert type(model).__name__ == "Qwen2_5_VLForConditionalGeneration"
    tokenizer = AutoTokenizer.from_pretrained(backbone.folder)
    ids = tokenizer("".join(anchor_tokens()), add_special_tokens=False)["input_ids"]
    first = stage1[0].spec["first_id"]
    assert ids == list(range(first, first + len(anchor_tokens())))
    heads = load_file(f"{backbone.folder}/anchor_heads.safetensors")
    wanted = {n.removeprefix("heads.") for n in stage1[0].weights if n.startswith("heads.")}
    assert set(heads) == wanted


def test_the_next_stage_begins_with_all_that_stage_1_learned(merged, stage1, covt_data, run_params):
    """Nothing is lost on the way: heads by name and value, rows in the embedding, LoRA merged."""
    _, backbone = merged
    checkpoint, _ = stage1
    spec = checkpoint.spec
    model, _ = build_thoughts(backbone, spec, run_params)
    inherit_heads(model, checkpoint)
    held = dict(model.named_parameters())
    for name, tensor in checkpoint.weights.items():
        if "lora_" not in name:
            assert torch.equal(held[name], tensor), name
    batch = samples_of(dataclasses.replace(covt_data, backbone=backbone)).batch(torch.arange(2))
    before = restore_thoughts(covt_data.backbone, checkpoint, run_params)
    with torch.no_grad():
        difference = before.read(batch) - model.eval().read(batch)
    assert difference.abs().max() < 1e-4


def test_a_head_too_few_or_too_many_is_refused(stage1, covt_data, run_params):
    checkpoint, _ = stage1
    model, _ = build_thoughts(covt_data.backbone, checkpoint.spec, run_params)
    kept = {n: w for n, w in checkpoint.weights.items() if not n.startswith("heads.depth")}
    with pytest.raises(CheckpointMismatchError, match="depth"):
        inherit_heads(model, Checkpoint(kept, checkpoint.spec))


def test_the_second_merge_is_exact_too(merged, stage1, covt_data, run_params, tmp_path):
    _, backbone = merged
    data = dataclasses.replace(covt_data, backbone=backbone)
    checkpoint, _ = train(data, run_params, tmp_path, parent=stage1[0])
    assert checkpoint.lineage["parents"][0]["digest"] == stage1[0].digest
    found = merge_thoughts(backbone, checkpoint, run_params, with_heads=False)
    assert found.lineage["max_difference"] < 1e-4
    again = saved(found, tmp_path / "m2")
    assert len(again.load().get_input_embeddings().weight) == len(
        backbone.load().get_input_embeddings().weight
    )
    assert not (tmp_path / "m2" / "anchor_heads.safetensors").exists()


def test_the_same_seed_gives_the_same_weights(covt_data, run_params, stage1, tmp_path):
    again, _ = train(covt_data, run_params, tmp_path, curriculum=Curriculum(6, 6, 6, 6))
    assert again.digest == stage1[0].digest


def test_a_text_only_training_sees_no_image_and_leaves_the_tower_alone(
    covt_data, run_params, tmp_path
):
    checkpoint, _ = train(
        covt_data, run_params, tmp_path, curriculum=None, num_tokens=NUM_TOKENS[:1], max_steps=2
    )
    assert not any("visual" in name or "heads" in name for name in checkpoint.weights)


def test_every_turn_is_used_and_may_see_the_ones_before(covt_data):
    train_turns = covt_data.of_split("train")
    assert len(samples_of(covt_data)) == len(train_turns)
    before = histories(train_turns, 2)
    for row, found in zip(train_turns.to_dict(orient="records"), before, strict=True):
        assert len(found) == min(2, row["turn"])
    assert histories(train_turns, 0) == [[]] * len(train_turns)


@pytest.mark.slow
def test_two_processes_have_the_losses_of_one(covt_data, run_params, tmp_path, launch_on_pair):
    """The curriculum too: across a change of stage, with subsets of anchors in the last."""
    found = []
    for count, parallelism in ((1, "ddp"), (2, "ddp"), (2, "fsdp2")):
        run = run_params.model_copy(update={"num_processes": count, "parallelism": parallelism})
        states = TrainingStateFolder(str(tmp_path / f"{count}-{parallelism}"))
        chosen = plan(max_steps=4, curriculum=Curriculum(0, 1, 2, 9), dropout=0.0)
        arguments = (chosen, covt_data, None, run, states)
        found.append(launch_on_pair(train_thoughts, arguments, run, tmp_path)[1])
    names = [name for name in found[0] if name.startswith("loss")]
    for several in found[1:]:
        assert np.allclose(found[0][names], several[names], rtol=2e-3, atol=1e-5)


@pytest.mark.slow
def test_eight_samples_are_learned_with_what_their_anchors_hold(covt_data, run_params, tmp_path):
    data = first_turns(covt_data, 8)
    _, history = train(
        data, run_params, tmp_path, max_steps=60, batch_size=8, rate=1e-2, dropout=0.0,
        curriculum=Curriculum(0, 60, 60, 60), num_tokens=NUM_TOKENS[:4],
    )  # fmt: skip
    first, last = history.iloc[0], history.iloc[-5:].mean(numeric_only=True)
    assert last["loss_next_token"] < 0.2 * first["loss_next_token"]
    for name in ("sam", "depth", "dino"):
        assert last[f"loss_{name}"] < 0.9 * first[f"loss_{name}"]


def test_losses_of_a_batch_without_an_anchor_are_zero_and_in_the_graph(covt_data, run_params):
    samples = samples_of(covt_data, Curriculum(0, 0, 0, 99))
    samples.begin_step(1)
    plan_ = plan()
    spec = {
        "lora": dict(plan_.lora), "num_tokens": [list(p) for p in NUM_TOKENS],
        "image_px": IMAGE_PX, "sees_images": True, "norm_axis": "features",
        "first_id": samples.encoder.added_ids[0], "shapes": covt_data.anchors.shapes,
        "mask_teacher": {"name": "sam", "source": "world"},
    }  # fmt: skip
    model, _ = build_thoughts(covt_data.backbone, spec, run_params)
    plain = [i for i in range(len(samples)) if not samples.exchange(i).anchors][:2]
    terms = ThoughtLosses([n for n, _ in NUM_TOKENS])(model, samples.batch(torch.tensor(plain)))
    assert all(float(terms[name].detach()) == 0 for name, _ in NUM_TOKENS)
    assert all(terms[name].requires_grad or True for name, _ in NUM_TOKENS)
