"""System 2 and the dual system from end to end in the test environment, in one run each."""

import json

import numpy as np
import pandas as pd
import pytest

from aquatint.metrics.navigation import FlownPath, navigation_metrics
from aquatint.training import system2_rollout
from aquatint.training.system2_evaluation import evaluate_answers
from project_runs import call_node, hand_over_here, open_catalog, run_project

pytestmark = pytest.mark.slow
BACKENDS = ("nextdit_async", "nextdit", "navdp_async")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("system2")
    run_project(folder, pipeline="system2")
    return folder


@pytest.fixture(scope="module")
def ran_dual(root):
    return run_project(root, pipeline="dual_system", only_missing=True)


def test_every_number_can_be_recomputed_from_the_saved_answers(root):
    catalog = open_catalog(root)
    samples = catalog.load("system2.data.samples")
    again = evaluate_answers(catalog.load("system2.finetune.predictions"), samples)
    assert catalog.load("system2.finetune.metrics") == json.loads(json.dumps(again))


def test_flown_episodes_give_the_metrics_of_the_closed_loop(root):
    catalog = open_catalog(root)
    episodes, metrics = (catalog.load(f"system2.rollout.{n}") for n in ("episodes", "metrics"))
    assert set(episodes["policy"]) == {
        "expert", "forward", "random", "untrained", "system2", "system2_misled",
    }  # fmt: skip
    test = set(catalog.load("system2.data.samples").query("split == 'test'")["scene"])
    assert set(episodes["scene"]) <= test, "no flight over a town of the training"
    row = episodes[episodes["policy"] == "system2"].iloc[0]
    path, reference = (np.array(row[name]).reshape(-1, 2) for name in ("path", "reference"))
    flown = FlownPath(path, reference, np.array(row["goal"]), 1.0, bool(row["has_stopped"]))
    again = navigation_metrics(flown, 6.0, 6.0, requires_stop=True)
    for name in ("navigation_error_m", "success", "ndtw_score", "path_length_m"):
        assert again[name] == pytest.approx(row[name])
    assert set(metrics["answers"]) == {"untrained", "system2", "system2_misled"}


def test_the_dual_system_stands_on_the_system_2_that_is_there(root, ran_dual):
    assert "train_system2" not in ran_dual
    assert {f"train_{name}" for name in BACKENDS} <= ran_dual
    catalog = open_catalog(root)
    system2 = catalog.load("system2.finetune.checkpoint")
    for name in BACKENDS:
        checkpoint = catalog.load(f"dual_system.{name}.checkpoint")
        assert checkpoint.lineage["parents"] == [f"system2@{system2.digest}"]
        assert not any(weight.startswith("language_model") for weight in checkpoint.weights)
        metrics = catalog.load(f"dual_system.{name}.metrics")
        assert metrics["n"] > 0
        assert len(metrics["loss_by_time"]) == 5
        # The recorded ways are those of an expert: nearly straight, so that lines beat standing.
        assert metrics["straight_line"]["ade_m"] < 0.5 * metrics["standing_still"]["ade_m"]
        assert checkpoint.weights["system1.scaler.std"].ne(1).all(), "statistics are kept"
    drift = catalog.load("dual_system.drift.metrics")
    assert -1 <= drift["least_cosine"] <= drift["cosine"] < 1 - 1e-7, "it was trained further"
    policies = catalog.load("dual_system.rollout.metrics")["policies"]
    assert {*BACKENDS, "system2", "expert"} <= set(policies)


def test_pilots_that_are_handed_what_they_need_fly_the_same(root, ran_dual, monkeypatch, tmp_path):
    hand_over_here(monkeypatch)
    monkeypatch.setattr(system2_rollout, "count_pilots", lambda *_: 2)
    catalog = open_catalog(root)
    for node, part in (("fly_straight", "rollout"), ("fly_nextdit", "nextdit")):
        # Types are those of the file.
        call_node(root, "dual_system", node).to_parquet(tmp_path / "flights.parquet")
        again = pd.read_parquet(tmp_path / "flights.parquet")
        pd.testing.assert_frame_equal(again, catalog.load(f"dual_system.{part}.flights"))


def test_flights_of_one_backend_are_compared_with_those_of_system_2(root, ran_dual):
    catalog = open_catalog(root)
    episodes = catalog.load("dual_system.rollout.episodes")
    metrics = catalog.load("dual_system.rollout.metrics")
    counted = metrics["policies"]["system2"]["n"]
    assert (episodes["policy"].value_counts() == counted).all()
    assert {name: found["other"] for name, found in metrics["comparisons"].items()} == {
        name: "system2" for name in BACKENDS
    }
    assert set(metrics["answers"]) == {"system2", *BACKENDS}
    own = episodes[episodes["policy"] == "nextdit"]
    assert metrics["answers"]["nextdit"]["invalid"] == own["num_invalid"].sum()
    assert own["num_invalid"].notna().all()
    assert episodes.loc[episodes["policy"] == "expert", "num_pixel"].isna().all()


def test_the_reports_say_what_the_tables_say(root, ran_dual):
    catalog = open_catalog(root)
    for recipe, words in (
        ("system2", ("Closed loop", "Held-out frames", "Pixel goals", "Flown paths")),
        ("dual_system", ("Closed loop", "Trajectories", "Drift", "Flown paths")),
    ):
        page, text = (catalog.load(f"{recipe}.reporting.{n}") for n in ("report", "summary"))
        assert all(word in page for word in words)
        assert page.count("<polyline") >= 2
        assert "http://" not in page.split("<main>")[1].split("<script>")[0]
        assert "| expert |" in text


def test_a_changed_backend_is_trained_alone(root, ran_dual):
    ran = run_project(
        root, pipeline="dual_system", only_missing=True,
        dual_system={"nextdit": {"train": {"num_queries": 3}}},
    )  # fmt: skip
    assert {"train_nextdit", "predict_nextdit", "fly_nextdit", "compare_flights"} <= ran
    assert ran.isdisjoint({"train_system2", "train_nextdit_async", "remember_dialogues"})
    assert ran.isdisjoint({"fly_straight", "fly_navdp_async"})
