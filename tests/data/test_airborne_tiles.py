import numpy as np
import pytest

from aquatint.data.airborne import (
    AirborneSpec,
    Crown,
    Tile,
    TileCrown,
    choose_test,
    crowns_in_tile,
    cut_blocks,
    parse_crowns,
)
from aquatint.data.airborne_captions import describe_tile

SPEC = AirborneSpec(
    tile_px=40, min_block_px=50, tiles_per_edge=2, min_trees=1, test_fraction=0.3, seed=0
)
GREEN, WHITE, BLACK = (90, 160, 60), (250, 250, 250), (10, 10, 10)


def annotation(label="Tree", box=("1", "2", "30", "40")):
    corners = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    inner = "".join(f"<{name}>{value}</{name}>" for name, value in corners)
    item = f"<object><name>{label}</name><bndbox>{inner}</bndbox></object>"
    return f"<annotation>{item}</annotation>".encode()


def ground(colour=GREEN, size=60):
    return np.tile(np.array(colour, dtype=np.uint8), (size, size, 1))


def tree(cx, cy, size=0.1, name="tree"):
    return TileCrown((cx, cy, size, size), name)


@pytest.mark.parametrize(
    ("label", "name"), [("Tree", "tree"), ("Dead", "dead tree"), ("Alive", "living tree")]
)
def test_crowns_are_parsed(label, name):
    assert parse_crowns(annotation(label), "a.xml") == [Crown((1, 2, 30, 40), name)]


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        (annotation("Shrub"), r"a label in a\.xml must be one of Tree, .* got 'Shrub'"),
        (annotation(box=("1", "2", "x", "4")), r"a box in a\.xml must have four numbers"),
        (annotation(box=("", "2", "3", "4")), r"a box in a\.xml must have four numbers"),
        (annotation(box=("5", "2", "5", "4")), r"a box in a\.xml must have an area"),
        (annotation(box=("nan", "2", "5", "4")), r"a box in a\.xml must have an area"),
        (b"<annotation>", r"a\.xml must be XML, but"),
        (b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', r"a\.xml must be XML without a document"),
    ],
)
def test_bad_annotations_are_refused(xml, message):
    with pytest.raises(ValueError, match=message):
        parse_crowns(xml, "a.xml")


@pytest.mark.parametrize("size", [(50, 50), (120, 70), (163, 199), (40, 200)])
def test_blocks_share_no_pixels_and_tiles_stay_in_the_photograph(size):
    width, height = size
    owner = np.full((height, width), -1)
    blocks = cut_blocks(width, height, SPEC)
    assert len(blocks) == (width // 50) * (height // 50)
    for number, tiles in enumerate(blocks):
        assert len(tiles) == 4
        for left, top in tiles:
            area = owner[top : top + 40, left : left + 40]
            assert area.shape == (40, 40)
            assert set(np.unique(area)) <= {-1, number}
            area[:] = number


def test_tiles_of_a_block_reach_its_borders():
    assert cut_blocks(60, 50, SPEC) == [[Tile(0, 0), Tile(20, 0), Tile(0, 10), Tile(20, 10)]]


def test_a_crown_belongs_to_a_tile_by_a_quarter_of_its_box():
    tile = Tile(100, 200)
    inside = Crown((110, 210, 120, 230), "tree")
    cut = Crown((70, 200, 110, 240), "dead tree")  # exactly a quarter lies in the tile
    outside = Crown((69, 200, 109, 240), "tree")
    crowns = crowns_in_tile([inside, cut, outside], tile, 40)
    assert crowns == [
        TileCrown((0.125, 0.5, 0.25, 1.0), "dead tree"),
        TileCrown((0.375, 0.5, 0.25, 0.5), "tree"),
    ]


@pytest.mark.parametrize(("total", "expected"), [(0, 0), (1, 0), (2, 1), (4, 1), (10, 3)])
def test_the_test_split_gets_some_buildings_and_never_all(total, expected):
    names = [f"{number:04d}" for number in range(total)]
    chosen = choose_test(names, SPEC)
    assert len(chosen) == expected
    assert chosen == choose_test(names[::-1], SPEC)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tile_px": 0}, "tile_px must be at least 1, got 0"),
        ({"min_block_px": 30}, "min_block_px 30 must be at least tile_px 40"),
        ({"test_fraction": 1.0}, r"test_fraction must be in \(0, 1\), got 1.0"),
    ],
)
def test_impossible_specifications_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        AirborneSpec(**{**vars(SPEC), **change})


