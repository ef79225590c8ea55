"""What runs of tests remember is what they would read, and not what their readers make of it."""

import shutil

import pytest
import torch

from aquatint.config_loader import ConfigLoader
from aquatint.pipeline_registry import register_pipelines
from aquatint.settings import CONFIG_LOADER_ARGS
from project_runs import PROJECT
from remembered import KEYS, LOAD, load_once, read_once, remembering

CHANGES = {"two_stage": {"stage1": {"train": {"epochs": 5}}}}


def loader(root, conf=PROJECT / "conf", env="test", **params):
    runtime = {"data_root": str(root), **params}
    return ConfigLoader(str(conf), env, runtime, **CONFIG_LOADER_ARGS)


@pytest.fixture
def conf(tmp_path):
    for env in ("base", "test"):
        (tmp_path / env).mkdir()
    (tmp_path / "base" / "parameters.yml").write_text("a: {b: 1, c: [1, 2]}")
    return tmp_path


@pytest.mark.parametrize("key", KEYS)
def test_what_is_remembered_is_what_another_data_root_would_read(key, tmp_path):
    first, second = tmp_path / "first", tmp_path / "données [2]"
    assert str(first) in str(read_once(loader(first, **CHANGES), key))
    assert read_once(loader(second, **CHANGES), key) == loader(second, **CHANGES)[key]


def test_other_values_on_the_command_line_are_read(conf):
    assert read_once(loader("/data", conf), "parameters")["a"]["b"] == 1
    changed = read_once(loader("/data", conf, a={"b": 2}), "parameters")
    assert changed == {"a": {"b": 2, "c": [1, 2]}, "data_root": "/data"}


def test_changed_new_and_removed_files_are_read(conf):
    def read():
        return read_once(loader("/data", conf), "parameters")["a"]["b"]

    assert read() == 1
    (conf / "base" / "parameters.yml").write_text("a: {b: 22}")
    assert read() == 22
    (conf / "test" / "parameters.yml").write_text("a: {b: 3}")
    assert read() == 3
    (conf / "test" / "parameters.yml").unlink()
    assert read() == 22


def test_another_environment_is_read(conf):
    (conf / "test" / "parameters.yml").write_text("a: {b: 3}")
    found = [read_once(loader("/data", conf, env), "parameters")["a"]["b"]
             for env in ("test", "base")]  # fmt: skip
    assert found == [3, 1]


def test_what_a_reader_changes_is_nobody_elses(conf):
    read_once(loader("/data", conf), "parameters")["a"]["c"].append(3)
    assert read_once(loader("/data", conf), "parameters")["a"]["c"] == [1, 2]


def test_remembered_pipelines_are_the_registered_ones():
    registered = register_pipelines()
    with remembering():
        from aquatint.pipeline_registry import register_pipelines as remembered

        found = [remembered(), remembered()]
    assert found[0] == found[1]
    assert found[0] is not found[1]
    assert {name: pipeline.describe() for name, pipeline in found[0].items()} == {
        name: pipeline.describe() for name, pipeline in registered.items()
    }


def test_a_backbone_is_a_copy_of_what_its_files_hold(pocket_folder):
    expected = LOAD(pocket_folder, "cpu", "float32")
    for _ in range(2):
        found = load_once(pocket_folder, "cpu", "float32")
        assert type(found) is type(expected)
        assert not found.training
        assert not any(parameter.requires_grad for parameter in found.parameters())
        assert found.config.to_dict() == expected.config.to_dict()
        tensors, wanted = found.state_dict(), expected.state_dict()
        assert tensors.keys() == wanted.keys()
        assert all(torch.equal(tensors[name], tensor) for name, tensor in wanted.items())
        for parameter in found.parameters():
            parameter.data.zero_()


def test_changed_files_of_a_backbone_are_loaded(pocket_folder, tmp_path):
    folder = tmp_path / "pocket"
    shutil.copytree(pocket_folder, folder)
    model = load_once(folder, "cpu", "float32")
    model.lm_head.weight.data += 1
    model.save_pretrained(folder)
    changed = load_once(folder, "cpu", "float32")
    assert torch.equal(changed.lm_head.weight, model.lm_head.weight)
    (folder / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError):
        load_once(folder, "cpu", "float32")
