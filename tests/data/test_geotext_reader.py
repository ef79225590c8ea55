import json

import pandas as pd
import pytest
from geotext_fixture import (
    BOXES,
    record,
    records_of_test_layout,
    records_of_train_layout,
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


def test_training_layout(tmp_path):
    tables = read_geotext(*write_data_set(tmp_path, records_of_train_layout()), "train", "strict")
    check_tables(tables)
    assert len(tables.images) == 6
    assert len(tables.captions) == 12
    assert len(tables.regions) == 6 * 3
    assert tables.rejects.empty
    assert tables.images["building_id"].unique().tolist() == ["0001", "0002", "0003"]
    first = tables.images.iloc[0]
    assert first["path"] == "train/0001/image-01.jpeg"
    assert (first["width"], first["height"]) == (24, 16)
    assert len(first["sha256"]) == 64
    assert tables.captions.iloc[1].to_dict() == {
        "caption_id": "0001/image-01.jpeg#c1",
        "image_id": "0001/image-01.jpeg",
        "building_id": "0001",
        "split": "train",
        "text": "Caption 1 of 1/1.",
    }


def test_test_layout_holds_a_list_of_captions(tmp_path):
    file, root = write_data_set(tmp_path, records_of_test_layout())
    tables = read_geotext(file, root, "test", "strict")
    check_tables(tables)
    assert len(tables.captions) == 18
    assert tables.captions["text"][:3].tolist() == ["First.", "Second.", "Third."]
    assert set(tables.captions["split"]) == {"test"}


def test_regions_are_listed_once_and_a_null_box_stays_one_without_box(tmp_path):
    tables = read_geotext(*write_data_set(tmp_path, records_of_train_layout()), "train", "strict")
    regions = tables.regions[tables.regions["image_id"] == "0002/image-01.jpeg"]
    assert regions["region_id"].tolist() == [f"0002/image-01.jpeg#r{i}" for i in range(3)]
    assert regions["has_box"].tolist() == [True, False, True]
    assert regions[["cx", "cy", "w", "h"]].iloc[2].tolist() == BOXES[2]
    assert regions[["cx", "cy", "w", "h"]].iloc[1].isna().all()
    assert regions["sentence"].isna().tolist() == [False, True, False]


def test_tables_survive_parquet(tmp_path):
    tables = read_geotext(*write_data_set(tmp_path, records_of_train_layout()), "train", "strict")
    for name, table in tables._asdict().items():
        table.to_parquet(tmp_path / f"{name}.parquet")
    loaded = type(tables)(*(pd.read_parquet(tmp_path / f"{n}.parquet") for n in tables._fields))
    check_tables(loaded)
    pd.testing.assert_frame_equal(loaded.regions, tables.regions)


def test_a_byte_order_mark_is_skipped(tmp_path):
    file, root = write_data_set(tmp_path, records_of_train_layout())
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert len(read_geotext(file, root, "train", "strict").images) == 6


def test_text_and_ids_beyond_ascii_are_kept(tmp_path):
    records = [record("0001/bild ä.jpeg", "  Ein Gebäude, 建筑.  ")]
    tables = read_geotext(*write_data_set(tmp_path, records), "train", "strict")
    assert tables.captions["text"].tolist() == ["Ein Gebäude, 建筑."]
    assert tables.images["image_id"].tolist() == ["0001/bild ä.jpeg"]


def test_records_without_regions_are_fine(tmp_path):
    records = [{key: record("0001/a.jpeg", "x")[key] for key in ("image_id", "image", "caption")}]
    tables = read_geotext(*write_data_set(tmp_path, records), "train", "strict")
    assert len(tables.captions) == 1
    assert tables.regions.empty
    check_regions(tables.regions)


def test_missing_paths_are_named(tmp_path):
    file, root = write_data_set(tmp_path, records_of_train_layout())
    with pytest.raises(FileNotFoundError, match=r"nowhere does not exist"):
        read_geotext(file, tmp_path / "nowhere", "train", "strict")
    with pytest.raises(FileNotFoundError, match=r"other\.json does not exist"):
        read_geotext(tmp_path / "other.json", root, "train", "tolerant")


def test_unknown_split_and_mode_are_refused(tmp_path):
    file, root = write_data_set(tmp_path, records_of_train_layout())
    with pytest.raises(ValueError, match="split must be one of train, val, test, got 'valid'"):
        read_geotext(file, root, "valid", "strict")
    with pytest.raises(ValueError, match="mode must be 'strict' or 'tolerant', got 'lenient'"):
        read_geotext(file, root, "train", "lenient")


def test_too_many_findings_stop_tolerant_mode_with_counts(tmp_path):
    records = records_of_train_layout()
    records[0]["caption"] = records[1]["caption"] = ""
    records[2]["bboxes"][2] = [9, 9, 9, 9]
    file, root = write_data_set(tmp_path, records)
    with pytest.raises(ValueError, match=r"3 of 12 records have a finding") as caught:
        read_geotext(file, root, "train", "tolerant")
    assert "max_rejected_fraction 0.05" in str(caught.value)
    assert "caption must not be empty: 2" in str(caught.value)
    assert "bboxes must lie in the image, normalised to [0, 1]: 1" in str(caught.value)
    tables = read_geotext(file, root, "train", "tolerant", max_rejected_fraction=0.25)
    assert len(tables.rejects) == 3


def test_the_limit_counts_records_not_findings(tmp_path):
    records = records_of_train_layout()
    records[0]["bboxes"] = [[9, 9, 9, 9]] * 3
    file, root = write_data_set(tmp_path, records)
    tables = read_geotext(file, root, "train", "tolerant", max_rejected_fraction=1 / 12)
    assert len(tables.rejects) == 3


def test_nothing_is_changed_on_disk(tmp_path):
    file, root = write_data_set(tmp_path, records_of_train_layout())
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    content = json.loads(file.read_text())
    read_geotext(file, root, "train", "strict")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert json.loads(file.read_text()) == content


def test_reading_twice_gives_the_same_tables(tmp_path):
    paths = write_data_set(tmp_path, records_of_train_layout())
    first = read_geotext(*paths, "train", "strict")
    for a, b in zip(first, read_geotext(*paths, "train", "strict"), strict=True):
        pd.testing.assert_frame_equal(a, b)
