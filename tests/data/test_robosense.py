import pytest
from geotext_fixture import write_image

from aquatint.data.robosense import (
    format_submission,
    list_images,
    read_queries,
    validate_submission,
)

IMAGES = [f"image_{number:04x}" for number in range(15)]
QUERIES = ["q_00001", "q_00002", "q_00010"]
RANKED = [IMAGES[:10], IMAGES[5:], IMAGES[9::-1]]


def test_queries_are_read_in_order(tmp_path):
    path = tmp_path / "test_queries.txt"
    path.write_text("q_00002\tA red roof, left. \nq_00001\tЗдание\n", encoding="utf-8")
    queries = read_queries(path)
    assert queries.to_dict("list") == {
        "query_id": ["q_00002", "q_00001"],
        "text": ["A red roof, left.", "Здание"],
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("q_00001\ta\nq_00002 b\n", r"line 2 must be q_<digits><TAB>text, got 'q_00002 b'"),
        ("q00001\ta\n", r"line 1 must be q_<digits>"),
        ("q_00001\ta\n\nq_00002\tb\n", r"line 2 must be q_<digits><TAB>text, got ''"),
        ("q_00001\ta\nq_00001\tb\n", r"line 2 must not repeat a query, got q_00001"),
        ("q_00001\t \n", r"line 1: query q_00001 must not be empty"),
        ("", r"holds no queries"),
    ],
)
def test_bad_query_files_are_refused(tmp_path, content, message):
    path = tmp_path / "test_queries.txt"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_queries(path)


def test_images_are_listed_sorted(tmp_path):
    for name in ("image_b2.jpeg", "image_0a.jpeg"):
        write_image(tmp_path / name)
    (tmp_path / ".DS_Store").write_text("")
    images = list_images(tmp_path)
    assert images["image_id"].tolist() == ["image_0a", "image_b2"]
    assert images["path"].tolist() == ["image_0a.jpeg", "image_b2.jpeg"]


@pytest.mark.parametrize("name", ["image_0g.jpeg", "image_0a.png", "photo.jpeg", "notes.txt"])
def test_foreign_files_among_the_images_are_named(tmp_path, name):
    write_image(tmp_path / "image_0a.jpeg")
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(ValueError, match=rf"1 are not, the first: '{name}'"):
        list_images(tmp_path)


def test_missing_or_empty_image_folders_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="must hold the gallery images"):
        list_images(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="holds no images"):
        list_images(tmp_path)


def test_submission_has_eleven_fields_and_short_query_ids():
    text = format_submission(QUERIES, RANKED)
    lines = text.splitlines()
    assert lines[0] == "q1 " + " ".join(IMAGES[:10])
    assert [line.split(" ")[0] for line in lines] == ["q1", "q2", "q10"]
    assert {len(line.split(" ")) for line in lines} == {11}
    assert text.endswith("\n")


def test_a_written_submission_is_valid():
    validate_submission(format_submission(QUERIES, RANKED), QUERIES, IMAGES)


@pytest.mark.parametrize(
    ("ranked", "message"),
    [
        (IMAGES[:9], "q_00001 needs 10 different images, got 9 of which 9 differ"),
        ([*IMAGES[:9], IMAGES[0]], "got 10 of which 9 differ"),
    ],
)
def test_a_query_needs_ten_different_images(ranked, message):
    with pytest.raises(ValueError, match=message):
        format_submission(QUERIES[:1], [ranked])


def test_every_query_needs_its_ranking():
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        format_submission(QUERIES, RANKED[:2])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("image_0003 ", "", "line 1 must have 11 fields separated by single spaces, got 10"),
        ("q2 ", "q2  ", "line 2 must have 11 fields separated by single spaces, got 12"),
        ("q2 ", "q_00002 ", "line 2 must answer q2, in the order of the queries, got 'q_00002'"),
        ("q2 ", "q3 ", "line 2 must answer q2"),
        ("image_0004 ", "image_0004.jpeg ", "line 1 must name images .* got 'image_0004.jpeg'"),
        ("image_0004 ", "image_ffff ", "line 1 must name images of the gallery"),
        ("image_0004 ", "image_0005 ", "line 1 must not name an image twice"),
        ("q10 ", "q10\n", "line 3 must have 11 fields"),
    ],
)
def test_a_wrong_line_is_named(old, new, message):
    text = format_submission(QUERIES, RANKED)
    assert old in text
    with pytest.raises(ValueError, match=message):
        validate_submission(text.replace(old, new, 1), QUERIES, IMAGES)


def test_missing_and_surplus_lines_are_named():
    text = format_submission(QUERIES, RANKED)
    with pytest.raises(ValueError, match="line 3: there must be one line for each of 3 queries"):
        validate_submission("".join(text.splitlines(keepends=True)[:2]), QUERIES, IMAGES)
    with pytest.raises(ValueError, match="line 4: .* got 4 lines"):
        validate_submission(text + "q11\n", QUERIES, IMAGES)
