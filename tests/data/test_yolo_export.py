import hashlib

import numpy as np
import pytest
from PIL import Image

from aquatint.data.inspection_analysis import analyse
from aquatint.data.inspection_tables import check_instances, check_photos, instance_table
from aquatint.data.split import check_disjoint
from aquatint.data.stratified_split import split_groups_by_class
from aquatint.data.yolo_export import read_data_file, read_export, source_group
from aquatint.data.yolo_lines import parse_line
from inspection_fixture import CLASS_MAP, NAMES

POLYGON = "4 0.10 0.62 0.55 0.60 0.57 0.80 0.12 0.83"


def write_export(root, labels, names=None, ending="\n"):
    """An export from {split/stem: lines}; None writes no label file."""
    listed = ", ".join(f"'{name}'" for name in names or NAMES)
    (root / "data.yaml").write_text(
        f"train: ../train/images\nval: ../valid/images\ntest: ../test/images\n"
        f"nc: {len(names or NAMES)}\nnames: [{listed}]\n"
    )
    for split in ("train", "valid", "test"):
        for kind in ("images", "labels"):
            (root / split / kind).mkdir(parents=True, exist_ok=True)
    for place, lines in labels.items():
        split, stem = place.split("/")
        seed = int(hashlib.sha256(stem.encode()).hexdigest()[:8], 16)
        pixels = np.random.default_rng(seed).integers(0, 255, (24, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / split / "images" / f"{stem}.jpg")
        if lines is not None:
            text = "".join(line + ending for line in lines)
            (root / split / "labels" / f"{stem}.txt").write_bytes(text.encode())
    return root / "data.yaml"


def read(path, mode="strict", limit=0.5):
    return read_export(path, mode, limit, 10_000)


@pytest.fixture
def golden(tmp_path):
    """Four photographs and two exports of one of them in different splits."""
    return write_export(
        tmp_path,
        {
            "train/a_jpg.rf.1": [POLYGON, "5 0.5 0.4 0.2 0.3"],
            "train/b_jpg.rf.1": [],
            "valid/c_jpg.rf.1": ["5 0.2 0.2 0.1 0.1", "5 0.7 0.7 0.1 0.1"],
            "test/d_jpg.rf.1": ["8 0.1 0.1 0.4 0.1 0.4", "8 0.1 0.1 0.4 0.1 0.4 0.4"],
            "test/a_jpg.rf.2": [POLYGON],
        },
    )


def test_the_golden_export_gives_its_tables(golden):
    names, photos, shapes, rejects = read(golden, "tolerant")
    instances = instance_table(photos, shapes, names, CLASS_MAP)
    check_photos(photos)
    check_instances(instances)
    assert len(photos) == 5
    assert photos.set_index("image_id")["n_objects"].to_dict()["b_jpg.rf.1"] == 0
    assert len(instances) == 2 + 0 + 2 + 1 + 1
    first = instances.iloc[0]
    assert (first["class_name"], first["object_type"], first["condition"]) == (
        "rock toe damaged", "rock_toe", "damaged",
    )  # fmt: skip
    assert (first["cx"], first["cy"]) == pytest.approx((0.335, 0.715))
    assert (first["x2"] - first["x1"], first["y2"] - first["y1"]) == pytest.approx((0.47, 0.23))
    assert rejects[["record", "image_id"]].to_numpy().tolist() == [[1, "d_jpg.rf.1"]]


def test_two_objects_of_one_class_are_two_rows_that_see_each_other(golden):
    names, photos, shapes, _ = read(golden, "tolerant")
    table = instance_table(photos, shapes, names, CLASS_MAP).set_index("image_id")
    rows = table.loc["c_jpg.rf.1"]
    assert rows["class_name"].tolist() == ["slope drain"] * 2
    seen = [item["relation"] for items in rows["neighbours"] for item in items]
    assert seen == ["below", "above"]
    assert all("condition" not in item for items in rows["neighbours"] for item in items)


def test_exports_of_one_photograph_in_two_splits_are_found_and_brought_together(golden):
    names, photos, shapes, _ = read(golden, "tolerant")
    with pytest.raises(ValueError, match=r"must not share a source_group.*a_jpg in test, train"):
        check_disjoint(photos, "source_group")
    instances = instance_table(photos, shapes, names, CLASS_MAP)
    shares = {"train": 0.5, "val": 0.25, "test": 0.25}
    chosen = split_groups_by_class(instances, photos["source_group"], shares, seed=0)
    check_disjoint(photos.assign(split=photos["source_group"].map(chosen)), "source_group")
    assert set(chosen.values()) == {"train", "val", "test"}
    again = split_groups_by_class(
        instances.sample(frac=1, random_state=1), photos["source_group"][::-1], shares, seed=0
    )
    assert again == chosen


def test_the_analysis_counts_both_units_and_each_pair_once(golden):
    names, photos, shapes, _ = read(golden, "tolerant")
    instances = instance_table(photos, shapes, names, CLASS_MAP)
    found = analyse(photos, instances, photos, golden.parent)
    assert found["n"] == {"images": 5, "images_without_objects": 1, "source_photos": 4,
                          "instances": 6}  # fmt: skip
    assert found["counts"]["condition"]["damaged"] == {"all": 2, "train": 1, "val": 0, "test": 1}
    assert found["relations"]["num_pairs"] == 2  # sum of n (n - 1) / 2
    assert found["relations"]["co_occurrence"] == {
        "rock_toe + slope_drain": 1, "slope_drain + slope_drain": 1,
    }  # fmt: skip
    assert found["split_overlap"]["as_exported"] == {"a_jpg": ["test", "train"]}
    assert found["imbalance_ratio"]["class"] == 3


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("4 0.1 0.2 0.3 0.4 0.5", "at least 6, in pairs"),
        ("4 0.1 0.2", "4 numbers"),
        ("4", "4 numbers"),
        ("4 0.1 x 0.3 0.4", "finite numbers"),
        ("4 nan 0.2 0.3 0.4", "finite numbers"),
        ("4 0.5 0.5 1.4 0.2", r"normalised to \[0, 1\]"),
        ("4 0.1 0.1 1.3 0.1 0.2 0.4", r"normalised to \[0, 1\]"),
        ("4 0.5 0.5 0 0.2", "area above 0"),
        ("4 0.1 0.1 0.2 0.2 0.3 0.3", "area above 0"),
    ],
)
def test_a_bad_line_stops_with_file_and_line(tmp_path, line, words):
    path = write_export(tmp_path, {"train/a": [POLYGON, line]})
    with pytest.raises(ValueError, match=rf"train/labels/a\.txt:2: line .*{words}"):
        read(path)
    _, _, shapes, rejects = read(path, "tolerant")
    assert len(shapes) == 1
    assert rejects.iloc[0][["file", "record"]].tolist() == ["a.txt", 2]