def test_captions_by_hand():
    crowns = [tree(0.2, 0.2, 0.2), tree(0.4, 0.3), tree(0.8, 0.8)]
    pixels = ground()
    pixels[30:, :30] = WHITE
    said = describe_tile(crowns, pixels)
    assert said.captions == (
        "Three trees on green ground with little shadow. "
        "The upper left quarter has the most trees.",
        "An aerial view of three trees. The largest tree is in the upper left corner. "
        "There is no tree in the upper right and lower left quarters.",
        "Green ground, little of it under trees. The lower left quarter is the brightest. "
        "The rightmost tree is in the lower right corner.",
    )
    assert said.regions == [
        ("The largest tree is in the upper left corner.", (0.2, 0.2, 0.2, 0.2)),
        ("The rightmost tree is in the lower right corner.", (0.8, 0.8, 0.1, 0.1)),
    ]


def test_dead_and_living_trees_are_told_apart():
    crowns = [tree(0.5, 0.5, 0.3, "dead tree"), tree(0.1, 0.9, 0.1, "living tree")]
    said = describe_tile(crowns, ground())
    # One in each of two quarters: none has the most.
    assert (
        said.captions[0] == "One dead tree and one living tree on green ground with little shadow."
    )
    assert said.regions[0][0] == "The largest tree is a dead tree in the centre."


def test_nothing_is_singled_out_that_does_not_lead():
    crowns = [tree(0.3, 0.5), tree(0.31, 0.51), tree(0.32, 0.49), tree(0.305, 0.505)]
    said = describe_tile(crowns, ground())
    assert said.regions == []
    assert "largest" not in " ".join(said.captions)


@pytest.mark.parametrize(
    ("colour", "word"),
    [(GREEN, "green"), ((150, 110, 70), "brown"), ((170, 170, 168), "grey"), (BLACK, "dark")],
)
def test_the_colour_is_that_of_the_ground_between_the_boxes(colour, word):
    pixels = ground(colour)
    pixels[15:45, 15:45] = (255, 0, 255)
    said = describe_tile([tree(0.5, 0.5, 0.5)], pixels)
    assert f"on {word} ground" in said.captions[0]


@pytest.mark.parametrize(
    ("dark_rows", "words"), [(0, "little shadow"), (12, "some shadow"), (30, "much shadow")]
)
def test_shadow_is_the_dark_share_of_the_ground(dark_rows, words):
    pixels = ground()
    pixels[:dark_rows] = BLACK
    assert f"with {words}" in describe_tile([tree(0.9, 0.9)], pixels).captions[0]


def test_captions_are_true_of_random_crowns():
    rng = np.random.default_rng(0)
    num_regions = 0
    for _ in range(200):
        sizes = np.sort(rng.uniform(0.05, 0.4, rng.integers(1, 20)))[::-1]
        crowns = [tree(*rng.uniform(size / 2, 1 - size / 2, 2).tolist(), size) for size in sizes]
        said = describe_tile(crowns, rng.integers(0, 255, (32, 32, 3), dtype=np.uint8))
        assert len(set(said.captions)) == 3
        assert len(said.regions) <= 3
        boxes = [crown.cxcywh for crown in crowns]
        for sentence, box in said.regions:
            num_regions += 1
            assert box in boxes
            word = sentence.split()[1]
            best = {
                "only": boxes[0],
                "largest": max(boxes, key=lambda b: b[2] * b[3]),
                "leftmost": min(boxes, key=lambda b: b[0]),
                "rightmost": max(boxes, key=lambda b: b[0]),
                "topmost": min(boxes, key=lambda b: b[1]),
                "bottommost": max(boxes, key=lambda b: b[1]),
            }[word]
            assert box == best
            assert ("left" in sentence.split(word)[1]) == (box[0] < 1 / 3)
            assert ("right" in sentence.split(word)[1]) == (box[0] >= 2 / 3)
        assert len({box for _, box in said.regions}) == len(said.regions)
    assert num_regions > 400


def test_a_tile_without_crowns_is_not_described():
    with pytest.raises(ValueError, match="at least one crown to be described, got 0"):
        describe_tile([], ground())
