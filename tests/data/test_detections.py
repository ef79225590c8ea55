import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from aquatint.data.detections import read_detections, read_labels, read_photos
from aquatint.training.inspection_predict import evaluate_detections
from inspection_fixture import CLASS_MAP, NAMES

TYPES = {"slope_drain", "rock_toe"}
GOOD = {"image": "a.jpg", "object_type": "slope_drain", "confidence": 0.9,
        "box_xyxy_px": [10, 5, 30, 20]}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    for name in ("a.jpg", "b.jpg"):
        Image.fromarray(np.zeros((50, 100, 3), np.uint8)).save(tmp_path / "images" / name)
    return tmp_path


def read(folder, records, name="detections.json", min_confidence=0.25):
    path = folder / name
    if name.endswith(".json"):
        path.write_text(json.dumps(records))
    else:
        pd.DataFrame(records).to_parquet(path)
    photos = read_photos(folder / "images", 10_000)
    return read_detections(path, photos, TYPES, min_confidence)


@pytest.mark.parametrize("name", ["detections.json", "detections.parquet"])
def test_boxes_in_pixels_become_shares_of_the_image(folder, name):
    other = {**GOOD, "object_type": "rock_toe", "box_xyxy_px": [60, 30, 90, 45]}
    weak = {**GOOD, "confidence": 0.2}
    table = read(folder, [GOOD, weak, other], name)
    assert table["instance_id"].tolist() == ["a.jpg#0", "a.jpg#2"]
    assert table.iloc[0][["x1", "y1", "x2", "y2"]].tolist() == pytest.approx([0.1, 0.1, 0.3, 0.4])
    assert [item["object_type"] for item in table.iloc[0]["neighbours"]] == ["rock_toe"]
    assert table["n_objects"].tolist() == [2, 2]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image": "lost.jpg"}, "must be a file of the folder"),
        ({"object_type": "house"}, "object_type must be one of"),
        ({"object_type": ["house"]}, "object_type must be one of"),
        ({"image": None}, "must be a file of the folder"),
        ({"confidence": 1.5}, r"confidence must be a number in \[0, 1\]"),
        ({"confidence": None}, r"confidence must be a number in \[0, 1\]"),
        ({"confidence": "high"}, r"confidence must be a number in \[0, 1\]"),
        ({"box_xyxy_px": "10 5 30 20"}, "must be four numbers"),
        ({"box_xyxy_px": [10, 5, None, 20]}, "must be four numbers"),
        ({"box_xyxy_px": [30, 5, 10, 20]}, "left < right"),
        ({"box_xyxy_px": [10, 5, 30]}, "left < right"),
        ({"box_xyxy_px": [200, 5, 230, 20]}, "must overlap the image"),
    ],
)
def test_a_bad_detection_is_named_by_file_and_record(folder, change, words):
    with pytest.raises(ValueError, match=rf"detections\.json, record 1: .*{words}"):
        read(folder, [GOOD, {**GOOD, **change}])


def test_a_detector_that_found_nothing_is_no_error_but_other_json_is(folder):
    assert len(read(folder, [])) == 0
    with pytest.raises(ValueError, match=r"record 0: needs .* lacks, got \['confidence'\]"):
        read(folder, [{name: GOOD[name] for name in ("image", "object_type", "box_xyxy_px")}])
    for content in ('{"image": 1}', "[1]", "[{,}]"):
        (folder / "detections.json").write_text(content)
        with pytest.raises(ValueError, match=r"detections\.json must be"):
            read_detections(
                folder / "detections.json", read_photos(folder / "images", 10_000), ["a"], 0.25
            )


def test_a_folder_without_pictures_or_with_a_broken_one_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no"):
        read_photos(tmp_path, 10_000)
    (tmp_path / "x.jpg").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"x\.jpg: image must"):
        read_photos(tmp_path, 10_000)


def test_detector_and_model_are_judged_together(folder):
    """Missed objects count, and every box matches once."""
    labels = folder / "labels"
    labels.mkdir()
    (labels / "a.txt").write_text("5 0.2 0.25 0.2 0.3\n3 0.75 0.75 0.3 0.3\n")
    photos = read_photos(folder / "images", 10_000)
    truth = read_labels(labels, photos, dict(enumerate(NAMES)), CLASS_MAP)
    assert truth["class_name"].tolist() == ["slope drain", "rock toe"]
    twice = read(folder, [GOOD, {**GOOD, "box_xyxy_px": [11, 5, 31, 20]}])
    found = evaluate_detections(twice.assign(class_name="slope drain"), truth, 0.3, True)
    assert found["detection"]["recall"]["value"] == 0.5
    assert found["detection"]["precision"]["value"] == 0.5
    assert found["matched"] == {"value": 1.0, "interval": pytest.approx([0.2065, 1.0], abs=1e-3),
                                "n": 1}  # fmt: skip
    assert found["end_to_end"]["value"] == 0.5
    (labels / "b.txt").write_text("5 0.2 0.25\n")
    with pytest.raises(ValueError, match=r"b\.txt:1: "):
        read_labels(labels, photos, dict(enumerate(NAMES)), CLASS_MAP)


def test_ids_are_those_of_the_export_and_unknown_ones_are_refused(tmp_path):
    """The order of names differs between exports; the numbers alone say nothing."""
    (tmp_path / "a.txt").write_text("7 0.5 0.5 0.2 0.2\n")
    photos = pd.DataFrame({"image_id": ["a.jpg"]})
    found = read_labels(tmp_path, photos, {7: NAMES[0], 9: NAMES[1]}, CLASS_MAP)
    assert found["class_name"].tolist() == [NAMES[0]]
    with pytest.raises(ValueError, match=r"a\.txt:1: class id 7 is none of the annotated export"):
        read_labels(tmp_path, photos, {8: NAMES[0], 9: NAMES[1]}, CLASS_MAP)
