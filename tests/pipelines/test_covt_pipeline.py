"""The recipe from end to end in the test environment, and what can be recomputed from it."""

import json

import numpy as np
import pytest

from aquatint.data.visual_thought_prompts import anchor_tokens
from aquatint.training.covt_evaluation import evaluate
from project_runs import open_catalog, run_pipelines

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("covt")
    run_pipelines(folder, "covt")
    run_pipelines(folder, "covt_predict")
    return folder


@pytest.fixture(scope="module")
def catalog(root):
    return open_catalog(root)


def test_every_number_can_be_recomputed_from_what_was_saved(catalog):
    metrics = catalog.load("covt.evaluation.metrics")
    predictions = catalog.load("covt.evaluation.predictions")
    again = evaluate(
        predictions,
        catalog.load("covt.evaluation.anchor_errors"),
        catalog.load("covt.data.conversations"),
    )
    assert metrics == json.loads(json.dumps(again))
    trained = predictions[predictions["system"] == "trained"]
    for manner, rows in trained.groupby("manner"):
        found = metrics["accuracy"]["trained"][manner]
        assert found["accuracy"] == pytest.approx(rows["is_correct"].mean())
        assert found["n"] == len(rows) == sum(v["n"] for v in found["by_kind"].values())


def test_shuffled_answers_are_right_no_more_often_than_luck(catalog):
    """Answers of other questions of the kind, for the best baseline there is."""
    turns = catalog.load("covt.data.conversations")
    predictions = catalog.load("covt.evaluation.predictions")
    rng = np.random.default_rng(0)
    exchanged = predictions.groupby(["system", "manner", "kind"])["target"].transform(
        lambda values: rng.permutation(values.to_numpy())
    )
    right = (predictions["target"] == exchanged).mean()
    assert right < 0.9, "targets are not all alike"
    metrics = evaluate(
        predictions.assign(is_correct=predictions["answer"] == exchanged),
        catalog.load("covt.evaluation.anchor_errors"),
        turns,
    )
    for systems in metrics["accuracy"].values():
        for values in systems.values():
            assert values["accuracy"] <= right + 0.1


def test_no_scene_stands_in_two_splits_and_the_flaws_are_listed(catalog):
    report = catalog.load("covt.data.report")
    assert report["groups_in_two_splits"] == {}
    assert report["num_rejects"] == len(catalog.load("covt.data.rejects")) == 8
    assert set(report["records_by_file"]) == {"data.json", "data.jsonl", "data.parquet"}
    turns = catalog.load("covt.data.conversations")
    assert turns.groupby("group")["split"].nunique().max() == 1
    assert turns["turn"].max() > 0, "every turn is used"


def test_the_final_folder_has_the_sources_name_and_loads_with_plain_transformers(catalog):
    from transformers import AutoModelForImageTextToText, AutoTokenizer

    backbone = catalog.load("covt.stage234.merged_backbone")
    assert "/lora_merged/lora_stage234_merged/" in backbone.folder
    model = AutoModelForImageTextToText.from_pretrained(backbone.folder)
    tokenizer = AutoTokenizer.from_pretrained(backbone.folder)
    assert type(model).__name__ == "Qwen2_5_VLForConditionalGeneration"
    assert len(tokenizer("".join(anchor_tokens()))["input_ids"]) == len(anchor_tokens())
    first = catalog.load("covt.stage1.merged_backbone")
    old = catalog.load("covt_backbone").load().get_input_embeddings().weight
    for folder in (first, backbone):
        rows = folder.load().get_input_embeddings().weight
        assert (rows[: len(old)] == old).all(), "old rows keep every bit"


def test_both_merges_say_how_exact_they_were(catalog):
    from pathlib import Path

    from aquatint.storage import read_manifest

    for stage in ("stage1", "stage234"):
        folder = Path(catalog.load(f"covt.{stage}.merged_backbone").folder)
        lineage = read_manifest(folder)["lineage"]
        assert lineage["max_difference"] < 1e-4
        assert lineage["checkpoint"]["digest"] == catalog.load(f"covt.{stage}.checkpoint").digest
    parents = catalog.load("covt.stage234.checkpoint").lineage["parents"]
    assert parents[0]["digest"] == catalog.load("covt.stage1.checkpoint").digest


def test_anchors_end_after_their_last_step(catalog):
    history = catalog.load("covt.stage234.history")
    assert (history["loss_sam"].iloc[:3] > 0).all()
    assert history["loss_sam"].iloc[3] == 0
    assert len(catalog.load("covt.stage1.history")) == 2


def test_the_report_needs_no_network_and_shows_baselines_and_rejects(catalog):
    page = catalog.load("covt.reporting.report")
    assert "http://" not in page.split("<main>")[1].split("<script>")[0]
    assert "flaw_missing_image" in page
    assert "without any image" in page or "no visual" in page or "nothing to decode" in page
    summary = catalog.load("covt.reporting.summary")
    assert "usual answer of its kind" in summary


def test_new_questions_are_answered(catalog):
    found = catalog.load("covt_predict.answers.predictions")
    asked = catalog.load("covt_predict.answers.questions")
    assert found["turn_id"].tolist() == asked["turn_id"].tolist()
    assert found["text"].str.startswith("<think>").all()
    assert {"target", "is_correct"}.isdisjoint(found)
    assert "covt: answers" in catalog.load("covt_predict.answers.page")


def test_only_what_a_changed_curriculum_touches_runs_again(root):
    params = {"covt": {"stage234": {"train": {"curriculum": {"anchors_until": 1}}}}}
    ran = run_pipelines(root, "covt", only_missing_outputs=True, params=params)
    assert {"train_thinking", "merge_thinking", "answer_questions", "render_covt"} <= ran
    untouched = {"ingest_conversations", "cache_targets", "train_understanding",
                 "merge_understanding", "train_text_only"}  # fmt: skip
    assert ran.isdisjoint(untouched)


def test_a_user_can_name_files_and_anchors_on_the_command_line(root, tmp_path):
    from PIL import Image

    (tmp_path / "images").mkdir()
    rng = np.random.default_rng(0)
    records = []
    for number in range(6):
        pixels = rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{number}.png")
        turns = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "noise"}]
        records.append({"id": str(number), "image": f"{number}.png", "conversations": turns})
    (tmp_path / "data.json").write_text(json.dumps(records))
    params = {
        "covt": {
            "data_path": str(tmp_path / "data.json"),
            "image_folder": str(tmp_path / "images"),
            "visual_models": {"names": "depth+dino"},
        }
    }
    run_pipelines(tmp_path / "out", "covt", tags=["ingest", "split"], params=params)
    found = open_catalog(tmp_path / "out").load("covt.data.conversations")
    assert len(found) == 6
    with pytest.raises(Exception, match="no exact anchors"):
        run_pipelines(
            tmp_path / "out", "covt", node_names=["covt.anchors.cache_targets"], params=params
        )


def test_a_missing_thought_is_said_loudly(catalog, caplog):
    from aquatint.pipelines.covt.nodes import evaluate_thoughts
    from aquatint.pipelines.covt.params import WritingParams

    predictions = catalog.load("covt.evaluation.predictions")
    params = WritingParams(
        split="test", max_new_tokens=8, batch_size=8, num_context_turns=0, min_emission=0.95,
        num_constant_steps=1, num_maps=1,
    )  # fmt: skip
    evaluate_thoughts(
        predictions.assign(has_thought=False),
        catalog.load("covt.evaluation.anchor_errors"),
        catalog.load("covt.data.conversations"),
        params,
    )
    assert "HOLD A VISUAL THOUGHT" in caplog.text
