"""Both recipes from end to end in the test environment, and what can be recomputed from them."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from aquatint.training import vla_rollout
from aquatint.training.vla_evaluation import evaluate_chunks
from aquatint.training.vla_rollout import evaluate_rollouts
from project_runs import call_node, open_catalog, run_pipelines

pytestmark = pytest.mark.slow
RECIPES = ("vla_regression", "vla_diffusion")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vla")
    run_pipelines(folder, *RECIPES)
    return folder


@pytest.fixture(scope="module")
def catalog(root):
    return open_catalog(root)


def test_all_four_formats_come_in_and_faulty_recordings_are_listed(catalog):
    report = catalog.load("vla_regression.data.report")
    assert set(report["episodes"]["by_source"]) == {"trajectory", "episode", "lerobot", "bridge"}
    assert report["episodes"]["rejected"] == 5
    rules = {item["rule"] for item in report["rejects"]}
    assert len(rules) == 5, "a column, a NaN, a clock, a sensor file, a width of actions"
    assert 0 < report["episodes"]["with_sensor"] < report["episodes"]["read"]
    constant = [name for name, v in report["actions"].items() if v["is_constant"]]
    assert "gripper" in constant


def test_no_episode_stands_in_two_splits_and_scales_come_from_train(catalog):
    steps = catalog.load("vla_diffusion.data.episodes")
    assert steps.groupby("episode_id")["split"].nunique().max() == 1
    scales = catalog.load("vla_diffusion.data.normaliser")
    train = steps[(steps["split"] == "train") & steps["has_action"] & steps["has_state"]]
    assert scales["action"]["min"][0] == pytest.approx(train["delta_x"].min())
    assert scales["action"]["n"] == len(train)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("part", ["baseline", "stage1", "stage2"])
def test_every_number_can_be_recomputed_from_the_saved_predictions(catalog, recipe, part):
    metrics = catalog.load(f"{recipe}.{part}.metrics")
    again = evaluate_chunks(
        catalog.load(f"{recipe}.{part}.predictions"),
        catalog.load(f"{recipe}.data.episodes"),
        catalog.load(f"{recipe}.data.normaliser"),
    )
    assert metrics == json.loads(json.dumps(again))
    assert set(metrics["baselines"]) == {"zero", "mean", "last_action"}
    counted = sum(metrics["by_sensor"][kind]["n"] for kind in ("with_sensor", "without_sensor"))
    assert counted == metrics["n"] > 0
    assert metrics["by_dimension"]["gripper"]["correlation"] is None


def test_two_processes_flew_what_one_did(catalog, root, monkeypatch, tmp_path):
    monkeypatch.setattr(vla_rollout, "count_pilots", lambda *_: 2)
    runs = call_node(root, "vla_diffusion", "fly_vla_diffusion")
    runs.to_parquet(tmp_path / "runs.parquet")
    again = pd.read_parquet(tmp_path / "runs.parquet")
    pd.testing.assert_frame_equal(again, catalog.load("vla_diffusion.rollout.episodes"))


@pytest.mark.parametrize("recipe", RECIPES)
def test_flights_can_be_recomputed_and_the_expert_reaches_its_goal_first(catalog, recipe):
    runs = catalog.load(f"{recipe}.rollout.episodes")
    metrics = catalog.load(f"{recipe}.rollout.metrics")
    assert metrics == json.loads(json.dumps(evaluate_rollouts(runs, "stage2")))
    assert set(metrics["policies"]) == {
        "expert", "zero", "state_only", "stage1", "stage2", "stage2, shuffled_instruction",
        "stage2, sensor_zeroed",
    }  # fmt: skip
    errors = {name: values["final_error_m"] for name, values in metrics["policies"].items()}
    assert errors["expert"] == min(errors.values())
    starts = runs.groupby("run_id")["path"].apply(lambda paths: {tuple(p[:4]) for p in paths})
    assert starts.map(len).max() == 1, "all policies start at one place"


@pytest.mark.parametrize("recipe", RECIPES)
def test_both_stages_leave_their_checkpoints_and_their_lineage(catalog, recipe):
    first, second = (catalog.load(f"{recipe}.{stage}.checkpoint") for stage in ("stage1", "stage2"))
    assert first.digest != second.digest
    assert second.lineage["parents"][0]["digest"] == first.digest
    assert catalog.load(f"{recipe}.stage2.handover")["stage1"] == first.digest
    for stage, key in (("stage1", "sensor_encoder"), ("stage2", "model_state_dict")):
        folder = Path(catalog.load(f"{recipe}.stage2.{stage}_source_checkpoint"))
        content = torch.load(folder / "checkpoint.pt", weights_only=True)
        assert content[key]
        assert content["training_stage"] == stage


def test_the_two_recipes_differ_by_their_expert_alone(catalog):
    specs = [catalog.load(f"{recipe}.stage1.checkpoint").spec for recipe in RECIPES]
    assert [spec["policy"]["kind"] for spec in specs] == ["regression", "diffusion"]
    assert specs[0]["policy"]["diffusion"] is None
    assert specs[1]["policy"]["diffusion"]["num_train_timesteps"] == 20
    # A diffusion clips its samples to [-1, 1]; a regression needs no such scale.
    assert [spec["normaliser"]["action"]["mode"] for spec in specs] == ["z_score", "min_max"]
    assert specs[0]["normaliser"]["sensor"] == specs[1]["normaliser"]["sensor"]


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_exported_policy_acts(catalog, recipe):
    latency = catalog.load(f"{recipe}.stage2.latency")
    assert np.isfinite(list(latency["action"].values())).all()
    assert latency["decision"]["median_ms"] > 0
    folder = Path(catalog.load(f"{recipe}.stage2.policy"))
    assert (folder / "policy.json").exists()


def test_the_merged_backbone_loads_elsewhere(catalog):
    from transformers import AutoModelForImageTextToText

    merged = catalog.load("vla_regression.stage2.merged_backbone")
    model = AutoModelForImageTextToText.from_pretrained(merged.folder)
    assert type(model).__name__ == "Qwen2_5_VLForConditionalGeneration"


def test_the_lerobot_export_reads_back(catalog):
    from aquatint.data.episode_tables import ReadingRules, read_episodes
    from aquatint.data.time_alignment import AlignmentRules

    folder = Path(catalog.load("vla_regression.data.lerobot"))
    steps, _, _ = read_episodes(
        folder, ReadingRules("strict", 0, 10_000, "{task}"),
        AlignmentRules(10, 0.02, 1.0, 0.1, 65, "end"),
    )  # fmt: skip
    own = catalog.load("vla_regression.data.episodes")
    own = own[own["has_action"] & own["has_state"]]
    assert len(steps) == len(own)
    assert steps["delta_x"].to_numpy() == pytest.approx(own["delta_x"].to_numpy(), abs=0.01)


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_report_holds_the_numbers_of_the_comparison(catalog, recipe):
    page = catalog.load(f"{recipe}.reporting.report")
    comparison = catalog.load(f"{recipe}.reporting.comparison")
    assert f"{comparison['offline']['stage2']['scaled_mse_error']:.4f}" in page
    assert len(comparison["findings"]) >= 6
    assert "http://" not in page.split("<main>")[1].split("<script>")[0]
    assert "data:image/jpeg" in catalog.load(f"{recipe}.reporting.samples")
    assert "| stage 2 |" in catalog.load(f"{recipe}.reporting.summary")


def test_a_changed_stage2_leaves_stage1_alone(root):
    changed = {"vla_regression": {"stage2": {"train": {"vl_learning_rate": 5e-4}}}}
    ran = run_pipelines(root, "vla_regression", only_missing_outputs=True, params=changed)
    assert {"train_stage2_vla_regression", "fly_vla_regression"} <= ran
    untouched = {"ingest_vla_regression", "encode_prompts_vla_regression",
                 "train_stage1_vla_regression", "check_handover_vla_regression",
                 "train_state_only_vla_regression"}  # fmt: skip
    assert ran.isdisjoint(untouched)


def test_stage1_ignores_an_opened_backbone_and_says_so(root, caplog):
    changed = {"vla_regression": {"stage1": {"train": {"finetune_vl": "lora"}}}}
    node = "vla_regression.stage1.train_stage1_vla_regression"
    run_pipelines(root, "vla_regression", node_names=[node], params=changed)
    assert "Stage 1 should use finetune-vl=none" in caplog.text
    checkpoint = open_catalog(root).load("vla_regression.stage1.checkpoint")
    assert checkpoint.spec["opening"]["mode"] == "none"


def test_the_same_seed_gives_the_same_metrics(root, tmp_path):
    run_pipelines(tmp_path, "vla_diffusion")
    first, second = open_catalog(root), open_catalog(tmp_path)
    for part in ("baseline", "stage1", "stage2", "rollout"):
        name = f"vla_diffusion.{part}.metrics"
        assert first.load(name) == second.load(name)
