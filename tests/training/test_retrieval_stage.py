"""Stages of retrieval: hand-over, freezing, LoRA, merge, cached against live, predictions."""

import numpy as np
import pytest
import torch

from aquatint.models.low_rank import merge_lora
from aquatint.models.retrieval_model import open_backbone
from aquatint.training.checkpoint import Checkpoint, CheckpointMismatchError
from aquatint.training.merge import merge_checkpoint
from aquatint.training.retrieval_inference import encode_split
from aquatint.training.retrieval_losses import RetrievalLosses
from aquatint.training.retrieval_models import build_model, restore_model
from aquatint.training.retrieval_predictions import predict_test, predict_zero_shot
from aquatint.training.retrieval_samples import CLOSED, LIVE, RetrievalSamples
from aquatint.training.retrieval_stage import train_retrieval

ALL_OPEN = (("adapters", "heads", "block_1", "block_2"),)
CPU = torch.device("cpu")


@pytest.fixture
def stage1(make_plan, retrieval_data, run_params, states):
    return train_retrieval(make_plan(), retrieval_data, None, run_params, states)[0]


@pytest.fixture
def stage2(make_plan, retrieval_data, run_params, states, stage1):
    plan = make_plan("stage2", mode="lora", opening=ALL_OPEN)
    return train_retrieval(plan, retrieval_data, stage1, run_params, states)[0]


def test_every_tensor_of_stage1_is_found_in_stage2_by_name_and_value(
    make_plan, retrieval_data, run_params, states, stage1, monkeypatch
):
    seen = {}

    def stop(model, *_):
        seen.update({name: t.clone() for name, t in model.state_dict().items()})
        raise InterruptedError

    monkeypatch.setattr("aquatint.training.retrieval_stage.fit", stop)
    with pytest.raises(InterruptedError):
        train_retrieval(make_plan("stage2"), retrieval_data, stage1, run_params, states)
    assert len(stage1.weights) == 21, "17 parameters and 4 statistics"
    for name, tensor in stage1.weights.items():
        assert torch.equal(seen[name], tensor), name


def test_a_stage1_tensor_without_a_place_is_an_error(
    make_plan, retrieval_data, run_params, states, stage1
):
    foreign = Checkpoint({**stage1.weights, "heads.lost.weight": torch.ones(1)}, stage1.spec)
    with pytest.raises(ValueError, match="lost.weight"):
        train_retrieval(make_plan("stage2"), retrieval_data, foreign, run_params, states)


def test_stage1_is_left_unchanged_by_stage2(make_plan, retrieval_data, run_params, states, stage1):
    before = stage1.digest
    train_retrieval(make_plan("stage2"), retrieval_data, stage1, run_params, states)
    assert stage1.digest == before


def test_stage1_changes_what_it_lists_and_nothing_of_the_backbone(stage1, backbone):
    names = set(stage1.weights)
    assert all(name.startswith("heads.") for name in names)
    assert not any("bbox" in name or "spatial" in name for name in names)
    fresh, _ = build_model(backbone, restore_spec(stage1), seed=0)
    same = [
        n for n, t in fresh.state_dict().items() if n in names and torch.equal(t, stage1.weights[n])
    ]
    assert same == []


def restore_spec(checkpoint):
    from aquatint.training.retrieval_models import RetrievalSpec

    return RetrievalSpec(**checkpoint.spec)


def test_a_checkpoint_round_trips_into_the_same_outputs(stage2, backbone, retrieval_data):
    first = predict_test(stage2, retrieval_data, 4, 2, CPU)
    second = predict_test(stage2, retrieval_data, 3, 2, CPU)
    assert np.allclose(first.image_embeds.iloc[:, 2:], second.image_embeds.iloc[:, 2:], atol=1e-5)
    assert len(first.boxes) == 4
    assert len(first.relations) == 4


def test_a_missing_tensor_is_named(stage1, backbone):
    name = "heads.image_projection.weight"
    broken = Checkpoint({k: v for k, v in stage1.weights.items() if k != name}, stage1.spec)
    with pytest.raises(CheckpointMismatchError, match="1 missing: heads.image_projection.weight"):
        restore_model(backbone, broken)


