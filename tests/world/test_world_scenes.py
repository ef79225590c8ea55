"""Scenes follow from their seed, and conditions change only what they should."""

import numpy as np
import pytest

from aquatint.world.kinds import KIND_RULES
from aquatint.world.meshes import Box, box_shell, gable_roof, revolve, unit_normals, vault
from aquatint.world.palette import Surface
from aquatint.world.render import Camera, render
from aquatint.world.scenes import CONDITIONS, make_scene

OVERVIEW = Camera(altitude_m=100, pitch_deg=0, yaw_deg=0, x_m=0, y_m=0)


def test_same_seed_gives_the_same_scene(scene):
    again = make_scene(scene.seed)

    assert again.objects == scene.objects
    np.testing.assert_array_equal(again.mesh.vertices, scene.mesh.vertices)
    np.testing.assert_array_equal(again.mesh.colors, scene.mesh.colors)
    np.testing.assert_array_equal(again.ground.rgb, scene.ground.rgb)
    np.testing.assert_array_equal(again.shadows.stops_m, scene.shadows.stops_m)


def test_different_seeds_give_different_scenes(scene):
    other = make_scene(scene.seed + 1)

    assert other.objects != scene.objects
    first, second = render(scene, OVERVIEW, 48), render(other, OVERVIEW, 48)
    difference = np.abs(first.rgb.astype(int) - second.rgb.astype(int)).mean()
    assert difference > 20


@pytest.mark.parametrize("condition", CONDITIONS[1:])
def test_condition_keeps_the_layout_and_changes_the_picture(scene, condition):
    changed = make_scene(scene.seed, condition)

    assert changed.objects == scene.objects
    before, after = render(scene, OVERVIEW, 64), render(changed, OVERVIEW, 64)
    is_changed = np.abs(before.rgb.astype(int) - after.rgb.astype(int)).max(-1) > 25
    assert is_changed.mean() > 0.1


@pytest.mark.parametrize(
    ("condition", "surface"),
    [("flooded", Surface.FLOOD), ("burnt", Surface.CHAR), ("damaged", Surface.RUBBLE)],
)
def test_condition_leaves_its_trace_in_the_surfaces(scene, condition, surface):
    changed = make_scene(scene.seed, condition)

    assert (scene.ground.surfaces == surface).sum() == 0
    assert (changed.ground.surfaces == surface).mean() > 0.1


def test_nothing_flat_is_seen_under_flood_water(scene):
    flooded = make_scene(scene.seed, "flooded")

    is_flooded = flooded.ground.surfaces == Surface.FLOOD
    assert scene.ground.instance_ids[is_flooded].any()
    assert not flooded.ground.instance_ids[is_flooded].any()


@pytest.mark.parametrize("seed", range(6))
def test_buildings_do_not_overlap(seed):
    objects = [item for item in make_scene(seed).objects if item.kind in KIND_RULES]

    for index, first in enumerate(objects):
        for second in objects[index + 1 :]:
            # Circles inside two separate rectangles cannot meet.
            reach = (min(first.width_m, first.depth_m) + min(second.width_m, second.depth_m)) / 2
            gap = np.hypot(first.x_m - second.x_m, first.y_m - second.y_m)
            assert gap > reach


def test_names_other_than_houses_occur_once(scene):
    names = [item.name for item in scene.objects if item.kind in KIND_RULES]

    repeated = {name for name in names if names.count(name) > 1}
    assert all(name.endswith(" house") for name in repeated)


@pytest.mark.parametrize(
    ("seed", "condition", "message"),
    [(0, "sunny", "condition must be one of"), (-1, "intact", "seed must be at least 0")],
)
def test_unknown_condition_and_negative_seed_are_refused(seed, condition, message):
    with pytest.raises(ValueError, match=message):
        make_scene(seed, condition)


@pytest.mark.parametrize(
    "triangles",
    [
        box_shell(Box(4, 3, 2)),
        gable_roof(Box(4, 3, 2), 1.5, 0.5),
        vault(Box(4, 3, 2)),
        revolve(np.array([[2.0, 0.0], [1.5, 2.0], [0.0, 2.5]], np.float32), 9),
    ],
    ids=["box", "gable", "vault", "revolved"],
)
def test_solids_are_wound_outwards(triangles):
    inside = np.array([0.0, 0.0, 0.8])
    outward = triangles.mean(1) - inside
    normals = unit_normals(triangles)

    has_area = np.linalg.norm(normals, axis=1) > 0.5
    assert ((outward * normals).sum(1)[has_area] > 0).all()
