"""Scenes and views that several tests of the world look at."""

import pytest
from world_cameras import sample_camera

from aquatint.world.captions import describe
from aquatint.world.render import render
from aquatint.world.scenes import CONDITIONS, make_scene


@pytest.fixture(scope="session")
def described_views():
    """Scene, view and description of two views in each of twelve scenes, of all conditions."""
    views = []
    for seed in range(12):
        scene = make_scene(seed, CONDITIONS[seed % len(CONDITIONS)])
        for index in range(2):
            view = render(scene, sample_camera([seed, index]), 96)
            views.append((scene, view, describe(scene, view, index)))
    return views


@pytest.fixture(scope="session")
def scene():
    return make_scene(3)
