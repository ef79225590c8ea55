"""Paths over cluttered towns: free where they should be, the same whoever writes them, flown."""

import hashlib

import numpy as np
import pytest

from aquatint.data.point_cloud import read_ply
from aquatint.world.town_navdp import (
    GROUP,
    TownPathsSpec,
    find_town,
    is_complete,
    navdp_root,
    planner_of,
    write_paths,
)
from aquatint.world.town_paths import PathRule, length_of, resample, sample_path
from aquatint.world.town_planning import PlanningSimulator

SPEC = TownPathsSpec(1, 1, 2, 24, 3, rule={"colliding_share": 0.5, "near_share": 1.0})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("towns") / "world"
    write_paths(place, SPEC, num_processes=1)
    return place


@pytest.fixture(scope="module")
def planner():
    scene, town = find_town(SPEC, 0)
    return planner_of(scene, town, SPEC.agent)


def draw(planner, count=12, **rule):
    rng = np.random.default_rng(0)
    return [sample_path(planner, rng, PathRule(**rule)) for _ in range(count)]


def test_ways_are_free_and_short(planner):
    for path in draw(planner):
        places = path.states[:, :2]
        assert planner.town.is_free(places).all()
        assert np.allclose(places[-1], path.goal)
        straight = np.linalg.norm(path.goal - places[0])
        assert straight <= path.length_m + 1e-6 < 96
        assert np.linalg.norm(np.diff(places, axis=0), axis=1).max() <= 2.0 + 0.5


def test_paths_that_collide_do_and_some_begin_beside_something(planner):
    colliding = [path for path in draw(planner, colliding_share=1.0) if path.is_colliding]
    assert len(colliding) > 3
    assert not any(planner.town.is_free(path.states[:, :2]).all() for path in colliding)
    near = draw(planner, near_share=1.0)
    assert not any(planner.is_clear(path.states[0, :2]) for path in near)


def test_polylines_are_cut_evenly_and_keep_their_end():
    points = np.array([[0.0, 0.0], [3.0, 0.0], [3.0, 2.2]])
    cut = resample(points, 2.0)
    assert np.allclose(cut[[0, -1]], points[[0, -1]])
    assert length_of(points) == pytest.approx(5.2)
    assert len(resample(points, 2.5)) == 3, "an end nearly reached is not reached twice"


def test_the_same_world_has_the_same_bytes(folder, tmp_path):
    write_paths(tmp_path / "again", SPEC, num_processes=2)
    first, second = (
        {p.relative_to(root): hashlib.sha256(p.read_bytes()).hexdigest()
         for p in root.rglob("*") if p.is_file()}
        for root in (folder, tmp_path / "again")
    )  # fmt: skip
    assert first == second
    assert len(first) > 20
    assert is_complete(folder, SPEC)
    assert not is_complete(folder, TownPathsSpec(2, 1, 2, 24, 3))
    cloud = read_ply(navdp_root(folder) / GROUP / "scene_0000/meta/pointcloud.ply")
    _, town = find_town(SPEC, 0)
    assert town.is_open.mean() < 1 - len(cloud.obstacles) / len(cloud.points)


def test_agents_stop_at_walls_and_turn(folder):
    simulator = PlanningSimulator(folder, SPEC)
    simulator.reset()
    agents = list(range(len(simulator.episode_ids)))
    # Far across the map and out of it: no way is free for so long.
    ahead = np.column_stack([np.arange(10.0, 210.0, 10.0), np.zeros(20), np.full(20, 0.5)])
    simulator.follow(agents, np.stack([ahead] * len(agents)))
    for result in simulator.results():
        assert result["num_collisions"] == 1
        assert np.allclose(result["path"][-1], result["path"][-2])
    pixels, depth = simulator.observe(agents)
    assert pixels.shape == (len(agents), 24, 24, 3)
    assert (depth > 0).all()
    assert simulator.observe(agents, back=99)[0].shape == pixels.shape
    with pytest.raises(ValueError, match="min_blocked_share"):
        TownPathsSpec(1, 1, 1, 24, 0, min_blocked_share=0.5)
