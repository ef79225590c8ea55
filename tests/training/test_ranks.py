"""Two processes train as one does: same losses, same weights, same errors; DDP and FSDP2."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import rank_scenarios
import torch
from rank_pair import start_ranks, wait_for_ranks

from aquatint.models.navigator import PARTS
from aquatint.params import OptimizerParams, StageParams
from aquatint.training.navigation_dialogues import FrameStyle
from aquatint.training.navigation_samples import NavigationData
from aquatint.training.retrieval_stage import train_retrieval
from aquatint.training.system2_stage import System2Plan
from aquatint.training.work_order import read_value, write_value

pytestmark = pytest.mark.slow

OPENING = (("adapters", "heads"), ("adapters", "heads", "block_1", "block_2"))


@pytest.fixture(scope="module")
def given(make_plans, retrieval_data, navigation, run_params, tmp_path_factory):
    """Plans without dropout, whose random numbers each rank draws for itself, and a parent."""
    plans = make_plans
    folder = rank_scenarios.TrainingStateFolder(str(tmp_path_factory.mktemp("parent")))
    parent, _ = train_retrieval(plans["stage1"], retrieval_data, None, run_params, folder)
    return {**plans, "data": retrieval_data, "run": run_params, "parent": parent,
            "navigation": navigation}  # fmt: skip


@pytest.fixture(scope="module")
def navigation(navigation_data, navigation_backbone):
    """System 2 on five samples: windows of four and one, the last without one for a rank."""
    samples = navigation_data.samples
    few = [samples[samples["split"] == split].head(n) for split, n in (("train", 5), ("val", 1))]
    data = NavigationData(navigation_data.root, navigation_data.frames,
                          pd.concat(few).assign(repeats=1).reset_index(drop=True))  # fmt: skip
    params = StageParams(
        epochs=2,
        batch_size=4,
        optimizer=OptimizerParams(learning_rate=1e-3, weight_decay=0.0, warmup_fraction=0.0),
        loss_weights={"next_token": 1.0},
    )
    plan = System2Plan(params, PARTS, FrameStyle(48, 24, 576, 9216), 3, True, 1, 2)
    return {"plan": plan, "data": data, "backbone": navigation_backbone}


@pytest.fixture(scope="module")
def two(given, warm_python, tmp_path_factory):
    """Folder with what two ranks found in each scenario."""
    folder = tmp_path_factory.mktemp("ranks")
    (folder / "given").mkdir()
    write_value(given, folder / "given")
    wait_for_ranks(start_ranks(warm_python, rank_scenarios.__file__, folder))
    return folder


def on_one(name, given, tmp_path):
    return getattr(rank_scenarios, name)(given, tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "stage1",
        "stage2_lora",
        "stage2_lora_sharded",
        "stage2_full",
        "stage2_full_sharded",
        "system2",
    ],
)
def test_loss_curve_and_weights_are_those_of_one_process(name, two, given, tmp_path):
    found, curve = read_value(two / name)
    expected, expected_curve = on_one(name, given, tmp_path)
    assert len(curve["loss"]) == len(expected_curve["loss"]) >= 4
    for column in expected_curve:
        close = np.allclose(
            curve[column], expected_curve[column], rtol=2e-4, atol=1e-5, equal_nan=True
        )
        assert close, f"{column}: {curve[column]} instead of {expected_curve[column]}"
    for kind in ("weights", "last_weights"):
        ours, theirs = getattr(found, kind), getattr(expected, kind)
        assert set(ours) == set(theirs)
        for key, tensor in theirs.items():
            # By norm, and a bit more: AdamW turns the rounding of a gradient near zero into a step,
            # and a key's bias, which cancels in every softmax, has no other gradient.
            assert (ours[key] - tensor).norm() <= 1e-3 * tensor.norm() + 5e-5, key
    if name.startswith("stage2"):
        before = given["parent"].weights
        assert any(not torch.equal(found.weights[key], tensor) for key, tensor in before.items())


def test_killed_at_two_steps_two_ranks_end_bit_for_bit_as_if_untouched(two):
    found = read_value(two / "resumed")
    assert set(found) == {"lora_ddp", "full_fsdp2"}
    for name, digests in found.items():
        assert len(digests) == 2
        assert len(set(digests)) == 1, name


def test_a_loss_that_is_not_finite_on_one_rank_stops_all_with_the_ids(two):
    messages = read_value(two / "non_finite")
    assert len(messages) == 2
    assert messages[0] == messages[1]
    assert "bbox nan" in messages[0]
    assert ".jpeg" in messages[0]


def test_a_frozen_tensor_that_moves_on_one_rank_stops_all(two):
    messages = read_value(two / "frozen_moves")
    assert len(messages) == 2
    assert "lm_head" in messages[0] or "embed_tokens" in messages[0]


def test_predictions_are_those_of_one_process(two, given, tmp_path):
    """Embeddings bit for bit; scores up to rounding, for a rank batches its pairs by image."""
    found, expected = read_value(two / "predictions"), on_one("predictions", given, tmp_path)
    for name in ("image_embeds", "text_embeds"):
        assert getattr(found, name).equals(getattr(expected, name)), name
    pairs = ["query", "candidate", "caption_id", "image_id"]
    assert found.match_scores[pairs].equals(expected.match_scores[pairs])
    scores = expected.match_scores["score"].to_numpy()
    assert found.match_scores["score"].to_numpy() == pytest.approx(scores, abs=1e-5)
    assert len(scores) == 8


def test_gradients_through_gathered_rows_are_those_of_one_process(two, given, tmp_path):
    found = read_value(two / "gathered_gradient")["gradient"]
    expected = on_one("gathered_gradient", given, tmp_path)["gradient"]
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_ranks_stop_early_together(two, given, tmp_path):
    found = read_value(two / "patience")["steps"]
    assert found == on_one("patience", given, tmp_path)["steps"] < 40


@pytest.fixture(scope="module")
def make_plans(plan_maker):
    def without_dropout(plan, dropout=0.0):
        return replace(plan, spec=replace(plan.spec, heads={**plan.spec.heads, "dropout": dropout}))

    # 8 images: windows of 7 and 1, the second of which leaves one rank without a sample.
    stage1 = plan_maker(batch_size=7)
    lora = plan_maker(
        "stage2", mode="lora", opening=OPENING, batch_size=3, gradient_accumulation_steps=2
    )
    full = plan_maker("stage2", mode="full", opening=OPENING, batch_size=3)
    return {
        "stage1": without_dropout(stage1),
        "lora": without_dropout(lora),
        "full": without_dropout(full),
        "lora_dropout": without_dropout(lora, 0.1),
    }
