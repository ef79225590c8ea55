"""Towns: where an agent may fly, that the expert gets there, and what is written of it."""

import json

import numpy as np
import pytest

from aquatint.geometry.poses import project_points
from aquatint.world.scenes import make_scene
from aquatint.world.town import TownWorldSpec, is_complete, write_town
from aquatint.world.town_agent import (
    Action,
    AgentSpec,
    AgentState,
    Expert,
    act,
    camera_pose,
    look,
)
from aquatint.world.town_map import HALF_EXTENT_M, TownMap
from aquatint.world.town_routes import find_landmarks, sample_route, side_words

AGENT = AgentSpec(size_px=48)


@pytest.fixture(scope="module")
def scene():
    return make_scene(7)


@pytest.fixture(scope="module")
def town(scene):
    return TownMap(scene, AGENT.altitude_m, AGENT.clearance_m, AGENT.radius_m)


def test_what_is_high_is_closed_and_the_ground_is_open(scene, town):
    for item in scene.objects:
        middle = np.array([[item.x_m, item.y_m]])
        if np.abs(middle).max() < HALF_EXTENT_M - 5 and item.kind == "tower":
            assert not town.is_free(middle)[0]
    assert 0.5 < town.is_open.mean() < 1
    assert not town.is_free(np.array([[HALF_EXTENT_M + 1, 0.0]]))[0], "the map has an end"


def test_distances_grow_by_the_way_and_not_through_walls(town):
    goal = np.array([0.0, 0.0])
    if not town.is_free(goal[None])[0]:
        pytest.skip("the middle is built over")
    distances = town.distances_to(goal)
    finite = np.isfinite(distances)
    rows, columns = np.nonzero(finite)
    straight = np.hypot(columns + 0.5 - HALF_EXTENT_M, rows + 0.5 - HALF_EXTENT_M)
    assert (distances[finite] >= straight - 1.5).all()
    assert np.isinf(distances[~town.is_open]).all()


def test_actions_move_and_turn_as_they_say_and_walls_hold(town):
    state = AgentState(0.0, 0.0, 0.0)
    left, _ = act(state, Action.LEFT, town, AGENT)
    assert left.heading_rad == pytest.approx(np.radians(15))
    right, _ = act(state, Action.RIGHT, town, AGENT)
    assert right.heading_rad == pytest.approx(-np.radians(15))
    assert act(state, Action.STOP, town, AGENT) == (state, False)
    edge = AgentState(HALF_EXTENT_M - 1, 0.0, 0.0)
    assert act(edge, Action.FORWARD, town, AGENT) == (edge, True)


def test_the_expert_reaches_its_goal_without_touching_anything(scene, town):
    rng = np.random.default_rng(1)
    num_flights = 0
    for _ in range(8):
        start, goal = rng.uniform(-50, 50, (2, 2))
        expert = Expert(town, goal, AGENT)
        if not town.is_free(np.stack([start, goal])).all() or expert.distance_m(start) > 150:
            continue
        state, touched = AgentState(*start.tolist(), float(rng.uniform(-3, 3))), False
        for _ in range(150):
            action = expert.decide(state)
            if action == Action.STOP:
                break
            state, collided = act(state, action, town, AGENT)
            touched |= collided
        assert action == Action.STOP
        assert not touched
        assert np.linalg.norm(state.position - goal) < AGENT.step_m
        num_flights += 1
    assert num_flights >= 4


def test_poses_and_pictures_are_of_one_camera(scene):
    state = AgentState(3.0, -8.0, 0.7)
    for pitch in (AGENT.pitch_deg, AGENT.look_down_deg):
        view = look(scene, state, AGENT, pitch)
        pose = camera_pose(state, AGENT, pitch)
        assert np.allclose(view.camera.position, pose[:3, 3], atol=1e-3)
        ahead = np.array([[3 + 8 * np.cos(0.7), -8 + 8 * np.sin(0.7), 0.0]])
        column, row, depth = project_points(ahead, pose, AGENT.intrinsics)[0]
        seen = view.camera.project(ahead[0])
        expected = seen * (48, 48, 1)
        assert expected.tolist() == pytest.approx([column, row, depth], abs=0.01)


def test_a_route_is_told_in_words_that_are_true(scene, town):
    rng = np.random.default_rng(4)
    names = {item.name for item in find_landmarks(scene)}
    routes = [sample_route(scene, town, AGENT, rng) for _ in range(6)]
    found = [route for route in routes if route is not None]
    assert found
    for route in found:
        assert route.landmark in names
        assert all(route.landmark in text for text in route.instructions)
        assert len(route.states) == len(route.actions)
        assert route.actions[-1] == Action.STOP
        end = route.states[-1].position
        assert np.linalg.norm(end - route.goal) < AGENT.step_m
        assert 15 <= route.geodesic_m <= 60


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ((10.0, 0.0), "straight ahead"),
        ((10.0, 10.0), "ahead on the left"),
        ((0.0, -10.0), "on the right"),
        ((-10.0, 8.0), "behind you on the left"),
        ((-10.0, 0.1), "behind you"),
    ],
)
def test_sides_are_those_of_the_agent(place, words):
    assert side_words(AgentState(0.0, 0.0, 0.0), np.array(place)) == words


def test_a_world_is_written_whole_and_the_same_by_any_number_of_processes(tmp_path):
    spec = TownWorldSpec(num_scenes=2, flights_per_scene=1, size_px=24, seed=3)
    for name, processes in (("one", 1), ("two", 2)):
        write_town(tmp_path / name, spec, processes)
        assert is_complete(tmp_path / name, spec)
    files = [
        {path.relative_to(tmp_path / name): path.read_bytes()
         for path in (tmp_path / name).rglob("*") if path.is_file()}
        for name in ("one", "two")
    ]  # fmt: skip
    assert files[0] == files[1]
    assert not is_complete(tmp_path / "one", TownWorldSpec(2, 1, 24, 4))
    info = json.loads(next((tmp_path / "one").rglob("info.json")).read_text())
    assert info["codebase_version"] == "v2.1"
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    with pytest.raises(ValueError, match="move it away"):
        write_town(foreign, spec)


@pytest.mark.parametrize("change", [{"num_scenes": 0}, {"size_px": 0}, {"num_scenes": 10_000}])
def test_a_world_that_cannot_be_is_refused(change):
    good = {"num_scenes": 1, "flights_per_scene": 1, "size_px": 8, "seed": 0}
    with pytest.raises(ValueError, match="must"):
        TownWorldSpec(**{**good, **change})
