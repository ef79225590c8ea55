"""Several sets at once: names, cameras, and goals that published sets hold themselves."""

import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aquatint.data.goal_tables import LabelledTrajectories
from aquatint.data.navigation_sets import parse_sets, read_goals, read_sets
from aquatint.data.trajectories import ReadRule
from aquatint.data.trajectory_names import PUBLISHED_NAMES

RULE = ReadRule("strict", 0.0, "opencv", False)


@pytest.fixture
def root(pad_world, tmp_path):
    folder, _ = pad_world
    shutil.copytree(folder / "traj_data", tmp_path / "traj_data")
    return tmp_path / "traj_data"


def test_an_unknown_set_is_told_which_there_are():
    with pytest.raises(ValueError, match=r"r2r_99cm_0_30.*is not known; there are.*r2r_125cm_0_30"):
        parse_sets(["r2r_99cm_0_30"], PUBLISHED_NAMES)
    with pytest.raises(ValueError, match="each once; rxr_60cm_15_15"):
        parse_sets(["rxr_60cm_15_15", "rxr_60cm_15_15%30"], PUBLISHED_NAMES)


def test_goals_in_columns_are_those_that_were_exported(root, pad_world, navigation_data):
    chosen = parse_sets([pad_world[1].token], [pad_world[1].token])
    flights, frames, _ = read_sets(root, chosen, RULE)
    goals = frames[["flight_id", "frame"]].assign(
        goal_row=frames["frame"] % 48, goal_column=5, goal_offset=3, num_hidden=0, num_unmeasured=0
    )
    goals.loc[goals["frame"] % 2 == 0, ["goal_row", "goal_column", "goal_offset"]] = -1
    named = goals.assign(flight_id=goals["flight_id"].str.replace("town_1000cm_45_60", "town"))
    LabelledTrajectories(str(root.resolve()), chosen[0], named).write(root)
    found = read_goals(root, chosen, flights)
    assert found.to_numpy().tolist() == goals.to_numpy().tolist()


def test_missing_columns_are_named_with_a_way_out(root, pad_world):
    chosen = parse_sets([pad_world[1].token], [pad_world[1].token])
    flights, _, _ = read_sets(root, chosen, RULE)
    with pytest.raises(
        ValueError, match=r"lacks goal\.1000cm_60deg, relative_goal_frame_id.*pixel"
    ):
        read_goals(root, chosen, flights)
    path = sorted(root.rglob("*.parquet"))[0]
    pq.write_table(pq.read_table(path).drop_columns(["pose.1000cm_60deg"]), path)
    with pytest.raises(ValueError, match=r"it lacks pose\.1000cm_60deg"):
        read_sets(root, chosen, RULE)


def test_a_goal_that_is_no_pair_is_refused(root, pad_world):
    chosen = parse_sets([pad_world[1].token], [pad_world[1].token])
    flights, _, _ = read_sets(root, chosen, RULE)
    path = sorted(root.rglob("*.parquet"))[0]
    table = pq.read_table(path)
    size = len(table)
    table = table.append_column("goal.1000cm_60deg", pa.array([[1]] * size))
    table = table.append_column("relative_goal_frame_id.1000cm_60deg", pa.array([4] * size))
    pq.write_table(table, path)
    with pytest.raises(ValueError, match="two whole numbers"):
        read_goals(root, chosen, flights[:1])


@pytest.mark.parametrize("name", ["depth", "rgb"])
def test_a_lost_frame_is_named(root, pad_world, name):
    chosen = parse_sets([pad_world[1].token], [pad_world[1].token])
    place = sorted(root.rglob(f"observation.images.{name}.1000cm_60deg"))[0]
    next(iter(sorted(place.iterdir()))).unlink()
    with pytest.raises(ValueError, match=r"must exist for every frame.*episode_000000_0"):
        read_sets(root, chosen, RULE)
