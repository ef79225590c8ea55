import math

import numpy as np
import pytest
from geotext_fixture import (
    record,
    records_of_test_layout,
    records_of_train_layout,
    write_annotations,
    write_data_set,
)

from aquatint.data.geotext import read_geotext
from aquatint.data.tables import check_captions, check_images, check_regions, check_rejects


def read_tolerantly(file, root, **options):
    return read_geotext(file, root, "train", "tolerant", max_rejected_fraction=1.0, **options)


def check_tables(tables):
    check_images(tables.images)
    check_captions(tables.captions)
    check_regions(tables.regions)
    check_rejects(tables.rejects)


# What a record looks like, and the field, rule and value that both modes must name.
BAD_RECORDS = {
    "caption empty": ({"caption": " "}, "caption", "must not be empty", "' '"),
    "one caption of a list empty": (
        {"caption": ["fine", ""]},
        "caption[1]",
        "must not be empty",
        "''",
    ),
    "sentence empty": (
        {"sentences": ["", None, "c"]},
        "sentences[0]",
        "must not be empty",
        "''",
    ),
    "caption of wrong type": ({"caption": 7}, "caption", "must have the right type", "7"),
    "null in captions": ({"caption": ["a", None]}, "caption[1]", "got `null`", "['a', None]"),
    "image_id of wrong type": ({"image_id": 7}, "image_id", "Expected `str`, got `int`", "7"),
    "image_id missing": ({"image_id": ...}, "image_id", "must be in every record", "None"),
    "sentences of wrong type": ({"sentences": "abc"}, "sentences", "got `str`", "'abc'"),
    "boxes of wrong type": ({"bboxes": {"a": 1}}, "bboxes", "got `object`", "{'a': 1}"),
    "lengths disagree": (
        {"bboxes": [None]},
        "bboxes",
        "must have as many boxes as sentences",
        "'1 boxes and 3 sentences'",
    ),
    "image_id climbs": ({"image_id": "../a.jpeg"}, "image_id", "without '..'", "'../a.jpeg'"),
    "image_id absolute": ({"image_id": "/b/a.jpeg"}, "image_id", "relative", "'/b/a.jpeg'"),
    "image_id without building": ({"image_id": "a.jpeg"}, "image_id", "<building>/", "'a.jpeg'"),
    "image_id with a null byte": ({"image_id": "b/\0"}, "image_id", "relative", r"'b/\x00'"),
    "path climbs": (
        {"image": "train/../../secret.jpeg"},
        "image",
        "must stay below image_root",
        "'train/../../secret.jpeg'",
    ),
    "path absolute": ({"image": "/etc/a.jpeg"}, "image", "must stay below", "'/etc/a.jpeg'"),
    "path empty": ({"image": ""}, "image", "must stay below", "''"),
    "path with a null byte": ({"image": "a\0.jpeg"}, "image", "must stay below", r"'a\x00.jpeg'"),
}


@pytest.mark.parametrize(
    ("change", "field", "rule", "value"), BAD_RECORDS.values(), ids=BAD_RECORDS.keys()
)
def test_a_bad_record_is_named_in_both_modes(tmp_path, change, field, rule, value):
    file, root = write_data_set(tmp_path, records_of_train_layout())
    bad = {**record("0001/image-01.jpeg", "One more caption."), **change}
    if "image" in change:
        bad["image_id"] = "0009/other.jpeg"
    bad = {key: value for key, value in bad.items() if value is not ...}
    write_annotations(tmp_path, [*records_of_train_layout(), bad])

    with pytest.raises(ValueError, match=r"train\.json, record 12 ") as caught:
        read_geotext(file, root, "train", "strict")
    for part in (field, rule, f"got {value}", "Correct the record, or read with mode 'tolerant'"):
        assert part in str(caught.value)

    tables = read_tolerantly(file, root)
    check_tables(tables)
    assert len(tables.rejects) == 1
    reject = tables.rejects.iloc[0]
    assert (reject["file"], reject["record"], reject["field"]) == ("train.json", 12, field)
    assert rule in reject["rule"]
    assert reject["value"] == value
    assert len(tables.images) == 6


