"""The written folder has GeoText-1652's layout, its faults, and appears only when complete."""

import json

import pytest
from PIL import Image

from aquatint.world import geotext
from aquatint.world.geotext import GeoTextWorldSpec, is_complete, write_geotext

SPEC = GeoTextWorldSpec(
    num_train_buildings=3, num_test_buildings=5, views_per_building=2, size_px=32, seed=7
)
FILES = ("train.json", "test_951_version.json", "test_24G_version.json")


def read(folder, name):
    return json.loads((folder / name).read_text())


def read_tree(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world") / "geotext"
    write_geotext(folder, SPEC, num_processes=1)
    return folder


@pytest.fixture(scope="module")
def sound_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world") / "sound"
    write_geotext(folder, GeoTextWorldSpec(1, 1, 2, 32, 7, has_flaws=False), num_processes=1)
    return folder


@pytest.fixture(scope="module")
def flaws(folder):
    return {flaw["kind"]: flaw for flaw in read(folder, "world.json")["flaws"]}


def of_image(records, flaw):
    return [record for record in records if record["image_id"] == flaw["image_id"]]


def test_fields_and_types(folder):
    for name in FILES:
        for record in read(folder, name):
            assert list(record) == ["image_id", "image", "caption", "sentences", "bboxes"]
            building, file_name = record["image_id"].split("/")
            assert len(building) == 4
            assert building.isdigit()
            assert file_name.endswith(".jpeg")
            assert record["image"].endswith(f"/{record['image_id']}")
            assert len(record["sentences"]) == len(record["bboxes"]) == 3
            for sentence, box in zip(record["sentences"], record["bboxes"], strict=True):
                assert sentence is None or sentence.endswith(".")
                assert box is None or len(box) == 4
                assert sentence is not None or box is None


def test_train_has_one_caption_and_test_has_three(folder):
    assert all(isinstance(record["caption"], str) for record in read(folder, "train.json"))
    for record in read(folder, "test_951_version.json"):
        assert isinstance(record["caption"], list)
        assert len(set(record["caption"])) == 3


def test_sound_folder_is_sound(sound_folder):
    assert read(sound_folder, "world.json")["flaws"] == []
    records = read(sound_folder, "train.json")
    assert len(records) == 2 * 3
    assert len({(record["image_id"], record["caption"]) for record in records}) == 6
    for record in (*records, *read(sound_folder, "test_951_version.json")):
        image = Image.open(sound_folder / "images" / record["image"])
        image.load()
        assert image.size == (32, 32)
        for box in record["bboxes"]:
            if box is not None:
                cx, cy, width, height = box
                assert min(cx - width / 2, cy - height / 2) > -1e-4
                assert max(cx + width / 2, cy + height / 2) < 1 + 1e-4


def test_paths_lead_to_images(folder, flaws):
    train, test = read(folder, "train.json"), read(folder, "test_951_version.json")
    assert all(record["image"].startswith("train/") for record in train)
    assert all(record["image"].startswith("test/gallery_no_train/") for record in test)
    missing = {
        record["image_id"]
        for record in (*train, *test)
        if not (folder / "images" / record["image"]).is_file()
    }
    assert missing == {flaws["missing_image"]["image_id"]}


def test_splits_share_no_building(folder):
    buildings = [{record["image_id"][:4] for record in read(folder, name)} for name in FILES]
    assert len(buildings[0]) == SPEC.num_train_buildings
    assert len(buildings[1]) == SPEC.num_test_buildings
    assert not buildings[0] & buildings[1]
    assert buildings[2] == {min(buildings[1])}


def test_small_test_file_is_a_part_of_the_full_one(folder):
    full = read(folder, "test_951_version.json")
    assert read(folder, "test_24G_version.json") == full[: SPEC.views_per_building]


def test_flaws_are_where_the_list_says(folder, flaws):
    train = read(folder, "train.json")
    expected = {
        "null_region",
        "box_out_of_range",
        "duplicate_record",
        "empty_caption",
        "missing_image",
        "truncated_image",
        "null_box",
    }
    assert set(flaws) == expected
    assert all(record["bboxes"][1] is None for record in of_image(train, flaws["null_region"]))
    assert all(
        record["bboxes"][0][2] > 1.5 for record in of_image(train, flaws["box_out_of_range"])
    )
    twins = of_image(train, flaws["duplicate_record"])
    assert any(twins.count(record) == 2 for record in twins)
    assert [r["caption"] for r in of_image(train, flaws["empty_caption"])].count("") == 1
    tests = of_image(read(folder, "test_951_version.json"), flaws["null_box"])
    assert [(r["bboxes"][0], r["sentences"][0] is None) for r in tests] == [(None, False)]


def test_truncated_image_cannot_be_read(folder, flaws):
    path = folder / "images" / "train" / flaws["truncated_image"]["image_id"]
    with pytest.raises(OSError, match="truncated"), Image.open(path) as image:
        image.load()


def test_result_does_not_depend_on_the_number_of_processes(folder, tmp_path):
    write_geotext(tmp_path / "geotext", SPEC, num_processes=2)

    assert read_tree(tmp_path / "geotext") == read_tree(folder)


def test_completeness_names_the_spec(folder, tmp_path):
    other = GeoTextWorldSpec(3, 5, 2, 32, 8)
    assert is_complete(folder)
    assert is_complete(folder, SPEC)
    assert not is_complete(folder, other)
    assert not is_complete(tmp_path)


def test_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(path, content):
        raise KeyboardInterrupt

    monkeypatch.setattr(geotext, "_write_json", interrupt)
    spec = GeoTextWorldSpec(1, 1, 1, 16, 0)
    with pytest.raises(KeyboardInterrupt):
        write_geotext(tmp_path / "geotext", spec, num_processes=1)

    assert list(tmp_path.iterdir()) == []


def test_earlier_result_is_replaced_and_foreign_files_are_not(tmp_path):
    folder = tmp_path / "geotext"
    folder.mkdir()
    (folder / "photo.jpeg").write_bytes(b"mine")
    with pytest.raises(ValueError, match="move it away"):
        write_geotext(folder, GeoTextWorldSpec(1, 1, 1, 16, 0), num_processes=1)
    assert (folder / "photo.jpeg").read_bytes() == b"mine"

    (folder / "photo.jpeg").rename(folder / ".gitkeep")
    for seed in (0, 1):
        spec = GeoTextWorldSpec(1, 1, 1, 16, seed)
        write_geotext(folder, spec, num_processes=1)
        assert is_complete(folder, spec)
    assert [path.name for path in tmp_path.iterdir()] == ["geotext"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((0, 1, 1, 16, 0), "num_train_buildings must be at least 1, not 0"),
        ((1, 1, 1, 16, -1), "seed must be at least 0, not -1"),
        ((9000, 1000, 1, 16, 0), "10000 buildings exceed"),
    ],
)
def test_impossible_specs_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        GeoTextWorldSpec(*values)