@pytest.mark.parametrize("mode", ["strict", "tolerant"])
@pytest.mark.parametrize("class_id", ["9", "-1", "1.5", "x"])
def test_an_unknown_class_stops_in_both_modes(tmp_path, mode, class_id):
    path = write_export(tmp_path, {"train/a": [f"{class_id} 0.5 0.5 0.2 0.2"]})
    with pytest.raises(ValueError, match=r"a\.txt:1: class must be a class id of data\.yaml"):
        read(path, mode)


def test_an_id_may_be_written_as_a_float_and_a_file_may_start_with_a_byte_order_mark(tmp_path):
    path = write_export(tmp_path, {"train/a": ["\ufeff1.0 0.5 0.5 0.2 0.2"]})
    _, _, shapes, rejects = read(path)
    assert shapes["class_id"].tolist() == [1]
    assert rejects.empty
    path = write_export(tmp_path, {"train/a": ["\u00b2 0.5 0.5 0.2 0.2"]})
    with pytest.raises(ValueError, match=r"a\.txt:1: class must be a class id"):
        read(path)


def test_an_image_that_loses_all_its_lines_does_not_count_as_one_without_objects(tmp_path):
    path = write_export(tmp_path, {"train/a": [POLYGON], "train/b": ["4 0.1"], "train/c": []})
    _, photos, _, rejects = read(path, "tolerant")
    assert photos["image_id"].tolist() == ["a", "c"]
    assert rejects["image_id"].tolist() == ["b", "b"]
    assert "without one it would count as an image without objects" in rejects["rule"].iloc[1]


def test_two_images_of_one_name_are_both_named(tmp_path):
    path = write_export(tmp_path, {"train/a": [POLYGON], "valid/a": [POLYGON]})
    with pytest.raises(ValueError, match=r"Two images are named a: .*train.*valid"):
        read(path)
    (tmp_path / "b").mkdir()
    path = write_export(tmp_path / "b", {"train/c": [POLYGON]})
    image = tmp_path / "b/train/images/c.jpg"
    image.with_suffix(".png").write_bytes(image.read_bytes())
    with pytest.raises(ValueError, match=r"Two images are named c: .*c\.jpg and .*c\.png"):
        read(path)


