import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from kedro.io.core import DatasetError
from PIL import Image

from aquatint.data.geotext import read_geotext
from aquatint.io.airborne import AirborneGeoTextDataset

TILES = {
    "tile_px": 40,
    "min_block_px": 50,
    "tiles_per_edge": 2,
    "min_trees": 1,
    "test_fraction": 0.3,
    "seed": 0,
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An importable package whose import fails, with a photograph of 4 x 2 blocks."""
    folder = tmp_path / "site" / "fakeforest"
    (folder / "data").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('imported')")
    write_photograph(folder / "data", "site_a")
    Image.new("RGB", (50, 50)).save(folder / "data" / "unannotated.png")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return folder


def write_photograph(data: Path, name: str, seed: int = 0, label: str = "Tree") -> None:
    pixels = np.random.default_rng(seed).integers(0, 255, (110, 210, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(data / f"{name}.png")
    boxes = [(x, y, x + 12, y + 12 + seed) for x in range(5, 200, 15) for y in range(5, 95, 20)]
    items = "".join(
        f"<object><name>{label}</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin>"
        f"<xmax>{c}</xmax><ymax>{d}</ymax></bndbox></object>"
        for a, b, c, d in boxes
    )
    (data / f"{name}.xml").write_text(f"<annotation>{items}</annotation>")


def open_dataset(tmp_path, **options):
    arguments = {"filepath": str(tmp_path / "raw"), "tiles": TILES, "package": "fakeforest"}
    return AirborneGeoTextDataset(**{**arguments, **options})


def read_splits(folder, mode="strict"):
    root = Path(folder.image_root)
    files = {"train": folder.train_file, "test": folder.test_file}
    return {split: read_geotext(Path(file), root, split, mode) for split, file in files.items()}


def test_the_photographs_are_written_once_in_geotexts_layout(package, tmp_path):
    dataset = open_dataset(tmp_path)
    folder = dataset.load()
    assert "fakeforest" not in sys.modules
    splits = read_splits(folder)
    assert {split: len(tables.images) for split, tables in splits.items()} == {
        "train": 24,
        "test": 8,
    }
    for tables in splits.values():
        assert tables.rejects.empty
        assert (tables.captions.groupby("image_id").size() == 3).all()
        assert (tables.images[["width", "height"]] == 40).all(axis=None)
    buildings = [set(tables.images["building_id"]) for tables in splits.values()]
    assert [len(names) for names in buildings] == [6, 2]
    assert not buildings[0] & buildings[1]
    written = Path(folder.train_file).stat().st_mtime_ns
    assert open_dataset(tmp_path).load() == folder
    assert Path(folder.train_file).stat().st_mtime_ns == written


def test_records_keep_the_train_and_the_test_layout(package, tmp_path):
    folder = open_dataset(tmp_path).load()
    train, test = (
        json.loads(Path(file).read_text())
        for file in (
            folder.train_file,
            folder.test_file,
        )
    )
    assert len(train) == 72
    assert len(test) == 8
    assert all(isinstance(record["caption"], str) for record in train)
    assert all(len(set(record["caption"])) == 3 for record in test)
    assert {record["image"].split("/")[0] for record in train} == {"train"}
    assert all(record["image"].startswith("test/gallery_no_train/") for record in test)
    assert all(len(record["sentences"]) == len(record["bboxes"]) == 3 for record in train + test)


def test_every_tile_is_a_cutting_of_its_photograph(package, tmp_path):
    folder = open_dataset(tmp_path).load()
    sources = json.loads((Path(folder.train_file).parent / "sources.json").read_text())
    photograph = np.array(Image.open(package / "data" / "site_a.png")).astype(float)
    assert sum(len(source["tiles"]) for source in sources.values()) == 32
    for name, source in sources.items():
        split = "train" if source["split"] == "train" else "test/gallery_no_train"
        for number, (left, top) in enumerate(source["tiles"], start=1):
            path = Path(folder.image_root) / split / name / f"image-{number:02d}.jpeg"
            difference = np.array(Image.open(path)) - photograph[top : top + 40, left : left + 40]
            assert abs(difference.mean()) < 2


@pytest.mark.parametrize("change", ["tiles", "photograph", "annotation"])
def test_another_content_is_another_folder(package, tmp_path, change):
    first = open_dataset(tmp_path).folder
    tiles = TILES
    if change == "tiles":
        tiles = {**TILES, "seed": 1}
    elif change == "photograph":
        Image.new("RGB", (210, 110)).save(package / "data" / "site_a.png")
    else:
        write_photograph(package / "data", "site_a", seed=1)
    assert open_dataset(tmp_path, tiles=tiles).folder != first


def test_tiles_with_too_few_trees_are_left_out(package, tmp_path):
    path = package / "data" / "site_a.xml"
    head, *items = path.read_text().removesuffix("</annotation>").split("<object>")
    left_half = [item for item in items if int(item.split("<xmin>")[1].split("<")[0]) < 90]
    assert 0 < len(left_half) < len(items)
    path.write_text("<object>".join([head, *left_half]) + "</annotation>")
    splits = read_splits(open_dataset(tmp_path).load())
    assert sum(len(tables.images) for tables in splits.values()) == 16


def test_an_interrupted_writing_leaves_nothing(package, tmp_path, monkeypatch):
    def fail(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("aquatint.io.airborne.describe_tile", fail)
        with pytest.raises(KeyboardInterrupt):
            open_dataset(tmp_path).load()
    assert list((tmp_path / "raw").iterdir()) == []
    assert len(read_splits(open_dataset(tmp_path).load())["test"].images) == 8


def test_a_folder_that_was_not_written_to_its_end_is_not_handed_out(package, tmp_path):
    folder = open_dataset(tmp_path).folder
    open_dataset(tmp_path).load()
    (folder / "manifest.json").unlink()
    with pytest.raises(DatasetError, match=r"never overwritten, but .*tiles_\w+ exists"):
        open_dataset(tmp_path).load()


def test_a_missing_package_names_the_way_out(tmp_path):
    message = r"package no_such_forest, which is not installed.*--no-deps deepforest==2\.1\.0"
    with pytest.raises(DatasetError, match=message):
        open_dataset(tmp_path, package="no_such_forest").load()


def test_a_package_without_photographs_is_refused(package, tmp_path):
    (package / "data" / "site_a.png").unlink()
    with pytest.raises(DatasetError, match=r"must hold photographs \(PNG\) with annotations"):
        open_dataset(tmp_path).load()


def test_a_bad_annotation_is_refused_and_leaves_nothing(package, tmp_path):
    write_photograph(package / "data", "site_b", label="Shrub")
    with pytest.raises(DatasetError, match=r"label in site_b\.xml must be one of"):
        open_dataset(tmp_path).load()
    assert list((tmp_path / "raw").iterdir()) == []


def test_photographs_that_give_no_test_building_are_refused(package, tmp_path):
    with pytest.raises(DatasetError, match=r"both splits need a building, got .* 0 test images"):
        open_dataset(tmp_path, tiles={**TILES, "min_block_px": 110}).load()


@pytest.mark.skipif(
    importlib.util.find_spec("deepforest") is None,
    reason="needs pip install --no-deps deepforest==2.1.0",
)
def test_the_real_photographs_give_two_large_splits(tmp_path):
    real = {**TILES, "tile_px": 160, "min_block_px": 200, "min_trees": 2}
    splits = read_splits(open_dataset(tmp_path, package="deepforest", tiles=real).load())
    assert {split: tables.images["building_id"].nunique() for split, tables in splits.items()} == {
        "train": 99,
        "test": 42,
    }
    captions = splits["test"].captions["text"]
    assert captions.nunique() > 300
    assert captions.str.contains("dead tree").any()
    words = set(captions.str.lower().str.findall(r"[a-z]+").sum())
    assert len(words) < 80
    assert "deepforest" not in sys.modules
