import pandas as pd
import pytest
from geotext_fixture import write_image

from aquatint.data.robosense_tables import (
    check_gallery,
    check_queries,
    read_gallery,
    retrieval_tables,
)
from aquatint.data.tables import check_captions, check_images, check_regions, check_relations

QUERIES = pd.DataFrame({"query_id": ["q_00002", "q_00001"], "text": ["a road", "a tree"]})


@pytest.fixture
def folder(tmp_path):
    for seed, name in enumerate(("image_0b.jpeg", "image_0a.jpeg")):
        write_image(tmp_path / "images" / name, seed)
    return tmp_path / "images"


def test_the_gallery_is_read_with_its_digests(folder):
    gallery = read_gallery(folder, max_pixels=1000)
    check_gallery(gallery)
    assert gallery["image_id"].tolist() == ["image_0a", "image_0b"]
    assert gallery[["width", "height"]].to_numpy().tolist() == [[24, 16], [24, 16]]
    assert gallery["sha256"].nunique() == 2


def test_a_broken_image_stops_with_its_name(folder):
    content = (folder / "image_0b.jpeg").read_bytes()
    (folder / "image_0b.jpeg").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"an image of .*images is unusable: .*image_0b\.jpeg"):
        read_gallery(folder, max_pixels=1000)


def test_a_large_image_stops_with_its_name(folder):
    with pytest.raises(ValueError, match=r"is unusable: .*image_0a\.jpeg.* > 100"):
        read_gallery(folder, max_pixels=100)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere does not exist"):
        read_gallery(tmp_path / "nowhere", max_pixels=100)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("image_id", "photo_1", r"needs a image_<hex> as id; 1 of 2 do not.*photo_1"),
        ("image_id", "image_0b", r"must not repeat image_id, got 'image_0b' again"),
        ("sha256", "0", r"needs a sha256 of 64 hex digits; 1 of 2"),
    ],
)
def test_bad_galleries_are_refused(folder, column, value, message):
    gallery = read_gallery(folder, max_pixels=1000)
    gallery.loc[0, column] = value
    with pytest.raises(ValueError, match=message):
        check_gallery(gallery)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (QUERIES.drop(columns="text"), r"queries needs the columns text; it has not"),
        (QUERIES.head(0), r"queries must have at least one row"),
        (QUERIES.assign(query_id="q_00001"), r"must not repeat query_id, got 'q_00001' again"),
        (QUERIES.assign(query_id=["q1", "q_2"]), r"needs a q_<digits> as id; 1 of 2 do not"),
        (QUERIES.assign(text=["a", " "]), r"needs a text that is not blank; 1 of 2 do not"),
        (QUERIES.assign(text=["a", None]), r"needs a text that is not blank; 1 of 2 do not"),
    ],
)
def test_bad_queries_are_refused(table, message):
    with pytest.raises(ValueError, match=message):
        check_queries(table)


def test_a_challenge_becomes_the_tables_of_a_test_split(folder):
    check_queries(QUERIES)
    gallery = read_gallery(folder, max_pixels=1000)
    images, captions, regions, relations = retrieval_tables(gallery, QUERIES)
    check_images(images)
    check_captions(captions)
    check_regions(regions)
    check_relations(relations)
    assert images["image_id"].tolist() == gallery["image_id"].tolist()
    assert captions["caption_id"].tolist() == ["q_00002", "q_00001"]
    assert set(images["split"]) == set(captions["split"]) == {"test"}
    assert (len(regions), len(relations)) == (0, 0)
