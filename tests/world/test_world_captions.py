"""Whatever a caption or region sentence says is true of the pixels."""

import re

import numpy as np
import pytest

from aquatint.world.captions import NUM_REGIONS, describe
from aquatint.world.kinds import KIND_RULES, VEHICLE_RULES
from aquatint.world.palette import GROUND_KINDS, Surface
from aquatint.world.render import Camera, render
from aquatint.world.wording import (
    join_words,
    name_position,
    name_relation,
    with_article,
    with_count,
)

POSITIONS = {
    "in the upper left corner": (0, 0),
    "at the top": (0, 1),
    "in the upper right corner": (0, 2),
    "on the left side": (1, 0),
    "in the centre": (1, 1),
    "on the right side": (1, 2),
    "in the lower left corner": (2, 0),
    "at the bottom": (2, 1),
    "in the lower right corner": (2, 2),
}
NUMBERS = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8}
MARKS = {"flooded": Surface.FLOOD, "burnt": Surface.CHAR, "damaged": Surface.RUBBLE}
SIGNS = {"left of": (0, -1), "right of": (0, 1), "above": (1, -1), "below": (1, 1)}


def find_places(scene, text):
    """Return object names with the position that the text gives them."""
    names = sorted({item.name for item in scene.objects}, key=len, reverse=True)
    pattern = rf"\b[Aa]n? ({'|'.join(names)}) ({'|'.join(POSITIONS)})"
    return re.findall(pattern, text)


def pixels_of(scene, view, name):
    """Return the ids with this name that are visible at all, and a mask of their pixels."""
    ids = [i + 1 for i, item in enumerate(scene.objects) if item.name == name]
    visible = [i for i in ids if (view.instance_ids == i).mean() >= 0.001]
    return visible, np.isin(view.instance_ids, visible)


def middle_of(mask):
    rows, columns = np.nonzero(mask)
    size = len(mask)
    x, y = (columns.min() + columns.max() + 1) / 2, (rows.min() + rows.max() + 1) / 2
    return x / size, y / size


def test_named_objects_are_unique_visible_and_where_the_caption_says(described_views):
    num_places = 0
    for scene, view, description in described_views:
        for caption in description.captions:
            for name, position in find_places(scene, caption):
                visible, mask = pixels_of(scene, view, name)
                assert len(visible) == 1, caption
                assert mask.mean() >= 0.008, caption
                row, column = POSITIONS[position]
                x, y = middle_of(mask)
                # A middle exactly on the border of two cells may go to either.
                assert column / 3 - 1e-6 <= x <= (column + 1) / 3 + 1e-6, caption
                assert row / 3 - 1e-6 <= y <= (row + 1) / 3 + 1e-6, caption
                num_places += 1
    assert num_places > 4 * len(described_views)


def test_conditions_and_ground_are_visible_where_named(described_views):
    grounds = [kind.name for kind in GROUND_KINDS]
    named = {condition: 0 for condition in MARKS}
    for scene, view, description in described_views:
        for caption in description.captions:
            for condition, surface in MARKS.items():
                if condition in caption:
                    assert scene.condition == condition
                    assert (view.surfaces == surface).mean() > 0.03
                    named[condition] += 1
            for ground in grounds:
                if ground in caption:
                    assert scene.ground_kind.name == ground
                    assert (view.surfaces == Surface.GROUND).mean() > 0.08
    assert min(named.values()) > 0


def test_counts_match_the_visible_objects(described_views):
    num_counts = 0
    for scene, view, description in described_views:
        plurals = {with_count(item.kind, 2)[4:]: item.kind for item in scene.objects}
        plurals |= {with_count(item.name, 2)[4:]: item.name for item in scene.objects}
        words = "|".join(sorted(plurals, key=len, reverse=True))
        pattern = rf"\b({'|'.join(NUMBERS)}) ({words})\b"
        for number, plural in re.findall(pattern, description.captions[2]):
            word = plurals[plural]
            visible = [
                index
                for index, item in enumerate(scene.objects)
                if word in (item.name, item.kind)
                and (view.instance_ids == index + 1).mean() >= 0.001
            ]
            assert len(visible) == NUMBERS[number], description.captions[2]
            num_counts += 1
    assert num_counts > 5


