"""Flights: the expert reaches its goal, the sensor tells what nothing else does."""

import numpy as np
import pytest

from aquatint.world.flight_physics import (
    HEADINGS_DEG,
    Goal,
    RangeFinder,
    expert_action,
    goal_pose,
    sample_start,
    wrap_deg,
)
from aquatint.world.flight_recording import fly_expert, record_flight
from aquatint.world.flight_simulator import FlightSimulator
from aquatint.world.flight_sites import PAD_COLORS, look_down, sample_site
from aquatint.world.flights import FlightWorldSpec, describe_sites, is_complete, write_flights

SPEC = FlightWorldSpec(2, 2, 1, 1, 1, 1, 1, 12, 36, 48, seed=3, has_flaws=False)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("flights") / "world"
    write_flights(folder, SPEC)
    return folder


@pytest.fixture
def simulator(world):
    return FlightSimulator(world, SPEC)


def site_of(seed):
    return sample_site(np.full((640, 640, 3), 90, np.uint8), np.random.default_rng(seed))


def test_the_world_is_complete_and_of_its_specification(world):
    assert is_complete(world, SPEC)
    assert not is_complete(world, FlightWorldSpec(1, 2, 1, 1, 1, 1, 1, 12, 36, 48, seed=3))
    assert len(list(world.rglob("recv_all_*"))) == 2
    assert len(list(world.rglob("episode_*/metadata.json"))) == 2


def test_a_foreign_folder_is_not_replaced(tmp_path):
    (tmp_path / "mine").mkdir()
    with pytest.raises(ValueError, match="move it away"):
        write_flights(tmp_path / "mine", SPEC)


def test_the_expert_reaches_its_goal():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        site = site_of(seed)
        goal = Goal(site.pads[0].color, "west")
        path = fly_expert(site, goal, sample_start(site, rng), 36, rng)
        gap = path[-1] - goal_pose(site, goal)
        assert np.hypot(*gap[:2]) < 0.5
        assert abs(gap[2]) < 0.8
        assert abs(wrap_deg(gap[3])) < 10


def test_the_expert_turns_the_shorter_way():
    position, target = np.array([0.0, 0, 0, 170]), np.array([0.0, 0, 0, -170])
    assert expert_action(position, target)[3] > 0


def test_the_loudest_sample_of_an_echo_lies_at_the_clearance():
    finder = RangeFinder(0)
    rng = np.random.default_rng(0)
    for clearance in (4.0, 9.0, 17.0):
        rows = finder.listen(np.full(200, clearance), np.zeros(200), rng)
        place = np.median(rows[:, 1:].argmax(1)) * 0.025
        assert place == pytest.approx(clearance, abs=0.15)
        assert rows.shape == (200, 1026)


def test_altitude_does_not_tell_the_clearance():
    """Elevation varies by 12 m: the robot's own state leaves the descent open."""
    elevations = [site_of(seed).elevation_m for seed in range(40)]
    assert np.ptp(elevations) > 9


def test_pads_lie_where_the_camera_shows_them():
    site = site_of(1)
    pad = site.pads[0]
    frame = look_down(site, np.array([pad.x_m, pad.y_m, 6.0]), 64, np.random.default_rng(0))
    assert np.abs(frame[30:34, 30:34].mean((0, 1)) - PAD_COLORS[pad.color]).max() < 12
    east = look_down(site, np.array([pad.x_m + 2, pad.y_m, 6.0]), 64, np.random.default_rng(0))
    column = 32 - 2 / (2 * 6 * np.tan(np.radians(35))) * 64
    spot = east[30:34, round(column) - 2 : round(column) + 2].mean((0, 1))
    assert np.abs(spot - PAD_COLORS[pad.color]).max() < 40, (
        "a drone further east sees it in the west"
    )


def test_a_flight_has_every_stream_at_its_rate():
    rng = np.random.default_rng(0)
    flight = record_flight(site_of(0), Goal(site_of(0).pads[0].color, "north"), 0, rng,
                           num_steps=12, size_px=32, sensor=RangeFinder(0))  # fmt: skip
    assert np.diff(flight.robot_times_s).mean() == pytest.approx(0.01, abs=1e-3)
    assert np.diff(flight.sensor_times_s).mean() == pytest.approx(1 / 650)
    assert len(flight.frames) == 5
    assert len(flight.sensor_rows) == len(flight.sensor_times_s)


def test_the_simulator_repeats_starts_and_wind_but_follows_the_actions(simulator):
    def run(action, looks):
        simulator.reset([0, 1])
        for _ in range(4):
            for _ in range(looks):
                simulator.observe()
            simulator.step(np.tile(action, (2, 1)))
        return np.stack(simulator.results()["path"].to_list()).reshape(2, 5, 4)

    still, moved = np.zeros(7), np.array([500.0, 0, 0, 0, 0, 10.0, 1])
    assert np.array_equal(run(still, 0), run(still, 2)), "looking changes no wind"
    difference = run(moved, 1)[:, -1] - run(still, 1)[:, -1]
    assert difference[:, 0] == pytest.approx(4 * 0.5)
    assert wrap_deg(difference[:, 3]) == pytest.approx(40)


def test_the_expert_succeeds_in_the_simulator_and_standing_still_does_not(simulator):
    for actions, expected in ((simulator.expert_actions, True), (lambda: np.zeros((3, 7)), False)):
        simulator.reset([0, 1, 2])
        for _ in range(simulator.num_steps):
            simulator.step(actions())
        results = simulator.results()
        assert results["is_success"].tolist() == [expected] * 3


def test_a_misled_instruction_names_another_pad_in_sight(simulator):
    simulator.reset([0, 1])
    own, other = (simulator.observe(is_misled=flag)["instructions"] for flag in (False, True))
    for first, second in zip(own, other, strict=True):
        assert first.split()[3] != second.split()[3]
        assert first.split()[-1] == second.split()[-1], "the heading stays"
        assert second.split()[-1].rstrip(".") in HEADINGS_DEG
    assert all((rows == 0).all() for rows in simulator.observe(is_deaf=True)["sensors"])


def test_questions_about_views_have_answers_in_words():
    views = list(describe_sites(4, 48, 5))
    assert len(views) == 4
    for pixels, caption, questions in views:
        assert pixels.shape == (48, 48, 3)
        assert caption.startswith("There is a")
        assert len(questions) >= 3
        assert questions[-1][1] == "no pad"
