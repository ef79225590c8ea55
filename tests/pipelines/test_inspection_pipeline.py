"""The recipe from end to end in the test environment, and what can be recomputed from it."""

import json
import os
import shutil

import numpy as np
import pytest

from aquatint.training.inspection_evaluation import evaluate_splits
from inspection_fixture import CLASS_MAP
from project_runs import PROJECT, open_catalog, run_pipelines

pytestmark = pytest.mark.slow
PARTS = ("zero_shot", "finetune")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inspection")
    run_pipelines(folder, "inspection")
    return folder


@pytest.fixture(scope="module")
def catalog(root):
    return open_catalog(root)


@pytest.mark.parametrize("part", PARTS)
def test_every_number_can_be_recomputed_from_the_saved_predictions(catalog, part):
    metrics = catalog.load(f"inspection.{part}.metrics")
    predictions = catalog.load(f"inspection.{part}.predictions")
    again = evaluate_splits(predictions, catalog.load("inspection.data.instances"), CLASS_MAP)
    assert metrics == json.loads(json.dumps(again))
    test = predictions[predictions["split"] == "test"]
    assert metrics["accuracy"] == pytest.approx((test["predicted"] == test["target"]).mean())


def test_a_perfect_model_has_one_hundred_percent(catalog):
    predictions = catalog.load("inspection.finetune.predictions")
    perfect = predictions.assign(predicted=predictions["target"])
    found = evaluate_splits(perfect, catalog.load("inspection.data.instances"), CLASS_MAP)
    assert (found["accuracy"], found["macro_f1"], found["balanced_accuracy"]) == (1, 1, 1)


def test_shuffled_targets_fall_below_knowing_the_type(catalog):
    """Targets of other objects of the type are right no more often than luck."""
    predictions = catalog.load("inspection.finetune.predictions")
    instances = catalog.load("inspection.data.instances")
    rng = np.random.default_rng(0)
    accuracies = []
    for _ in range(20):
        targets = predictions.groupby("object_type")["target"].transform(
            lambda values: rng.permutation(values.to_numpy())
        )
        found = evaluate_splits(predictions.assign(target=targets), instances, CLASS_MAP)
        accuracies.append(found["accuracy"])
    shares = predictions.groupby("object_type")["target"].value_counts(normalize=True)
    of_type = predictions["object_type"].map(shares.groupby("object_type").max())
    # The best that a guess from the type alone can do, on these very objects.
    assert np.mean(accuracies) <= of_type.mean() + 0.02
    assert of_type.mean() < 0.95


def test_metrics_carry_n_intervals_and_baselines(catalog):
    for part in PARTS:
        metrics = catalog.load(f"inspection.{part}.metrics")
        for values in (metrics, metrics["val"]):
            low, high = values["accuracy_interval"]
            assert low <= values["accuracy"] <= high
            assert set(values["baselines"]) == {"majority", "type_only", "type_and_position"}
            assert sum(scores["n"] for scores in values["per_class"].values()) == values["n"]
            for matrix in values["confusion"].values():
                assert np.sum(matrix["confusion"]) == values["n"], "no answer falls out"
    use = catalog.load("inspection.finetune.image_use")
    assert set(use["modes"]) == {"own", "grey", "shuffled"}


def test_no_photograph_stands_in_two_splits(catalog):
    photos = catalog.load("inspection.data.photos")
    assert photos.groupby("source_group")["split"].nunique().max() == 1
    analysis = catalog.load("inspection.data.analysis")
    assert analysis["split_overlap"]["in_use"] == {}
    assert analysis["n"]["images_without_objects"] >= 1
    assert len(catalog.load("inspection.data.rejects")) == 3


def test_the_records_of_the_source_have_its_keys(catalog):
    results = catalog.load("inspection.reporting.zeroshot_results")
    wanted = {"overall_accuracy", "correct", "total", "per_class", "per_condition", "errors",
              "per_object_type", "avg_inference_time", "total_inference_time"}  # fmt: skip
    assert wanted <= set(results)
    assert {"image", "gt", "predicted", "matched"} == set(results["errors"][0])
    assert len(results["errors"]) == min(50, results["total"] - results["correct"])
    info = catalog.load("inspection.reporting.training_info_enhanced")
    wanted = {"model", "fine_tuning_method", "enhancements", "lora_r", "lora_alpha",
              "learning_rate", "epochs", "train_samples", "val_samples", "final_model_path",
              "class_weights", "condition_weights"}  # fmt: skip
    assert wanted <= set(info)
    log = catalog.load("inspection.reporting.training_log").splitlines()
    assert len(log) == len(catalog.load("inspection.finetune.history"))
    assert json.loads(log[0])["step"] == 0


def test_the_models_it_leaves_load_elsewhere(catalog):
    from peft import PeftModel
    from transformers import AutoModelForImageTextToText

    merged = catalog.load("inspection.finetune.merged_backbone")
    model = AutoModelForImageTextToText.from_pretrained(merged.folder)
    assert type(model).__name__ == "Qwen2VLForConditionalGeneration"
    folder = catalog.load("inspection.finetune.adapter")
    base = AutoModelForImageTextToText.from_pretrained(catalog.load("qwen2_vl_backbone").folder)
    PeftModel.from_pretrained(base, folder)


