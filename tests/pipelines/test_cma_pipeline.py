"""The imitation recipe from end to end in the test environment."""

import json

import numpy as np
import pytest

from aquatint.metrics.navigation import FlownPath, navigation_metrics
from aquatint.pipelines.cma.nodes import evaluate_chunks
from aquatint.training import imitation_rollout
from aquatint.training.imitation_evaluation import evaluate_predictions
from project_runs import assert_flies_the_same, hand_over_here, open_catalog, run_project

pytestmark = pytest.mark.slow
POLICIES = ("cma", "seq2seq", "rdp")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cma")
    run_project(folder, pipeline="cma")
    return folder


@pytest.fixture(scope="module")
def catalog(root):
    return open_catalog(root)


@pytest.mark.parametrize("policy", POLICIES)
def test_every_number_can_be_recomputed_from_the_saved_predictions(catalog, policy):
    evaluate = evaluate_chunks if policy == "rdp" else evaluate_predictions
    again = evaluate(catalog.load(f"cma.{policy}.predictions"))
    assert catalog.load(f"cma.{policy}.metrics") == json.loads(json.dumps(again))


def test_flown_episodes_give_the_metrics_of_the_closed_loop(catalog):
    episodes, metrics = (catalog.load(f"cma.rollout.{name}") for name in ("episodes", "metrics"))
    assert set(episodes["policy"]) == {
        "expert", "forward", "random", "cma", "cma_misled", "seq2seq", "seq2seq_misled",
        "rdp", "rdp_misled",
    }  # fmt: skip
    for name, rows in episodes.groupby("policy"):
        summary = metrics["policies"][name]
        assert summary["n"] == len(rows)
        assert summary["success"] == pytest.approx(rows["success"].mean())
    row = episodes[episodes["policy"] == "cma"].iloc[0]
    path, reference = (np.array(row[name]).reshape(-1, 2) for name in ("path", "reference"))
    flown = FlownPath(path, reference, np.array(row["goal"]), 1.0, bool(row["has_stopped"]))
    again = navigation_metrics(flown, 10.0, 10.0, requires_stop=True)
    for name in ("navigation_error_m", "success", "ndtw_score", "path_length_m"):
        assert again[name] == pytest.approx(row[name])
    assert np.linalg.norm(path[0] - reference[0]) < 1e-9, "all begin where the expert does"


def test_pilots_that_are_handed_what_they_need_fly_the_same(root, monkeypatch, tmp_path):
    hand_over_here(monkeypatch)
    monkeypatch.setattr(imitation_rollout, "count_pilots", lambda *_: 2)
    assert_flies_the_same(root, "cma", "roll_out_policies", tmp_path)


def test_the_report_says_what_the_tables_say(catalog):
    page, text = (catalog.load(f"cma.reporting.{name}") for name in ("report", "summary"))
    for words in ("Closed loop", "Step by step", "Flown paths"):
        assert words in page
    assert page.count("<polyline") == 2 * 4
    assert "http://" not in page.split("<main>")[1].split("<script>")[0]
    assert "| expert |" in text


def test_a_changed_loss_weight_trains_one_policy_again(root):
    ran = run_project(
        root, pipeline="cma", only_missing=True,
        cma={"seq2seq": {"train": {"inflection_weight": 1.0}}},
    )  # fmt: skip
    assert {"train_seq2seq", "follow_seq2seq", "roll_out_policies", "render_imitation"} <= ran
    assert ran.isdisjoint({"train_cma", "read_recordings", "encode_pictures"})


def test_agents_are_told_each_wording_in_its_turn_and_know_where_they_are(catalog):
    town = catalog.load("cma.rollout.town")
    ids = town.episode_ids
    told = {}
    for wording in (0, 1, 2, None):
        town.reset(ids, wording)
        told[wording] = [row["instruction"] for row in town.results()]
    assert [row["wording"] for row in town.results()] == [place % 3 for place in range(len(ids))]
    assert told[None] == [told[place % 3][place] for place in range(len(ids))]
    before = town.poses([0, 1])
    town.step([1], np.array([2]))
    moved = town.poses([0, 1]) - before
    assert np.allclose(moved[0], 0)
    assert np.allclose(moved[1, :2], 0)
    assert np.cos(moved[1, 2]) == pytest.approx(np.cos(np.radians(15)))
    assert np.sin(moved[1, 2]) > 0


def test_fewer_episodes_are_taken_evenly(catalog):
    town = catalog.load("cma.rollout.town")
    every = town.episode_ids
    again = type(town)(town._vectors_file.parents[3], town._spec, "val_unseen", 3)
    assert again.episode_ids == [every[0], every[round((len(every) - 1) / 2)], every[-1]]


def test_planned_ways_are_judged_beside_what_needs_no_model(catalog):
    chunks = catalog.load("cma.rdp.metrics")["chunks"]
    assert set(chunks) == {"num_steps", "own", "other", "forward", "still"}
    page = catalog.load("cma.reporting.report")
    assert "straight on" in page
    assert "told the landmark and its side" in page
