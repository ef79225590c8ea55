import json

import pytest
from geotext_fixture import record, records_of_train_layout, write_data_set, write_image

from aquatint.data.geotext import GeoTextTables, read_geotext
from aquatint.data.ingestion_report import ingestion_report


def report_of(folder, records, spoil=None) -> dict:
    return ingestion_report(*tables_of(folder, records, spoil))


def tables_of(folder, records, spoil=None) -> GeoTextTables:
    file, root = write_data_set(folder, records)
    if spoil:
        spoil(root)
    return read_geotext(file, root, "train", "tolerant", max_rejected_fraction=1)


def region_record(sentence: str, box: list[float]) -> dict:
    return {**record("0001/a.jpeg", "A place."), "sentences": [sentence], "bboxes": [box]}


def test_clean_data(tmp_path):
    report = report_of(tmp_path, records_of_train_layout())
    assert report["splits"] == {
        "train": {"images": 6, "buildings": 3, "captions": 12, "regions": 18, "boxes": 12}
    }
    assert report["missing"] == {
        "image_files": {"count": 0, "n": 6},
        "readable_images": {"count": 0, "n": 6},
        "captions_of_images": {"count": 0, "n": 6},
        "sentences": {"count": 6, "n": 18},
        "boxes": {"count": 6, "n": 18},
    }
    assert report["bad_boxes"] == {"count": 0, "n": 18}
    assert report["duplicates"] == {"captions": 0, "files": 0, "n": 6}
    assert report["leakage"] == {"buildings": {}, "num_files": 0, "images": [], "n": 6}
    assert report["caption_words"]["train"] == {
        "min": 4, "median": 4, "mean": 4, "max": 4, "n": 12
    }  # fmt: skip
    assert report["rejects"] == {"findings": 0, "records": 0, "per_rule": {}}
    assert report["n"] == {"images": 6, "captions": 12, "regions": 18}


def test_every_kind_of_gap_is_counted(tmp_path):
    records = records_of_train_layout()
    records.append(records[2])
    records[0]["caption"] = records[1]["caption"] = ""
    for entry in records[4:6]:
        entry["bboxes"][2] = [9, 9, 9, 9]
    records += [record("0008/a.jpeg", "Gone."), record("0009/a.jpeg", "Torn.")]

    def spoil(root):
        (root / "train/0008/a.jpeg").unlink()
        (root / "train/0009/a.jpeg").write_bytes(b"torn")

    report = report_of(tmp_path, records, spoil)
    assert report["missing"]["image_files"] == {"count": 1, "n": 8}
    assert report["missing"]["readable_images"] == {"count": 1, "n": 8}
    assert report["missing"]["captions_of_images"] == {"count": 1, "n": 6}
    assert report["missing"]["boxes"] == {"count": 7, "n": 18}
    # Two records of one image repeat the bad box.
    assert report["bad_boxes"] == {"count": 1, "n": 18}
    assert report["duplicates"]["captions"] == 1
    assert report["rejects"] == {
        "findings": 7,
        "records": 7,
        "per_rule": {
            "bboxes must lie in the image, normalised to [0, 1]": 2,
            "caption must not be empty": 2,
            "caption must not repeat a caption of the same image": 1,
            "image must be a JPEG, PNG or WEBP named as such": 1,
            "image must exist": 1,
        },
    }
    assert report["caption_words"]["train"]["n"] == 10


def test_equal_files_are_duplicates_within_a_split_and_leaks_across(tmp_path):
    def spoil(root):
        for path in ("train/0001/image-02.jpeg", "train/0003/image-01.jpeg"):
            write_image(root / path, seed=0)

    tables = tables_of(tmp_path, records_of_train_layout(), spoil)
    report = ingestion_report(*tables)
    assert report["duplicates"]["files"] == 2
    assert report["leakage"]["num_files"] == 0

    is_val = tables.images["building_id"] == "0003"
    images = tables.images.assign(split=tables.images["split"].mask(is_val, "val"))
    report = ingestion_report(images, *tables[1:])
    assert report["duplicates"]["files"] == 1
    assert report["leakage"]["num_files"] == 1
    assert report["leakage"]["buildings"] == {}
    assert report["leakage"]["images"] == [
        "0001/image-01.jpeg",
        "0001/image-02.jpeg",
        "0003/image-01.jpeg",
    ]


def test_a_building_in_two_splits_is_a_leak(tmp_path):
    tables = tables_of(tmp_path, records_of_train_layout())
    images = tables.images.copy()
    images.loc[0, "split"] = "test"
    report = ingestion_report(images, *tables[1:])
    assert report["leakage"]["buildings"] == {"0001": ["test", "train"]}
    assert report["splits"]["test"]["images"] == 1


LEFT, RIGHT = [0.2, 0.5, 0.2, 0.2], [0.8, 0.5, 0.2, 0.2]
ABOVE, BELOW, CENTER = [0.5, 0.2, 0.2, 0.2], [0.5, 0.8, 0.2, 0.2], [0.5, 0.5, 0.2, 0.2]


@pytest.mark.parametrize(
    ("sentence", "box", "axis", "count", "n"),
    [
        ("A car on the left side", RIGHT, "horizontal", 1, 1),
        ("A car on the left side", LEFT, "horizontal", 0, 1),
        ("A car on the LEFT", CENTER, "horizontal", 0, 1),
        ("A car on the right", LEFT, "horizontal", 1, 1),
        ("A car to the left of the image", RIGHT, "horizontal", 1, 1),
        ("A car to the left of the tower", RIGHT, "horizontal", 0, 0),
        ("From left to right", RIGHT, "horizontal", 0, 0),
        ("A brightly lit car", LEFT, "horizontal", 0, 0),
        ("A car at the upper side", BELOW, "vertical", 1, 1),
        ("A car at the bottom", ABOVE, "vertical", 1, 1),
        ("A car at the lower side", BELOW, "vertical", 0, 1),
        ("A car", RIGHT, "horizontal", 0, 0),
        ("A car on the left", None, "horizontal", 0, 0),
    ],
)
def test_sentences_that_contradict_their_box(tmp_path, sentence, box, axis, count, n):
    found = report_of(tmp_path, [region_record(sentence, box)])["side_contradictions"][axis]
    assert (found["count"], found["n"]) == (count, n)
    assert found["region_ids"] == ["0001/a.jpeg#r0"] * count


def test_report_is_plain_json_and_the_same_each_time(tmp_path):
    records = records_of_train_layout()
    records[0]["caption"] = ""
    tables = tables_of(tmp_path, records)
    text = json.dumps(ingestion_report(*tables), allow_nan=False)
    assert text == json.dumps(ingestion_report(*tables), allow_nan=False)


def test_data_without_any_region(tmp_path):
    records = [{**record("0001/a.jpeg", "A place."), "sentences": [], "bboxes": []}]
    report = report_of(tmp_path, records)
    assert report["missing"]["boxes"] == {"count": 0, "n": 0}
    assert report["side_contradictions"]["vertical"]["n"] == 0