def test_the_layout_of_ultralytics_is_read_too(tmp_path):
    """Splits below images/, a base folder, and lists of folders."""
    write_export(tmp_path, {"train/a": [POLYGON], "valid/b": [POLYGON], "test/c": [POLYGON]})
    for split in ("train", "valid", "test"):
        for kind in ("images", "labels"):
            place = tmp_path / "set" / kind / split
            place.parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / split / kind).rename(place)
    listed = ", ".join(f"'{name}'" for name in NAMES)
    path = tmp_path / "data.yaml"
    path.write_text(
        "path: set\ntrain: [images/train, images/test]\nval: images/valid\ntest:\n"
        f"names: [{listed}]\n"
    )
    _, photos, shapes, rejects = read(path)
    assert photos[["image_id", "split"]].to_numpy().tolist() == [
        ["a", "train"], ["c", "train"], ["b", "val"],
    ]  # fmt: skip
    assert len(shapes) == 3
    assert rejects.empty


def test_carriage_returns_and_blank_lines_are_no_fault(tmp_path):
    path = write_export(tmp_path, {"train/a": [POLYGON, "", "8 0.5 0.5 0.2 0.2"]}, ending="\r\n")
    _, _, shapes, rejects = read(path)
    assert shapes["line"].tolist() == [1, 3]
    assert rejects.empty


def test_an_image_without_label_file_is_no_image_without_objects(tmp_path):
    path = write_export(tmp_path, {"train/a": [POLYGON], "train/b": None})
    with pytest.raises(ValueError, match=r"b\.jpg:0: image must have a label file"):
        read(path)


def test_a_label_file_without_image_is_named(tmp_path):
    path = write_export(tmp_path, {"train/a": [POLYGON]})
    (tmp_path / "train/labels/lost.txt").write_text(POLYGON)
    with pytest.raises(ValueError, match=r"lost\.txt:0: label file must have an image"):
        read(path)


def test_a_corrupt_image_is_named_and_never_replaced(tmp_path):
    path = write_export(tmp_path, {"train/a": [POLYGON], "train/b": [POLYGON]})
    image = tmp_path / "train/images/b.jpg"
    image.write_bytes(image.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"b\.jpg:0: image must"):
        read(path)
    _, photos, _, rejects = read(path, "tolerant")
    assert photos["image_id"].tolist() == ["a"]
    assert len(rejects) == 1


def test_too_many_findings_stop_a_tolerant_reading_too(tmp_path):
    path = write_export(tmp_path, {"train/a": ["4 0.1"] * 3})
    with pytest.raises(ValueError, match="4 of .* max_rejected_fraction 0.1"):
        read(path, "tolerant", 0.1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("names: []\ntrain: train/images", "must list each class once"),
        ("names: [a, a]\ntrain: train/images", "must list each class once"),
        ("names: [a, b]\nnc: 3\ntrain: train/images", "nc is 3, but names lists 2"),
        ("names: [a]\nval: train/images", "train must name"),
        ("names: [a]\ntrain: ../elsewhere/images", "not below"),
        ("names: [a]\ntrain: train/images\nval: v\nvalid: w", "name one split twice"),
        ("names: [a]\ntrain: {a: b}", "must name a folder or list folders"),
        ("names: [a]\ntrain: train", "need a part named images"),
    ],
)
def test_a_wrong_data_file_is_named(tmp_path, text, words):
    (tmp_path / "train/images").mkdir(parents=True)
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        read_data_file(tmp_path / "data.yaml")


def test_names_may_be_a_mapping_and_a_class_needs_a_place(tmp_path):
    (tmp_path / "train/images").mkdir(parents=True)
    (tmp_path / "data.yaml").write_text("names: {1: b, 0: a}\ntrain: train/images")
    names, folders = read_data_file(tmp_path / "data.yaml")
    assert names == ["a", "b"]
    assert list(folders) == ["train"]
    path = write_export(tmp_path, {"train/x": ["0 0.5 0.5 0.2 0.2"]}, names=["new class"])
    names, photos, shapes, _ = read(path)
    with pytest.raises(ValueError, match=r"class_map must place.*new class"):
        instance_table(photos, shapes, names, CLASS_MAP)


def test_a_box_line_is_a_box_and_a_polygon_line_a_polygon():
    box = parse_line("5 0.5 0.4 0.2 0.3", 9)
    assert box.is_box
    assert box.points[0] == pytest.approx((0.4, 0.25))
    assert not parse_line(POLYGON, 9).is_box


def test_the_source_photograph_stands_before_the_mark_of_the_export():
    assert source_group("DJI_0010_jpg.rf.0af3") == "DJI_0010_jpg"
    assert source_group("plain") == "plain"