def test_all_bad_records_were_tried():
    assert len(BAD_RECORDS) == 18


BAD_BOXES = {
    "nan": ([math.nan, 0.5, 0.1, 0.1], "must be finite"),
    "infinite": ([0.5, math.inf, 0.1, 0.1], "must be finite"),
    "no width": ([0.5, 0.5, 0, 0.1], "must have a width and a height above 0"),
    "negative height": ([0.5, 0.5, 0.1, -0.1], "must have a width and a height above 0"),
    "pixels": ([120, 80, 40, 40], "must lie in the image, normalised to [0, 1]"),
    "too wide": ([0.5, 0.5, 1.01, 0.5], "must lie in the image"),
    "too low": ([0.5, 0.9, 0.1, 0.21], "must lie in the image"),
    "beside the image": ([-0.0005, 0.5, 0.0005, 0.1], "must have a width"),
    "three numbers": ([0.5, 0.5, 0.1], "must be null or four numbers"),
    "text": (["0.5", 0.5, 0.1, 0.1], "must be null or four numbers"),
    "truth value": ([True, 0.5, 0.1, 0.1], "must be null or four numbers"),
    "no list": (0.5, "must be null or four numbers"),
}


@pytest.mark.parametrize(("box", "rule"), BAD_BOXES.values(), ids=BAD_BOXES.keys())
def test_a_bad_box_costs_only_itself(tmp_path, box, rule):
    records = [*records_of_train_layout(), record("0009/a.jpeg", "One more.")]
    records[-1]["bboxes"][2] = box
    file, root = write_data_set(tmp_path, records)
    with pytest.raises(ValueError, match=r"record 12 \(0009/a\.jpeg\): bboxes\[2\] ") as caught:
        read_geotext(file, root, "train", "strict")
    assert rule in str(caught.value)

    tables = read_tolerantly(file, root)
    check_tables(tables)
    assert tables.rejects["field"].tolist() == ["bboxes[2]"]
    assert tables.rejects["value"].tolist() == [repr(box)]
    assert "One more." in set(tables.captions["text"])
    region = tables.regions.set_index("region_id").loc["0009/a.jpeg#r2"]
    assert not region["has_box"]
    assert region["sentence"] == "A car park at the lower right"


def test_a_number_too_large_for_json_is_a_box_that_is_not_finite(tmp_path):
    file, root = write_data_set(tmp_path, records_of_train_layout())
    file.write_text(file.read_text().replace("0.5, 0.5, 0.2", "1e999, 0.5, 0.2", 1))
    tables = read_tolerantly(file, root)
    assert tables.rejects["rule"].tolist() == ["must be finite"]
    assert tables.rejects["record"].tolist() == [0]


def test_a_box_just_over_the_border_is_clipped(tmp_path):
    records = records_of_train_layout()
    for entry in records:
        entry["bboxes"][0] = [0.5, 0.9, 0.4, 0.2018]
    tables = read_geotext(*write_data_set(tmp_path, records), "train", "strict")
    check_regions(tables.regions)
    box = tables.regions[["cx", "cy", "w", "h"]].iloc[0].tolist()
    assert box == pytest.approx([0.5, (0.7991 + 1) / 2, 0.4, 1 - 0.7991])


def test_boxes_within_the_border_are_kept_to_the_last_bit(tmp_path):
    rng = np.random.default_rng(0)
    boxes = np.hstack((rng.uniform(0.3, 0.7, (12, 2)), rng.uniform(0.01, 0.5, (12, 2)))).tolist()
    records = records_of_test_layout()
    for index, entry in enumerate(records):
        entry["bboxes"][:2] = boxes[2 * index : 2 * index + 2]
    tables = read_geotext(*write_data_set(tmp_path, records), "train", "strict")
    is_drawn = ~tables.regions["region_id"].str.endswith("#r2")
    assert tables.regions.loc[is_drawn, ["cx", "cy", "w", "h"]].to_numpy().tolist() == boxes


