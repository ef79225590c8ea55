import numpy as np
import pandas as pd
import pytest

from aquatint.data.relations import relation_label, relation_table
from aquatint.data.tables import check_relations
from aquatint.geometry.relations import HORIZONTAL_RELATIONS, VERTICAL_RELATIONS

# The example record in the README of GeoText-1652; its third sentence says "middle right side".
README_BOXES = (
    (0.408688485622406, 0.6883664131164551, 0.38859522342681885, 0.6234817504882812),
    (0.2420489490032196, 0.3855597972869873, 0.30488067865371704, 0.2891976535320282),
    (0.7388443350791931, 0.8320053219795227, 0.5213109254837036, 0.33447015285491943),
)


def region_rows(image_id: str, boxes, split: str = "train") -> list[dict]:
    return [
        {
            "region_id": f"{image_id}#r{number}",
            "image_id": image_id,
            "building_id": image_id.split("/")[0],
            "split": split,
            "sentence": "A place",
            **dict(zip(["cx", "cy", "w", "h"], box or [np.nan] * 4, strict=True)),
            "has_box": box is not None,
        }
        for number, box in enumerate(boxes)
    ]


def random_boxes(n: int, seed: int) -> list[tuple[float, ...]]:
    rng = np.random.default_rng(seed)
    return [tuple(box) for box in rng.uniform(0.05, 0.6, (n, 4)).tolist()]


def named(label: tuple[int, int]) -> tuple[str, str]:
    return HORIZONTAL_RELATIONS[label[0]], VERTICAL_RELATIONS[label[1]]


def label_by_definition(a, b):
    labels = []
    for position, size in ((0, 2), (1, 3)):
        offset = a[position] - b[position]
        if abs(offset) < 0.5 * a[size]:
            labels.append(1)
        else:
            labels.append(0 if offset > 0 else 2)
    return tuple(labels)


def test_readme_example():
    assert named(relation_label(README_BOXES[0], README_BOXES[1])) == ("center", "middle")
    assert named(relation_label(README_BOXES[0], README_BOXES[2])) == ("right", "middle")


@pytest.mark.parametrize(
    ("center", "names"),
    [
        ((0.1, 0.1), ("left", "upper")),
        ((0.5, 0.1), ("center", "upper")),
        ((0.9, 0.5), ("right", "middle")),
        ((0.9, 0.9), ("right", "lower")),
        ((0.5, 0.5), ("center", "middle")),
        # Half the size of A is off the middle: the comparison is strict.
        ((0.75, 0.25), ("right", "upper")),
    ],
)
def test_label_says_where_b_is_seen_from_a(center, names):
    assert named(relation_label((0.5, 0.5, 0.5, 0.5), (*center, 0.1, 0.1))) == names


def test_swapping_the_boxes_mirrors_the_direction():
    small_left, small_right = (0.2, 0.3, 0.1, 0.1), (0.8, 0.9, 0.1, 0.1)
    assert named(relation_label(small_left, small_right)) == ("right", "lower")
    assert named(relation_label(small_right, small_left)) == ("left", "upper")


def test_only_the_size_of_a_counts():
    large, small = (0.5, 0.5, 0.9, 0.9), (0.7, 0.7, 0.05, 0.05)
    assert named(relation_label(large, small)) == ("center", "middle")
    assert named(relation_label(small, large)) == ("left", "upper")


def test_swapping_x_and_y_swaps_the_labels():
    a, b = (0.5, 0.5, 0.1, 0.1), (0.9, 0.5, 0.1, 0.1)
    swapped = [(box[1], box[0], box[3], box[2]) for box in (a, b)]
    assert relation_label(a, b) == (2, 1)
    assert relation_label(*swapped) == (1, 2)


def test_table_holds_every_ordered_pair_of_boxes_of_an_image():
    by_image = {
        "0001/a": random_boxes(4, seed=0),
        "0001/b": [*random_boxes(2, seed=1), None],
        "0002/a": random_boxes(1, seed=2),
        "0002/b": [None, None],
        "0003/a": random_boxes(5, seed=3),
    }
    rows = [row for image_id, boxes in by_image.items() for row in region_rows(image_id, boxes)]
    table = relation_table(pd.DataFrame(rows))
    check_relations(table)
    expected = [
        (image_id, f"{image_id}#r{i}", f"{image_id}#r{j}", *label_by_definition(a, b))
        for image_id, boxes in by_image.items()
        for i, a in enumerate(boxes)
        for j, b in enumerate(boxes)
        if i != j and a is not None and b is not None
    ]
    columns = ["image_id", "region_a", "region_b", "horizontal", "vertical"]
    assert [tuple(row) for row in table[columns].to_numpy()] == expected
    assert len(expected) == 12 + 2 + 20
    assert len(set(table["horizontal"])) == len(set(table["vertical"])) == 3
    assert table["building_id"].tolist() == [row[0][:4] for row in expected]


def test_table_follows_the_order_of_the_regions():
    rows = pd.DataFrame(region_rows("0001/a", random_boxes(4, seed=0)))
    straight, shuffled = relation_table(rows), relation_table(rows.iloc[::-1])
    keys = ["region_a", "region_b"]
    pd.testing.assert_frame_equal(
        straight.sort_values(keys, ignore_index=True), shuffled.sort_values(keys, ignore_index=True)
    )


def test_no_boxes_give_an_empty_table():
    table = relation_table(pd.DataFrame(region_rows("0001/a", [None, README_BOXES[0]])))
    assert table.empty
    check_relations(table)


def test_regions_are_not_changed():
    rows = pd.DataFrame(region_rows("0001/a", random_boxes(3, seed=0)))
    before = rows.copy()
    relation_table(rows)
    pd.testing.assert_frame_equal(rows, before)