def test_a_checkpoint_of_another_backbone_is_refused(stage1, backbone):
    from dataclasses import replace

    with pytest.raises(CheckpointMismatchError, match="digest"):
        restore_model(replace(backbone, digest="0" * 64), stage1)


def test_merged_equals_unmerged_and_differs_from_the_base(stage2, backbone):
    merged = merge_checkpoint(backbone, stage2)
    base = backbone.load().state_dict()
    moved = [name for name, t in merged.weights.items() if not torch.equal(t, base[name])]
    assert merged.lineage["max_difference"] < 1e-4
    assert moved
    assert all(".layers." in name or ".layer." in name for name in moved)
    assert set(merged.weights) == set(base)


def test_a_merge_that_changes_outputs_is_refused(stage2, backbone, monkeypatch):
    from aquatint.training import merge

    def merge_wrongly(inner):
        merged = merge_lora(inner)
        with torch.no_grad():
            next(merged.parameters()).add_(0.1)
        return merged

    monkeypatch.setattr(merge, "merge_lora", merge_wrongly)
    with pytest.raises(merge.MergeError, match="differ by"):
        merge_checkpoint(backbone, stage2)


def test_merging_in_half_precision_is_refused(backbone):
    inner = backbone.load(dtype="bfloat16")
    open_backbone(inner, "lora", 1, {"r": 2, "lora_alpha": 2, "lora_dropout": 0.0})
    with pytest.raises(ValueError, match="float32"):
        merge_lora(inner)


def test_a_merged_folder_loads_like_any_other(stage2, backbone, tmp_path):
    from aquatint.models.backbone import Backbone

    merged = merge_checkpoint(backbone, stage2)
    folder = tmp_path / "merged"
    folder.mkdir()
    merged.save_pretrained(folder)
    loaded = Backbone(str(folder), "x", "merged").load().state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in merged.weights.items())
    assert Backbone(str(folder), "x", "merged").load_tokenizer().padding_side == "right"


def test_lora_starts_as_the_base_model(backbone, make_plan, retrieval_data):
    plan = make_plan("stage2", mode="lora", opening=ALL_OPEN)
    model, groups = build_model(retrieval_data.backbone, plan.spec)
    ids = torch.arange(6)[None] + 10
    mask = torch.ones_like(ids)
    base = backbone.load().model.language_model(input_ids=ids).last_hidden_state
    assert torch.equal(model.encode_texts({"input_ids": ids, "attention_mask": mask}), base)
    assert set(groups) == {"adapters", "heads", "block_1", "block_2"}
    assert all("lora_" in name for name in groups["block_1"])
    assert all(".1." in name for name in groups["block_1"])
    assert all(".0." in name for name in groups["block_2"])


def test_full_opening_names_whole_blocks(backbone):
    groups = open_backbone(backbone.load(), "full", 1, {})
    assert list(groups) == ["block_1"]
    assert any("vision_tower.encoder.layer.1" in name for name in groups["block_1"])
    assert any("language_model.layers.1" in name for name in groups["block_1"])
    assert not any(".0." in name for name in groups["block_1"])


def test_more_blocks_than_there_are_is_an_error(backbone):
    with pytest.raises(ValueError, match="Cannot open 3 blocks"):
        open_backbone(backbone.load(), "full", 3, {})


def test_cached_and_live_encodings_agree(stage1, backbone, retrieval_data):
    model = restore_model(backbone, stage1)
    tables, sources = retrieval_data.sources("train", 24)
    counts = len(tables.images), len(tables.captions)
    cached, live = (
        encode_split(model, sources, *counts, batch_size=3, entry=entry) for entry in (CLOSED, LIVE)
    )
    assert torch.allclose(cached.image_embeds, live.image_embeds, atol=1e-5)
    assert torch.allclose(cached.text_embeds, live.text_embeds, atol=1e-5)


