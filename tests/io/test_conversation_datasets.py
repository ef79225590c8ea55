"""Catalog entries of covt: worlds, own files, teachers, targets and maps."""

import numpy as np
import pytest
from kedro.io.core import DatasetError

from aquatint.features.anchors import AnchorTargets
from aquatint.features.cache import FeatureCache
from aquatint.io.conversations import (
    AnchorTargetsDataset,
    ConversationsDataset,
    ImageQuestionsDataset,
    TeachersDataset,
    VisualWorldDataset,
    VisualWorldQuestionsDataset,
)
from aquatint.io.maps import MapsDataset
from aquatint.models.teacher_source import TeacherSource

WORLD = {"num_scenes": 2, "views_per_scene": 1, "questions_per_image": 2, "num_new_images": 1,
         "size_px": 48, "seed": 0}  # fmt: skip


def test_the_world_writes_itself_once_and_all_three_layouts(tmp_path):
    dataset = VisualWorldDataset(filepath=str(tmp_path), world=WORLD)
    files = dataset.load()
    stamp = (tmp_path / dataset.folder.name / "world.json").stat().st_mtime_ns
    assert [name.rpartition(".")[2] for name in files.files] == ["json", "jsonl", "parquet"]
    assert files.truth_root
    dataset.load()
    assert (tmp_path / dataset.folder.name / "world.json").stat().st_mtime_ns == stamp
    asked = VisualWorldQuestionsDataset(filepath=str(tmp_path), world=WORLD).load()
    assert asked.questions_file.startswith(str(dataset.folder))
    with pytest.raises(DatasetError):
        dataset.save(None)


def test_own_files_take_the_worlds_place(tmp_path):
    (tmp_path / "mine.json").write_text("[]")
    own = {"data_path": str(tmp_path / "mine.json"), "image_folder": str(tmp_path)}
    found = VisualWorldDataset(filepath=str(tmp_path / "w"), world=WORLD, **own).load()
    assert found == ConversationsDataset(**own).load()
    assert found.truth_root == ""
    assert not (tmp_path / "w").exists(), "nothing is rendered"


def test_missing_files_are_named_with_the_way_out(tmp_path):
    dataset = ConversationsDataset(
        data_path=f"{tmp_path}/a.json,{tmp_path}/b.jsonl", image_folder=f"{tmp_path}/images"
    )
    with pytest.raises(DatasetError, match=r"a\.json.*b\.jsonl.*images.*covt\.data_path"):
        dataset.load()
    with pytest.raises(DatasetError, match="questions.json"):
        ImageQuestionsDataset(filepath=str(tmp_path)).load()


def test_a_changed_file_changes_the_digest(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("[]")
    dataset = ConversationsDataset(data_path=str(path), image_folder=str(tmp_path / "images"))
    before = dataset.content_digest
    path.write_text("[ ]")
    assert dataset.content_digest != before


def test_teachers_are_found_by_source(tmp_path):
    (tmp_path / "weights.pth").write_bytes(b"x")
    found = TeachersDataset(
        teachers={
            "sam": {"source": "world"},
            "pidinet": {"source": "folder", "filepath": str(tmp_path / "weights.pth")},
        }
    ).load()
    assert found["sam"] == TeacherSource("sam", "world")
    assert len(found["pidinet"].digest) == 64
    with pytest.raises(DatasetError, match="must be of sam.*got sd"):
        TeachersDataset(teachers={"sd": {"source": "world"}})
    with pytest.raises(DatasetError, match="missing"):
        TeachersDataset(teachers={"sam": {"source": "folder", "filepath": "/none"}}).load()
    with pytest.raises(DatasetError, match="world, folder or hub"):
        TeachersDataset(teachers={"sam": {"source": "cloud"}}).load()
    with pytest.raises(DatasetError, match="full commit hash"):
        TeachersDataset(
            teachers={"sam": {"source": "hub", "repo_id": "a/b", "revision": "main"}}
        ).load()


def test_targets_and_maps_come_back_as_they_were_saved(tmp_path):
    cache = FeatureCache("folder", {"kind": "x"}, 3)
    shape = {"name": "dino", "target": [5, 4], "context": [], "prompt_width": 0, "offset": 0.0,
             "scale": 1.0}  # fmt: skip
    targets = AnchorTargets(
        {"dino": cache}, {}, {"dino": shape}, {"dino": {"seconds": 1.0}},
        {"dino": TeacherSource("dino", "world")},
    )  # fmt: skip
    dataset = AnchorTargetsDataset(filepath=str(tmp_path / "targets.json"))
    dataset.save(targets)
    assert dataset.load() == targets
    assert targets.shape_of(["dino"])["dino"].target == (5, 4)
    with pytest.raises(ValueError, match="no targets of sam"):
        targets.shape_of(["sam"])
    maps = {"scene/1#0": {"sam": np.ones((8, 6, 6), np.float16), "depth": np.eye(6)}}
    entry = MapsDataset(filepath=str(tmp_path / "maps"))
    entry.save(maps)
    found = entry.load()
    assert list(found) == list(maps)
    assert np.array_equal(found["scene/1#0"]["sam"], maps["scene/1#0"]["sam"])
    names = {path.name for path in (tmp_path / "maps").iterdir()}
    assert {"0000.npz", "0000_sam.png", "0000_depth.png", "samples.json"} <= names