def test_a_repeated_caption_is_rejected_once_for_each_repetition(tmp_path):
    records = records_of_train_layout()
    records += [records[0], {**records[0], "caption": records[0]["caption"] + "  "}]
    file, root = write_data_set(tmp_path, records)
    with pytest.raises(ValueError, match=r"record 12 .*must not repeat a caption"):
        read_geotext(file, root, "train", "strict")
    tables = read_tolerantly(file, root)
    assert tables.rejects["record"].tolist() == [12, 13]
    assert len(tables.captions) == 12
    assert len(tables.regions) == 18


def test_the_same_caption_for_another_image_is_no_duplicate(tmp_path):
    records = [record(f"0001/{name}.jpeg", "The same.") for name in "ab"]
    tables = read_geotext(*write_data_set(tmp_path, records), "train", "strict")
    assert len(tables.captions) == 2


def test_one_image_id_cannot_name_two_files(tmp_path):
    records = records_of_train_layout()
    records.append({**record("0001/image-01.jpeg", "Other."), "image": records[-1]["image"]})
    file, root = write_data_set(tmp_path, records)
    with pytest.raises(ValueError, match="image must name the same file for every record"):
        read_geotext(file, root, "train", "strict")
    assert read_tolerantly(file, root).rejects["field"].tolist() == ["image"]


def test_a_record_that_is_no_object(tmp_path):
    file, root = write_data_set(tmp_path, records_of_train_layout())
    write_annotations(tmp_path, [*records_of_train_layout(), "caption"])
    tables = read_tolerantly(file, root)
    assert tables.rejects["field"].tolist() == ["record"]
    assert tables.rejects["image_id"].isna().all()
    with pytest.raises(ValueError, match=r"record 12 \(no image_id\): record must have the right"):
        read_geotext(file, root, "train", "strict")


def test_ids_stay_when_another_caption_is_corrected(tmp_path):
    records = [record("0001/a.jpeg", ["", "Second."])]
    file, root = write_data_set(tmp_path, records)
    before = read_tolerantly(file, root).captions.set_index("text")
    write_annotations(tmp_path, [record("0001/a.jpeg", ["First.", "Second."])])
    after = read_tolerantly(file, root).captions.set_index("text")
    assert before.loc["Second.", "caption_id"] == after.loc["Second.", "caption_id"]


def test_invalid_utf8_in_a_record_costs_that_record(tmp_path):
    file, root = write_data_set(tmp_path, records_of_train_layout())
    file.write_bytes(file.read_bytes().replace(b"Caption 1 of 2/1.", b"Caption \xff of 2/1."))
    tables = read_tolerantly(file, root)
    assert tables.rejects["rule"].tolist() == ["must be valid UTF-8"]
    assert len(tables.captions) == 11


def test_a_lone_surrogate_is_rejected_before_parquet_fails_on_it(tmp_path):
    file, root = write_data_set(tmp_path, records_of_train_layout())
    file.write_text(file.read_text().replace("Caption 1 of 2/1.", r"Caption \ud800 of 2/1."))
    tables = read_tolerantly(file, root)
    assert tables.rejects["field"].tolist() == ["caption"]
    for table in tables:
        table.to_parquet(tmp_path / "table.parquet")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'[{"image_id": "a"}, ', r"not valid JSON at byte 20"),
        (b"[1, 2} ", r"not valid JSON at byte 5"),
        ("[ä, 2]".encode(), r"not valid JSON at byte 1"),
        ('["ä", x]'.encode(), r"not valid JSON at byte 7"),
        (b'\xef\xbb\xbf["a", x]', r"not valid JSON at byte 9"),
        (b"", r"not valid JSON at byte 0"),
        (b'{"image_id": "a"}', r"must hold a JSON list of records, got dict"),
        (b"[]", r"holds no records"),
        (b'["a\xff", NaN]', r"not UTF-8 at byte 3"),
        (b"[" * 200_000, r"nested too deeply"),
    ],
)
@pytest.mark.parametrize("mode", ["strict", "tolerant"])
def test_a_file_that_is_no_list_of_records_is_refused(tmp_path, mode, content, message):
    file = tmp_path / "train.json"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_geotext(file, tmp_path, "train", mode)
    assert str(file) in str(caught.value)