def test_cached_and_live_losses_and_gradients_agree(make_plan, retrieval_data):
    plan = make_plan("stage2")
    results = []
    for entry in (CLOSED, LIVE):
        model, groups = build_model(retrieval_data.backbone, plan.spec, seed=3)
        model.heads.requires_grad_(True)
        tables, sources = retrieval_data.sources("train", 24)
        samples = RetrievalSamples(
            tables,
            sources,
            captions_per_image=2,
            regions_per_image=2,
            entry=lambda entry=entry: entry,
            seed=0,
        )
        torch.manual_seed(0)
        losses = RetrievalLosses(("itc", "itm", "bbox", "spatial"))(
            model, samples.batch(torch.arange(4))
        )
        sum(losses.values()).backward()
        gradient = {n: p.grad for n, p in model.heads.named_parameters()}
        results.append(({k: float(v.detach()) for k, v in losses.items()}, gradient))
    (cached, cached_grad), (live, live_grad) = results
    assert cached == pytest.approx(live, rel=1e-4)
    for name, gradient in cached_grad.items():
        assert torch.allclose(gradient, live_grad[name], atol=1e-4), name


def test_two_runs_with_one_seed_give_one_checkpoint(
    make_plan, retrieval_data, run_params, tmp_path
):
    from aquatint.training.state import TrainingStateFolder

    plan = make_plan("stage2", mode="lora", opening=ALL_OPEN)
    digests = []
    for name in ("a", "b"):
        states = TrainingStateFolder(str(tmp_path / name))
        checkpoint, history = train_retrieval(plan, retrieval_data, None, run_params, states)
        digests.append((checkpoint.digest, history.to_json()))
    assert digests[0] == digests[1]


def test_another_parameter_does_not_resume_the_state_of_this_one(
    make_plan, retrieval_data, run_params, states
):
    train_retrieval(make_plan(), retrieval_data, None, run_params, states)
    train_retrieval(make_plan(epochs=1), retrieval_data, None, run_params, states)
    from pathlib import Path

    assert len(list(Path(states.root).iterdir())) == 2


def test_lineage_tells_stage_parent_data_and_cost(stage2, stage1):
    lineage = stage2.lineage
    assert lineage["stage"] == "stage2"
    assert [parent["digest"] for parent in lineage["parents"]] == [stage1.digest]
    assert lineage["efficiency"]["num_steps"] == 6
    assert lineage["efficiency"]["num_trainable_parameters"] == sum(
        t.numel() for name, t in stage2.weights.items() if "scaler" not in name
    )
    assert set(lineage["data"]) == {"images", "captions", "regions", "relations"}


def test_predictions_do_not_look_at_the_targets(stage2, retrieval_data):
    """With other targets in the tables, the same predictions come out."""
    from dataclasses import replace

    tables = retrieval_data.tables
    regions = tables.regions.assign(cx=0.5, cy=0.5)
    relations = tables.relations.assign(horizontal=1, vertical=1)
    blind = replace(retrieval_data, tables=replace(tables, relations=relations))
    moved = replace(retrieval_data, tables=replace(tables, regions=regions))
    expected = predict_test(stage2, retrieval_data, 4, 0, CPU)
    predicted = [name for name in expected.boxes if name.startswith("predicted_")]
    assert expected.boxes[predicted].equals(predict_test(stage2, moved, 4, 0, CPU).boxes[predicted])
    assert expected.relations["predicted_horizontal"].equals(
        predict_test(stage2, blind, 4, 0, CPU).relations["predicted_horizontal"]
    )


def test_zero_shot_embeds_both_sides_in_one_space(retrieval_data):
    images, texts = predict_zero_shot(retrieval_data, 24, ("mean", "mean"), 2, CPU)
    assert len(images) == 2
    assert len(texts) == 4
    assert images.shape[1] - 2 == texts.shape[1] - 3 == 32


def without(data, **changes):
    from dataclasses import replace

    return replace(data, tables=replace(data.tables, **changes))