def test_predictions_on_detections_are_complete(catalog):
    found = catalog.load("inspection.predict.predictions")
    detections = catalog.load("inspection.predict.detections")
    assert found["instance_id"].tolist() == detections["instance_id"].tolist()
    assert (detections["confidence"] >= 0.25).all()
    assert set(found["condition"]) <= {"normal", "damaged", "blocked"}
    assert found["probabilities"].map(sum).tolist() == pytest.approx([1.0] * len(found))
    metrics = catalog.load("inspection.predict.metrics")
    assert metrics["detection"]["recall"]["n"] == metrics["num_annotated"] > 0
    assert "DJI_0024.jpg" in catalog.load("inspection.predict.page")


def test_the_report_shows_the_baseline_beside_the_result(catalog):
    page = catalog.load("inspection.reporting.report")
    comparison = catalog.load("inspection.reporting.comparison")
    for value in (
        comparison["baselines"]["type_only"]["accuracy"],
        comparison["headline"]["finetune"]["accuracy"],
    ):
        assert f"{100 * value:.1f}" in page
    assert "http://" not in page.split("<main>")[1].split("<script>")[0]
    assert set(comparison["criteria"]) == {"zero_shot", "finetune"}


def test_a_training_killed_at_each_of_its_writes_ends_the_same(root, warm_python, tmp_path):
    """At instants of each; with AQUATINT_KILLS=all before, within and after each."""
    phases = "before within after" if os.environ.get("AQUATINT_KILLS") == "all" else "one"
    copy, log = tmp_path / "data", tmp_path / "kills.txt"
    shutil.copytree(root, copy, copy_function=shutil.copy2)
    for place in ("06_models", "07_model_output", "08_reporting"):
        shutil.rmtree(copy / place / "inspection")
    shutil.rmtree(copy / "06_models" / ".states")
    script = PROJECT / "tests" / "pipelines" / "kill_at_writes.py"
    killed = warm_python.start(
        script, "inspection", copy, log, "train",
        cwd=PROJECT, env={**os.environ, "AQUATINT_KILL_PHASES": phases},
    )  # fmt: skip
    assert killed.wait() == 0, killed.errors[-3000:]
    points = [line.split() for line in log.read_text().splitlines()]
    names = {name for _, name in points}
    assert len(points) >= (1 if phases == "one" else 3) * len(names)
    for kind in ("states", "history.jsonl", "checkpoints", "provenance.json"):
        assert any(kind in name for name in names), kind
    expected, found = open_catalog(root), open_catalog(copy)
    for part in ("finetune", "spatial_mlp"):
        name = f"inspection.{part}.checkpoint"
        assert found.load(name).digest == expected.load(name).digest
        history = f"inspection.{part}.history"
        assert found.load(history).equals(expected.load(history))


def test_the_same_seed_gives_the_same_numbers(root, tmp_path):
    """From nothing in another folder, by two runs instead of one."""
    for tags in (["ingest", "split", "features"], ["train"]):
        run_pipelines(tmp_path, "inspection", tags=tags)
    first, second = open_catalog(root), open_catalog(tmp_path)
    name = "inspection.finetune.checkpoint"
    assert first.load(name).digest == second.load(name).digest


def test_only_what_a_changed_toggle_touches_runs_again(root):
    toggles = {"inspection": {"finetune": {"balance": {"class_weighting": False}}}}
    ran = run_pipelines(root, "inspection", only_missing_outputs=True, params=toggles)
    assert {"train_finetune", "render_inspection"} <= ran
    untouched = {"ingest_inspection", "encode_objects", "frame_objects", "write_prompts",
                 "answer_zero_shot", "train_spatial_mlp"}  # fmt: skip
    assert ran.isdisjoint(untouched)


def test_a_dry_run_looks_at_everything_and_keeps_nothing(root, caplog):
    before = sorted(path for path in root.rglob("*") if "runs" not in path.parts)
    with caplog.at_level("INFO"):
        ran = run_pipelines(root, "inspection", params={"run": {"dry_run": True}})
    assert ran == {"check_inspection"}
    for words in ("dry run: objects: {", "dry run: disk_gb: {'views'", "dry run: tuning: {'loss'"):
        assert words in caplog.text
    assert sorted(path for path in root.rglob("*") if "runs" not in path.parts) == before
    tiny = {"run": {"dry_run": True}, "inspection": {"features": {"views": {"max_pixels": 1}}}}
    with pytest.raises(ValueError, match="min_pixels .* leave no view"):
        run_pipelines(root, "inspection", params=tiny)


def test_every_enhancement_is_trained_on_its_own(root):
    run_pipelines(root, "inspection_ablation")
    catalog = open_catalog(root)
    comparison = catalog.load("inspection_ablation.reporting.comparison")
    assert len(comparison["variants"]) == 8
    assert comparison["variants"]["none"]["difference"] == 0
    digests = {catalog.load(f"inspection_ablation.{name}.checkpoint").digest
               for name in comparison["variants"]}  # fmt: skip
    assert len(digests) == 8, "every toggle changes something"
    true, control = (catalog.load(name) for name in (
        "inspection.data.instances", "inspection_ablation.shuffled_labels.instances",
    ))  # fmt: skip
    is_test = true["split"] == "test"
    labels = ["class_id", "class_name", "condition"]
    assert control.loc[is_test, labels].equals(true.loc[is_test, labels])
    assert (control["class_name"] != true["class_name"])[~is_test].any()
    counts = ["split", "object_type", "condition"]
    assert control.groupby(counts).size().equals(true.groupby(counts).size())
    assert "all five" in catalog.load("inspection_ablation.reporting.report")
