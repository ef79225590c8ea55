"""The NavDP recipe from end to end in the test environment."""

import json

import numpy as np
import pytest

from aquatint.training import navdp_rollout
from aquatint.training.navdp_evaluation import evaluate_fans
from aquatint.training.navdp_rollout import summarise_rollout
from project_runs import assert_flies_the_same, open_catalog, run_project

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("navdp")
    run_project(folder, pipeline="navdp")
    return folder


def test_every_number_can_be_recomputed_from_what_was_saved(root):
    catalog = open_catalog(root)
    again = evaluate_fans(catalog.load("navdp.train.predictions"))
    assert catalog.load("navdp.train.metrics") == json.loads(json.dumps(again))
    flown = summarise_rollout(catalog.load("navdp.rollout.episodes"))
    assert catalog.load("navdp.rollout.metrics") == json.loads(json.dumps(flown))


def test_all_planners_fly_the_same_episodes_from_the_same_places(root):
    episodes = open_catalog(root).load("navdp.rollout.episodes")
    kinds = {"point", "image", "pixel", "none"}
    simple = {"expert", "straight", "forward", "random"}
    assert set(episodes["policy"]) == kinds | {f"{kind}_unjudged" for kind in kinds} | simple
    for _, rows in episodes.groupby("episode_id"):
        starts = np.array([path[:2] for path in rows["path"]])
        assert len(rows) == 12
        assert np.abs(starts - starts[0]).max() < 1e-9
    straight = episodes[episodes["policy"] == "straight"]
    blocked = straight[straight["is_detour"]]
    assert len(blocked)
    assert not blocked["success"].any(), "a blocked way is blocked"


def test_two_processes_flew_what_one_did(root, monkeypatch, tmp_path):
    monkeypatch.setattr(navdp_rollout, "count_pilots", lambda *_: 2)
    assert_flies_the_same(root, "navdp", "fly_planners", tmp_path)


def test_the_report_shows_fans_and_says_what_the_tables_say(root):
    catalog = open_catalog(root)
    page, text = (catalog.load(f"navdp.reporting.{name}") for name in ("report", "summary"))
    for words in ("Closed loop", "Sampled trajectories", "Held-out frames", "Flown paths"):
        assert words in page
    # Two frames with four trajectories and the recorded path, two maps with three paths.
    assert page.count("<polyline") == 2 * 5 + 2 * 3
    assert "http://" not in page.split("<main>")[1].split("<script>")[0].replace(
        "http://www.w3.org", ""
    )
    assert "| expert |" in text


def test_another_sampler_for_the_loop_trains_nothing_again(root):
    ran = run_project(
        root, pipeline="navdp", only_missing=True, navdp={"rollout": {"loop": {"num_samples": 2}}}
    )
    assert {"fly_planners", "render_navdp"} <= ran
    assert ran.isdisjoint({"train_navdp", "read_path_recordings", "sample_trajectories"})
