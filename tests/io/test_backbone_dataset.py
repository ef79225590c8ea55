import json

import pytest
from kedro.io.core import DatasetError

from aquatint.io import backbones
from aquatint.io.backbones import BackboneDataset

REPO, COMMIT = "OpenGVLab/InternVL3-1B-hf", "0123456789abcdef0123456789abcdef01234567"


def write_folder(folder):
    """The least that a handle can be made of: a config and a weight file."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "internvl"}))
    save_file({"lm_head.weight": torch.zeros(2)}, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"source": "disk"}, r"source must be hub, folder or pocket, got 'disk'"),
        ({"source": "hub"}, r"source hub needs repo_id and revision"),
        ({"source": "hub", "repo_id": REPO}, r"source hub needs repo_id and revision"),
        ({"source": "hub", "revision": COMMIT}, r"source hub needs repo_id and revision"),
        ({"source": "folder"}, r"source folder needs filepath"),
        ({"source": "pocket"}, r"source pocket needs filepath and recipe"),
        ({"source": "pocket", "filepath": "x"}, r"source pocket needs filepath and recipe"),
    ],
)
def test_arguments_that_say_too_little_are_refused(arguments, message):
    with pytest.raises(DatasetError, match=message):
        BackboneDataset(**arguments)


@pytest.mark.parametrize("revision", ["main", "fill-in", COMMIT[:7], COMMIT.upper()])
def test_a_revision_that_is_no_full_commit_is_refused_before_the_hub_is_asked(revision):
    dataset = BackboneDataset(source="hub", repo_id=REPO, revision=revision)
    with pytest.raises(DatasetError, match=rf"full commit hash of 40 hex digits, got '{revision}'"):
        dataset.load()


def test_a_hub_that_does_not_answer_names_the_way_out(monkeypatch):
    def refuse(*arguments, **options):
        raise OSError("no route to host")

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    dataset = BackboneDataset(source="hub", repo_id=REPO, revision=COMMIT)
    message = rf"Could not get {REPO} at {COMMIT}.*no route to host.*source: folder"
    with pytest.raises(DatasetError, match=message):
        dataset.load()


def test_a_snapshot_of_the_hub_becomes_a_handle(tmp_path, monkeypatch):
    asked = []

    def download(repo_id, revision):
        asked.append((repo_id, revision))
        return str(tmp_path / "snapshot")

    write_folder(tmp_path / "snapshot")
    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    dataset = BackboneDataset(source="hub", repo_id=REPO, revision=COMMIT, dtype="bfloat16")
    backbone = dataset.load()
    assert asked == [(REPO, COMMIT)]
    assert (backbone.name, backbone.dtype) == (REPO, "bfloat16")
    assert backbone.folder == str(tmp_path / "snapshot")


def test_a_missing_folder_names_the_entry_to_correct(tmp_path):
    dataset = BackboneDataset(source="folder", filepath=str(tmp_path / "nowhere"))
    assert not dataset.exists()
    message = r"nowhere/config\.json is missing.*catalog_backbones\.yml"
    with pytest.raises(DatasetError, match=message):
        dataset.load()


def test_no_node_saves_a_backbone(tmp_path):
    dataset = BackboneDataset(source="folder", filepath=str(write_folder(tmp_path / "a")))
    with pytest.raises(DatasetError, match="A backbone is an input"):
        dataset.save(dataset.load())


def test_content_depends_on_what_is_loaded_and_as_what(tmp_path):
    folder = write_folder(tmp_path / "a")
    digests = {
        BackboneDataset(source="folder", filepath=str(folder), dtype=dtype).content_digest
        for dtype in ("float32", "bfloat16")
    }
    (folder / "config.json").write_text(json.dumps({"model_type": "internvl", "more": 1}))
    digests.add(BackboneDataset(source="folder", filepath=str(folder)).content_digest)
    for revision in (COMMIT, COMMIT[::-1]):
        dataset = BackboneDataset(source="hub", repo_id=REPO, revision=revision)
        digests.add(dataset.content_digest)
    assert len(digests) == 5


def test_an_unchanged_folder_is_hashed_once(tmp_path, monkeypatch):
    folder = write_folder(tmp_path / "a")
    hashed = []
    original = backbones.folder_digest
    monkeypatch.setattr(
        backbones, "folder_digest", lambda path: hashed.append(path) or original(path)
    )
    dataset = BackboneDataset(source="folder", filepath=str(folder))
    assert dataset.load().digest == dataset.load().digest
    assert len(hashed) == 1
    (folder / "config.json").write_text(json.dumps({"model_type": "internvl", "more": 1}))
    dataset.load()
    assert len(hashed) == 2
