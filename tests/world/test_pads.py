"""Pad towns: what is there, that it can be reached, and that the simulator flies the same."""

import numpy as np
import pytest

from aquatint.world.flight_sites import PAD_COLORS
from aquatint.world.pad_simulator import TrajectorySimulator
from aquatint.world.pad_views import view_pads
from aquatint.world.pads import NUM_PADS, make_pad_town
from aquatint.world.town import is_complete
from aquatint.world.town_agent import Action


def test_pads_lie_apart_on_free_ground_in_different_colors():
    for seed in range(3):
        _, town, pads = make_pad_town(seed, 10.0, 3.0, 1.0)
        assert len(pads) == NUM_PADS == len({pad.color for pad in pads})
        places = np.array([(pad.x_m, pad.y_m) for pad in pads])
        assert town.is_free(places).all()
        gaps = np.linalg.norm(places[:, None] - places[None], axis=2)
        assert gaps[~np.eye(len(pads), dtype=bool)].min() > 15


def test_a_view_shows_each_pad_where_it_says():
    views = [view for view in view_pads(12, 64, 0)]
    places = [(view, color, at) for view in views for color, at in view.places.items() if at]
    assert len(places) >= 6
    hits = 0
    for view, color, (row, column) in places:
        seen = view.pixels[row, column].astype(float)
        hits += np.linalg.norm(seen - PAD_COLORS[color]) < 140
    assert hits / len(places) > 0.9


def test_views_show_several_pads_and_say_in_which_cell_each_lies():
    views = list(view_pads(12, 96, 0, num_cells=4))
    seen = [[place for place in view.places.values() if place] for view in views]
    # The middle of a pad may lie behind a house.
    assert sum(len(places) > 1 for places in seen) >= 10
    for view in views:
        expected = np.zeros((16, len(PAD_COLORS)), np.int8)
        for word, color in enumerate(PAD_COLORS):
            if view.places[color]:
                row, column = view.places[color]
                expected[row // 24 * 4 + column // 24, word] = 1
        assert (view.word_cells == expected).all()


@pytest.fixture
def simulator(pad_world):
    folder, spec = pad_world
    assert is_complete(folder, spec)
    return TrajectorySimulator(folder, spec)


def test_the_expert_reaches_every_pad_and_stops(simulator):
    simulator.reset(simulator.episode_ids)
    live = list(range(len(simulator.episode_ids)))
    assert len(live) >= 6
    for _ in range(60):
        actions = simulator.expert_actions(live)
        simulator.step(live, actions)
        live = [a for a, action in zip(live, actions, strict=True) if action != Action.STOP]
        if not live:
            break
    for result in simulator.results():
        assert result["has_stopped"]
        assert np.linalg.norm(result["path"][-1] - result["goal"]) < 2.6
        assert result["num_collisions"] == 0


def test_frames_of_the_past_are_those_that_were_seen(simulator, pad_world):
    simulator.reset(simulator.episode_ids[:1])
    first = simulator.observe_frames([(0, 0)], "ahead")[0][0]
    simulator.step([0], np.array([Action.LEFT]))
    assert simulator.num_frames(0) == 2
    again, now = (pixels for pixels, _ in simulator.observe_frames([(0, 0), (0, 1)], "ahead"))
    assert (again == first).all()
    assert (now != first).any()


def test_results_name_the_episodes_that_were_begun(simulator):
    chosen = simulator.episode_ids[2:4]
    simulator.reset(chosen)
    assert [result["episode_id"] for result in simulator.results()] == chosen


def test_misled_agents_are_told_another_pad(simulator):
    ids = simulator.episode_ids
    simulator.reset(ids)
    own = simulator.instructions()
    simulator.reset(ids, is_misled=True)
    pads = [{c for c in PAD_COLORS if c in text} for text in (*own, *simulator.instructions())]
    assert all(a != b for a, b in zip(pads[: len(ids)], pads[len(ids) :], strict=True))


def test_scenes_of_another_world_are_refused(simulator):
    with pytest.raises(ValueError, match="must be of one world"):
        simulator.restrict({"elsewhere"})
    simulator.restrict({"scene_0001"}, 1)
    assert simulator.episode_ids == ["scene_0001/000000"]
