"""Folders in the catalog: a missing one is named, with the entry that points at it."""

import pytest
from kedro.io.core import DatasetError

from aquatint.io.folders import FeatureStoreDataset, GeoTextFolderDataset, TrainingStateDataset
from aquatint.io.world import GeoTextWorldDataset

TINY = {
    "num_train_buildings": 2,
    "num_test_buildings": 1,
    "views_per_building": 1,
    "size_px": 32,
    "seed": 3,
    "has_flaws": False,
}


def test_a_missing_folder_names_every_path_and_the_way_out(tmp_path):
    dataset = GeoTextFolderDataset(filepath=str(tmp_path / "nowhere"))
    with pytest.raises(DatasetError, match=r"missing: .*train\.json.*your_data\.md"):
        dataset.load()


def test_a_missing_test_file_alone_is_named(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "train.json").write_text("[]")
    dataset = GeoTextFolderDataset(filepath=str(tmp_path), test_file="mine.json")
    with pytest.raises(DatasetError, match=r"missing: \S*mine\.json\."):
        dataset.load()


def test_a_folder_is_handed_out_with_its_own_file_names(tmp_path):
    (tmp_path / "photos").mkdir()
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_text("[]")
    dataset = GeoTextFolderDataset(
        filepath=str(tmp_path), train_file="a.json", test_file="b.json", image_folder="photos"
    )
    folder = dataset.load()
    assert folder.test_file == str(tmp_path / "b.json")
    assert folder.image_root == str(tmp_path / "photos")


def test_the_content_digest_follows_annotations_and_images(tmp_path):
    (tmp_path / "images").mkdir()
    for name in ("train.json", "test_951_version.json"):
        (tmp_path / name).write_text("[]")
    dataset = GeoTextFolderDataset(filepath=str(tmp_path))
    first = dataset.content_digest
    assert dataset.content_digest == first
    (tmp_path / "train.json").write_text("[ ]")
    second = dataset.content_digest
    (tmp_path / "images" / "new.jpeg").write_bytes(b"x")
    assert len({first, second, dataset.content_digest}) == 3


def test_the_world_renders_itself_once(tmp_path):
    dataset = GeoTextWorldDataset(filepath=str(tmp_path), world=TINY)
    first = dataset.load()
    written = [path.stat().st_mtime_ns for path in tmp_path.rglob("*.jpeg")]
    assert len(written) == 3
    assert GeoTextWorldDataset(filepath=str(tmp_path), world=TINY).load() == first
    assert [path.stat().st_mtime_ns for path in tmp_path.rglob("*.jpeg")] == written


def test_another_world_is_another_folder(tmp_path):
    places = {
        GeoTextWorldDataset(filepath=str(tmp_path), world={**TINY, "seed": seed}).folder
        for seed in (1, 2)
    }
    assert len(places) == 2


def test_inputs_cannot_be_saved(tmp_path):
    for dataset in (
        FeatureStoreDataset(filepath=str(tmp_path), max_gigabytes=1),
        TrainingStateDataset(filepath=str(tmp_path)),
    ):
        with pytest.raises(DatasetError, match="is an input"):
            dataset.save(1)
