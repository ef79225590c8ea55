"""Nothing that a user can hand in is ever unpickled."""

import ast
import pickle
import shutil
from pathlib import Path

import pytest

import aquatint
from aquatint.io.checkpoints import CheckpointDataset
from aquatint.models.backbone import Backbone
from aquatint.storage import publish_folder

SOURCES = sorted(Path(aquatint.__file__).parent.rglob("*.py"))


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, target):
        self.target = str(target)

    def __reduce__(self):
        return (Path.touch, (Path(self.target),))


@pytest.fixture
def payload(tmp_path):
    marker = tmp_path / "it ran"
    content = pickle.dumps(Payload(marker))
    pickle.loads(content)  # noqa: S301 - made two lines above
    assert marker.exists(), "the payload works"
    marker.unlink()
    return content, marker


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.safetensors"])
def test_a_backbone_with_pickled_weights_is_refused_unread(pocket_folder, tmp_path, payload, name):
    folder = tmp_path / "backbone"
    shutil.copytree(pocket_folder, folder)
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(payload[0])
    with pytest.raises((FileNotFoundError, ValueError), match=r"safetensors|cannot be read"):
        Backbone(str(folder), "x", "pocket").load()
    assert not payload[1].exists()


def test_a_checkpoint_with_pickled_weights_is_refused_unread(tmp_path, payload):
    folder = tmp_path / "checkpoint"
    publish_folder(
        folder, lambda path: (path / "weights.safetensors").write_bytes(payload[0]), {"lineage": {}}
    )
    with pytest.raises(Exception, match=r"(?i)header"):
        CheckpointDataset(filepath=str(folder)).load()
    assert not payload[1].exists()


def test_no_source_unpickles_or_runs_text():
    """``torch.load`` reads tensors alone, and one file: PiDiNet was published as no other."""
    assert len(SOURCES) > 100
    forbidden = {"load": {"pickle", "torch", "joblib", "dill"}, "loads": {"pickle", "dill"}}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                owner = getattr(node.func.value, "id", "")
                if owner == "torch" and node.func.attr == "load" and path.name == "pidinet.py":
                    given = {word.arg: getattr(word.value, "value", None) for word in node.keywords}
                    assert given.get("weights_only") is True, path
                    continue
                assert owner not in forbidden.get(node.func.attr, set()), f"{path}: {owner}"
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in {"eval", "exec"}, path
