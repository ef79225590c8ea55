import json
from pathlib import Path

import pytest
from kedro.io.core import DatasetError

from aquatint.data.image_files import inspect_image
from aquatint.data.robosense import list_images, read_queries
from aquatint.io.robosense import RoboSenseFolderDataset, RoboSenseWorldDataset
from aquatint.io.world import GeoTextWorldDataset

WORLD = {
    "num_train_buildings": 1,
    "num_test_buildings": 3,
    "views_per_building": 2,
    "size_px": 32,
    "seed": 5,
}


@pytest.fixture(scope="module")
def world_root(tmp_path_factory):
    """Folder below which the world is rendered once for all tests."""
    root = tmp_path_factory.mktemp("geotext")
    GeoTextWorldDataset(filepath=str(root), world=WORLD).load()
    return root


def open_challenge(world_root, tmp_path, **world):
    return RoboSenseWorldDataset(
        filepath=str(tmp_path), geotext_filepath=str(world_root), world={**WORLD, **world}
    )


def test_a_challenge_holds_every_test_image_and_one_query_for_each(world_root, tmp_path):
    challenge = open_challenge(world_root, tmp_path).load()
    queries = read_queries(Path(challenge.query_file))
    images = list_images(Path(challenge.image_root))
    assert queries["query_id"].tolist() == [f"q_{number:05d}" for number in range(1, 7)]
    assert len(images) == 6
    source = GeoTextWorldDataset(filepath=str(world_root), world=WORLD).load()
    records = json.loads(Path(source.test_file).read_text())
    assert queries["text"].tolist() == [record["caption"][0] for record in records]
    digests = [
        {inspect_image(Path(root).resolve(), path, 10**6).sha256 for path in paths}
        for root, paths in (
            (challenge.image_root, images["path"]),
            (source.image_root, [record["image"] for record in records]),
        )
    ]
    assert digests[0] == digests[1]
    assert len(digests[0]) == 6


def test_the_order_of_the_images_does_not_tell_the_answers(world_root, tmp_path):
    challenge = open_challenge(world_root, tmp_path).load()
    source = GeoTextWorldDataset(filepath=str(world_root), world=WORLD).load()
    records = json.loads(Path(source.test_file).read_text())
    in_order = [(Path(source.image_root) / record["image"]).read_bytes() for record in records]
    listed = [
        (Path(challenge.image_root) / path).read_bytes()
        for path in list_images(Path(challenge.image_root))["path"]
    ]
    assert sorted(listed) == sorted(in_order)
    assert listed != in_order


def test_a_challenge_is_laid_out_once_for_each_world(world_root, tmp_path):
    first = open_challenge(world_root, tmp_path).load()
    written = Path(first.query_file).stat().st_mtime_ns
    assert open_challenge(world_root, tmp_path).load() == first
    assert Path(first.query_file).stat().st_mtime_ns == written
    assert open_challenge(world_root, tmp_path, seed=6).folder != Path(first.query_file).parent


def test_an_interrupted_layout_leaves_nothing(world_root, tmp_path, monkeypatch):
    def fail(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("aquatint.io.robosense.shutil.copyfile", fail)
        with pytest.raises(KeyboardInterrupt):
            open_challenge(world_root, tmp_path / "raw").load()
    assert list((tmp_path / "raw").iterdir()) == []
    assert Path(open_challenge(world_root, tmp_path / "raw").load().query_file).is_file()


def test_a_folder_that_was_not_written_to_its_end_is_not_handed_out(world_root, tmp_path):
    challenge = open_challenge(world_root, tmp_path).load()
    (Path(challenge.query_file).parent / "manifest.json").unlink()
    with pytest.raises(DatasetError, match=r"never overwritten, but .*challenge_\w+ exists"):
        open_challenge(world_root, tmp_path).load()


def test_the_organisers_folder_is_handed_out(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "test_queries.txt").write_text("q_00001\ta road\n")
    folder = RoboSenseFolderDataset(filepath=str(tmp_path)).load()
    assert folder.query_file == str(tmp_path / "test_queries.txt")
    assert folder.image_root == str(tmp_path / "images")


@pytest.mark.parametrize("missing", ["images", "test_queries.txt"])
def test_what_is_missing_from_a_folder_is_named(tmp_path, missing):
    if missing != "images":
        (tmp_path / "images").mkdir()
    else:
        (tmp_path / "test_queries.txt").write_text("q_00001\ta road\n")
    with pytest.raises(DatasetError, match=rf"missing: \S*{missing}\. Point filepath"):
        RoboSenseFolderDataset(filepath=str(tmp_path)).load()
