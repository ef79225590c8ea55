import math
import subprocess
import sys

import pandas as pd
import pytest
from geotext_fixture import records_of_train_layout, write_data_set

from aquatint.data import tables
from aquatint.data.geotext import read_geotext
from aquatint.data.relations import relation_table


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """Good tables by name; the rejects hold two findings."""
    records = records_of_train_layout()
    records[0]["caption"] = records[3]["caption"] = ""
    paths = write_data_set(tmp_path_factory.mktemp("geotext"), records)
    read = read_geotext(*paths, "train", "tolerant", max_rejected_fraction=0.5)
    return {**read._asdict(), "relations": relation_table(read.regions)}


NAMES = ("images", "captions", "regions", "relations", "rejects")


def check(name: str, table: pd.DataFrame) -> None:
    getattr(tables, f"check_{name}")(table)


@pytest.mark.parametrize("name", NAMES)
def test_good_tables_pass(good, name):
    assert len(good[name]) > 0
    check(name, good[name])
    check(name, good[name].assign(extra=1))


@pytest.mark.parametrize("name", NAMES)
def test_every_column_is_required(good, name):
    columns = list(good[name].columns)
    assert len(columns) >= 5
    for column in columns:
        with pytest.raises(ValueError, match=f"{name} needs the columns {column}"):
            check(name, good[name].drop(columns=column))


@pytest.mark.parametrize("name", NAMES)
def test_every_column_has_its_dtype(good, name):
    for column in good[name].columns:
        wrong = good[name].assign(**{column: pd.Timestamp("2026-01-01")})
        with pytest.raises(ValueError, match=rf"{name}\.{column} must be "):
            check(name, wrong)


@pytest.mark.parametrize("name", ["images", "captions"])
def test_images_and_captions_must_not_be_empty(good, name):
    with pytest.raises(ValueError, match=f"{name} must have at least one row"):
        check(name, good[name].iloc[:0])


@pytest.mark.parametrize("name", ["regions", "relations", "rejects"])
def test_the_other_tables_may_be_empty(good, name, tmp_path):
    empty = good[name].iloc[:0]
    check(name, empty)
    empty.to_parquet(tmp_path / "empty.parquet")
    check(name, pd.read_parquet(tmp_path / "empty.parquet"))


def spoil(table: pd.DataFrame, column: str, value: object) -> pd.DataFrame:
    spoiled = table.copy()
    spoiled[column] = spoiled[column].astype(object)
    spoiled.iloc[0, spoiled.columns.get_loc(column)] = value
    return spoiled.infer_objects().astype(
        {column: table[column].dtype} if value is not None else {}
    )


@pytest.mark.parametrize(
    ("name", "column", "value", "message"),
    [
        ("images", "image_id", "0001/image-02.jpeg", "images must not repeat image_id; 1 rows do"),
        ("images", "split", "valid", "split in train, val, test; 1 of 6 do not"),
        ("images", "width", 0, "size above 0"),
        ("images", "height", -3, "size above 0"),
        ("images", "sha256", "abc", "sha256 of 64 hex digits"),
        ("images", "building_id", None, "building_id that is not missing"),
        ("captions", "caption_id", "0001/image-02.jpeg#c0", "must not repeat caption_id"),
        ("captions", "text", "  ", "text that is not blank"),
        ("captions", "text", None, "text that is not missing"),
        ("captions", "split", "dev", "split in train, val, test"),
        ("regions", "region_id", "0001/image-02.jpeg#r0", "must not repeat region_id"),
        ("regions", "cx", math.nan, "finite box where has_box is true"),
        ("regions", "h", math.inf, "finite box where has_box is true"),
        ("regions", "has_box", False, "no box where has_box is false"),
        ("regions", "w", 0.0, "width and height above 0"),
        ("regions", "cx", 0.95, "box inside the image"),
        ("regions", "cy", -0.1, "box inside the image"),
        ("regions", "split", "dev", "split in train, val, test"),
        ("relations", "region_b", "0001/image-01.jpeg#r0", "two regions"),
        ("relations", "horizontal", 3, "horizontal in 0, 1, 2"),
        ("relations", "vertical", -1, "vertical in 0, 1, 2"),
        ("relations", "split", "dev", "split in train, val, test"),
        ("rejects", "record", -1, "record counted from 0"),
        ("rejects", "rule", None, "rule that is not missing"),
    ],
)
def test_a_bad_row_is_shown_with_its_rule(good, name, column, value, message):
    with pytest.raises(ValueError, match=message) as caught:
        check(name, spoil(good[name], column, value))
    assert name in str(caught.value)


def test_a_repeated_relation_is_refused(good):
    twice = pd.concat([good["relations"], good["relations"].iloc[:1]])
    with pytest.raises(ValueError, match="must not repeat region_a and region_b"):
        check("relations", twice)


def test_missing_sentences_and_image_ids_are_allowed(good):
    check("regions", spoil(good["regions"], "sentence", None))
    check("rejects", spoil(good["rejects"], "image_id", None))


def test_columns_without_any_value_may_have_any_dtype(good):
    check("regions", good["regions"].assign(sentence=None))
    check("regions", good["regions"].iloc[:0].astype(object))
    with pytest.raises(ValueError, match="must be str, got object"):
        check("captions", good["captions"].assign(text=None))


def test_checks_leave_the_table_as_it_is(good):
    for name in NAMES:
        before = good[name].copy()
        check(name, good[name])
        pd.testing.assert_frame_equal(good[name], before)


def test_data_modules_import_no_torch():
    """The graph code reaches them; torch would cost seconds on every command."""
    modules = "geotext tables ingestion_report relations split robosense corruptions"
    code = (
        "import importlib, sys\n"
        f"for name in {modules.split()!r}: importlib.import_module('aquatint.data.' + name)\n"
        "sys.exit(sum(name in sys.modules for name in ('torch', 'transformers', 'kedro')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
