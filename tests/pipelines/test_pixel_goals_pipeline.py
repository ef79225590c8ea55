"""The labelling from raw trajectories to labelled files, in the test environment."""

import pyarrow.parquet as pq
import pytest

from aquatint.data.goal_tables import summarise_goals
from project_runs import open_catalog, run_project

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pixel_goals")
    run_project(folder, pipeline="pixel_goals")
    return folder


def test_counts_follow_from_the_tables_and_every_frame_is_labelled(root):
    catalog = open_catalog(root)
    names = ("flights", "frames", "goals", "rejects")
    flights, frames, goals, rejects = (catalog.load(f"pixel_goals.data.{n}") for n in names)
    counts = catalog.load("pixel_goals.data.report")
    assert counts == summarise_goals(flights, frames, goals, len(rejects))
    assert len(goals) == len(frames) == flights["num_frames"].sum()
    assert 0.3 < (goals["goal_offset"] > 0).mean() < 1
    assert goals.loc[goals["goal_offset"] > 0, "goal_offset"].min() >= 3


def test_the_files_to_train_on_hold_the_goals(root):
    from pathlib import Path

    catalog = open_catalog(root)
    folder = Path(catalog.load("pixel_goals.data.labelled"))
    goals = catalog.load("pixel_goals.data.goals").groupby("flight_id")
    files = sorted(folder.rglob("*.parquet"))
    assert len(files) == goals.ngroups
    for path in files:
        scene, index = path.parts[-4], path.stem.removeprefix("episode_")
        found = pq.read_table(path)["relative_goal_frame_id.1000cm_60deg"].to_pylist()
        assert found == goals.get_group(f"town/{scene}/{index}")["goal_offset"].tolist()


def test_the_page_shows_frames_and_another_tolerance_runs_only_what_follows(root):
    page = open_catalog(root).load("pixel_goals.reporting.report")
    assert page.count("<figure") >= 6
    assert "http://" not in page.split("<main>")[1].split("<script>")[0]
    ran = run_project(
        root, pipeline="pixel_goals", only_missing=True,
        pixel_goals={"data": {"labelling": {"depth_tolerance_m": 0.4}}},
    )  # fmt: skip
    assert "read_flights" not in ran
    assert {"label_goals", "export_goals", "count_goals", "render_goals"} <= ran
