"""The recipe from end to end in the test environment, and what can be recomputed from it.

That the same seed gives the same once more, test_concurrent_runs.py shows.
"""

import numpy as np
import pytest
import torch

from aquatint.metrics.ranks import retrieval_ranks
from aquatint.metrics.retrieval import recall_metrics
from aquatint.training.retrieval_evaluation import evaluate_retrieval
from aquatint.training.retrieval_inference import embedding_matrix
from project_runs import open_catalog

pytestmark = pytest.mark.slow
PARTS = ("zero_shot", "stage1", "stage2", "baseline")


@pytest.fixture(scope="module")
def catalog(finished):
    return open_catalog(finished)


@pytest.mark.parametrize("part", PARTS)
def test_every_number_can_be_recomputed_from_the_saved_embeddings(catalog, part):
    metrics = catalog.load(f"two_stage.{part}.metrics")
    images, texts = (catalog.load(f"two_stage.{part}.{side}_embeds") for side in ("image", "text"))
    again, ranks = evaluate_retrieval(images, texts)
    assert {key: metrics[key] for key in again} == _plain(again)
    assert ranks.equals(catalog.load(f"two_stage.{part}.ranks"))
    saved = ranks[(ranks["level"] == "building") & (ranks["direction"] == "text_to_image")]
    assert metrics["text_to_image"]["recall_at_1"] == pytest.approx((saved["rank"] < 1).mean())


def _plain(value):
    import json

    return json.loads(json.dumps(value))


@pytest.mark.parametrize("part", PARTS)
def test_metrics_carry_n_intervals_and_chance(catalog, part):
    metrics = catalog.load(f"two_stage.{part}.metrics")
    assert metrics["text_to_image"]["n"] == 24
    assert metrics["image_to_text"]["n"] == 8
    for direction in ("text_to_image", "image_to_text"):
        for k in (1, 5, 10):
            low, high = metrics[direction][f"recall_at_{k}_interval"]
            assert low <= metrics[direction][f"recall_at_{k}"] <= high
            assert 0 < metrics[direction][f"chance_at_{k}"] <= 1
    assert metrics["image_level"]["text_to_image"]["n"] == 24


@pytest.mark.parametrize("part", ["stage2", "baseline"])
def test_task_metrics_have_their_model_free_baselines(catalog, part):
    metrics = catalog.load(f"two_stage.{part}.metrics")
    assert metrics["bbox"]["n"] == len(catalog.load(f"two_stage.{part}.boxes"))
    assert metrics["bbox"]["mean_box_baseline"]["n"] == metrics["bbox"]["n"]
    assert metrics["spatial"]["n"] == len(catalog.load(f"two_stage.{part}.relations"))
    assert 0 < metrics["spatial"]["majority_baseline"] < 1


def test_shuffled_captions_fall_to_chance(catalog):
    """Embeddings that carry the wrong captions retrieve no better than by luck."""
    images = catalog.load("two_stage.baseline.image_embeds")
    texts = catalog.load("two_stage.baseline.text_embeds")
    rng = np.random.default_rng(0)
    buildings = images["building_id"].unique()
    groups = {name: i for i, name in enumerate(buildings)}
    recalls = []
    for _ in range(30):
        order = rng.permutation(len(texts))
        ranks = retrieval_ranks(
            embedding_matrix(images),
            embedding_matrix(texts)[order],
            torch.tensor([groups[b] for b in images["building_id"]]),
            torch.tensor([groups[b] for b in texts["building_id"]]),
        )
        recalls.append(recall_metrics(ranks.text_to_image)["recall_at_1"])
    assert np.mean(recalls) == pytest.approx(1 / len(buildings), abs=0.06)


def test_both_stages_leave_their_checkpoints_with_lineage(catalog):
    stage1, stage2 = (catalog.load(f"two_stage.{s}.checkpoint") for s in ("stage1", "stage2"))
    assert stage2.lineage["parents"][0]["digest"] == stage1.digest
    assert stage2.lineage["parents"][0]["version"] == stage1.lineage["version"]
    assert stage1.lineage["version"] == stage2.lineage["version"]


def test_effective_loss_weights_follow_the_progressive_table(catalog):
    history = catalog.load("two_stage.stage2.history")
    by_epoch = history.groupby("epoch")[["weight_bbox", "weight_spatial"]].first()
    assert by_epoch["weight_bbox"].tolist() == pytest.approx([0.05, 0.075, 0.1, 0.1])
    assert by_epoch["weight_spatial"].tolist() == pytest.approx([0.05, 0.075, 0.1, 0.1])
    assert (history["weight_itc"] == 1).all()


def test_the_merged_backbone_loads_with_plain_transformers(catalog):
    from transformers import AutoModelForImageTextToText, AutoTokenizer

    merged = catalog.load("two_stage.stage2.merged_backbone")
    model = AutoModelForImageTextToText.from_pretrained(merged.folder)
    assert type(model).__name__ == "InternVLForConditionalGeneration"
    assert len(AutoTokenizer.from_pretrained(merged.folder)) > 100


def test_training_states_are_gone_after_a_finished_run(finished):
    assert not list((finished / "06_models" / ".states").rglob("step-*"))


def test_the_report_of_ingestion_counts_the_planted_flaws(catalog):
    report = catalog.load("two_stage.data.ingestion_report")
    assert report["rejects"]["findings"] == 7
    assert report["n"]["images"] == 24
    assert report["leakage"]["buildings"] == {}


def test_the_report_page_names_every_part(catalog):
    page = catalog.load("two_stage.reporting.report")
    metrics = catalog.load("two_stage.stage2.metrics")
    assert f"{metrics['r_mean']:.3f}" in page or f"{100 * metrics['r_mean']:.1f}" in page
    for words in ("zero", "stage 1", "stage 2", "baseline"):
        assert words in page.lower()