def test_lines_are_visible_where_named(described_views):
    surfaces = {"river": Surface.RIVER, "railway": Surface.RAILWAY, "sea": Surface.SEA}
    surfaces["road"] = Surface.ROAD
    for _, view, description in described_views:
        text = " ".join(description.captions)
        for word, surface in surfaces.items():
            if re.search(rf"(?<!no )\b{word}\b", text):
                assert (view.surfaces == surface).mean() > 0.01, text
        if "no road" in text:
            assert not (view.surfaces == Surface.ROAD).any()


def test_region_sentences_agree_with_their_boxes(described_views):
    relations = 0
    for scene, view, description in described_views:
        assert len(description.regions) <= NUM_REGIONS
        for region in description.regions:
            visible, mask = pixels_of(scene, view, region.subject)
            assert len(visible) == 1
            cx, cy, width, height = region.box_cxcywh
            np.testing.assert_allclose(middle_of(mask), (cx, cy), atol=1e-6)
            assert (np.array([cx - width / 2, cy - height / 2]) >= -1e-9).all()
            assert (np.array([cx + width / 2, cy + height / 2]) <= 1 + 1e-9).all()
            assert find_places(scene, region.text) == [(region.subject, name_position(cx, cy))]
            if region.relation is not None:
                axis, sign = SIGNS[region.relation]
                offset = np.subtract(region.box_cxcywh[:2], region.object_box_cxcywh[:2])
                assert np.sign(offset[axis]) == sign
                assert abs(offset[axis]) == np.abs(offset).max()
                assert region.text.endswith(f", {region.relation} the {region.object}.")
                relations += 1
    assert relations > len(described_views)


def test_relations_in_captions_hold(described_views):
    found = 0
    for scene, view, description in described_views:
        pattern = rf"The ([^.]+) is ({'|'.join(SIGNS)}) the ([^.]+)\."
        for first, relation, second in re.findall(pattern, description.captions[2]):
            middles = [middle_of(pixels_of(scene, view, name)[1]) for name in (first, second)]
            axis, sign = SIGNS[relation]
            assert np.sign(middles[0][axis] - middles[1][axis]) == sign
            found += 1
    assert found > 5


def test_captions_are_compact_and_different(described_views):
    captions = [caption for *_, description in described_views for caption in description.captions]
    lengths = [len(caption.split()) for caption in captions]

    for *_, description in described_views:
        assert len(set(description.captions)) == 3
    assert len(set(captions)) == len(captions)
    assert max(lengths) <= 45
    assert 22 <= np.median(lengths) <= 40
    vocabulary = {word for caption in captions for word in re.findall(r"[a-z-]+", caption.lower())}
    assert len(vocabulary) < 160


def test_most_views_have_three_regions(described_views):
    complete = [len(description.regions) == NUM_REGIONS for *_, description in described_views]

    assert np.mean(complete) > 0.7


def test_seed_decides_the_words(scene):
    view = render(scene, Camera(95, 10, 30, 0, 0), 96)

    assert describe(scene, view, 1) == describe(scene, view, 1)
    assert len({describe(scene, view, seed).captions for seed in range(5)}) > 1


@pytest.mark.parametrize(("position", "cell"), POSITIONS.items())
def test_positions_cover_the_nine_cells(position, cell):
    row, column = cell
    assert name_position((column + 0.5) / 3, (row + 0.5) / 3) == position


@pytest.mark.parametrize(
    ("other", "relation"),
    [
        ((0.7, 0.4, 0.9, 0.6), "left of"),
        ((0.1, 0.4, 0.2, 0.6), "right of"),
        ((0.4, 0.8, 0.6, 0.9), "above"),
        ((0.4, 0.1, 0.6, 0.2), "below"),
        ((0.7, 0.7, 0.9, 0.9), None),
        ((0.4, 0.4, 0.6, 0.6), None),
    ],
)
def test_relations_only_where_they_are_clear(other, relation):
    assert name_relation((0.4, 0.4, 0.6, 0.6), other) == relation


def test_grammar_of_all_kinds():
    for kind in (*KIND_RULES, *VEHICLE_RULES):
        assert with_article(kind).split()[0] == ("an" if kind[0] in "aeio" else "a")
        assert with_count(kind, 1) == f"one {kind}"
    assert with_count("church", 2) == "two churches"
    assert with_count("red house", 3) == "three red houses"
    assert join_words(["a", "b", "c"]) == "a, b and c"