def test_data_without_boxes_or_pairs_train_all_the_same(
    make_plan, retrieval_data, run_params, states
):
    tables = retrieval_data.tables
    bare = without(
        retrieval_data,
        relations=tables.relations.iloc[:0],
        regions=tables.regions.assign(has_box=False),
    )
    plan = make_plan("stage2", mode="lora", opening=ALL_OPEN)
    checkpoint, history = train_retrieval(plan, bare, None, run_params, states)
    assert (history["loss_bbox"] == 0).all()
    assert (history["loss_spatial"] == 0).all()
    assert "heads.bbox_head.0.weight" in checkpoint.weights, "untrained, but part of the model"
    assert len(predict_test(checkpoint, bare, 4, 0, CPU).boxes) == 0


@pytest.mark.parametrize("weights", [{"bbox": 0.0}, {"spatial": 0.0, "itm": 0.0}])
def test_a_loss_can_be_switched_off(weights, make_plan, retrieval_data, run_params, states):
    full = {"itc": 1.0, "itm": 1.0, "bbox": 0.1, "spatial": 0.1}
    plan = make_plan("stage2", loss_weights={**full, **weights})
    checkpoint, history = train_retrieval(plan, retrieval_data, None, run_params, states)
    off = {f"loss_{name}" for name in weights}
    assert not off & set(history.columns)
    assert restore_model(retrieval_data.backbone, checkpoint) is not None


def test_a_ramp_may_start_at_zero(make_plan, retrieval_data, run_params, states):
    plan = make_plan("stage2", ramped_losses=("bbox",), loss_ramp=(0.0, 1.0))
    _, history = train_retrieval(plan, retrieval_data, None, run_params, states)
    assert history.groupby("epoch")["weight_bbox"].first().tolist() == [0.0, 0.1]


def test_full_opening_trains_a_half_precision_backbone_in_float32(
    make_plan, retrieval_data, run_params, states
):
    from dataclasses import replace

    half = replace(retrieval_data, backbone=replace(retrieval_data.backbone, dtype="bfloat16"))
    plan = make_plan("stage2", mode="full", opening=ALL_OPEN)
    checkpoint, _ = train_retrieval(plan, half, None, run_params, states)
    assert {t.dtype for t in checkpoint.weights.values()} == {torch.float32}


def test_a_precision_that_does_not_go_with_the_backbone_is_refused(
    make_plan, retrieval_data, run_params, states
):
    from dataclasses import replace

    half = replace(retrieval_data, backbone=replace(retrieval_data.backbone, dtype="bfloat16"))
    run = run_params.model_copy(update={"precision": "float16"})
    with pytest.raises(ValueError, match="float16 does not go with .* bfloat16"):
        train_retrieval(make_plan(), half, None, run, states)


def test_a_finished_training_leaves_the_states_of_others(
    make_plan, retrieval_data, run_params, states
):
    from pathlib import Path

    first, _ = train_retrieval(make_plan(), retrieval_data, None, run_params, states)
    train_retrieval(make_plan(epochs=1), retrieval_data, None, run_params, states)
    states.discard(first.lineage["training_key"])
    assert len(list(Path(states.root).iterdir())) == 1


def test_changed_code_does_not_resume_the_state(
    make_plan, retrieval_data, run_params, states, monkeypatch
):
    from pathlib import Path

    train_retrieval(make_plan(), retrieval_data, None, run_params, states)
    monkeypatch.setattr("aquatint.source_digest.source_digest", lambda func: "other code")
    train_retrieval(make_plan(), retrieval_data, None, run_params, states)
    assert len(list(Path(states.root).iterdir())) == 2


def test_gradients_of_indexed_tensors_are_equal_with_two_threads(run_params):
    """At the default of two threads: their sums must not depend on who arrives first."""
    from aquatint.training.precision import prepare_device

    prepare_device(run_params.model_copy(update={"num_threads": 2}))
    digests = set()
    for _ in range(8):
        torch.manual_seed(0)
        rows = torch.randn(32, 64, 256, requires_grad=True)
        chosen = torch.randint(0, 32, (96,))
        (rows[chosen] * torch.randn(96, 64, 256)).sum().backward()
        digests.add(int(torch.hash_tensor(rows.grad.view(torch.int32)).item()))
    torch.set_num_threads(1)
    assert len(digests) == 1
