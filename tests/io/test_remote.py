"""Artefacts on object stores: complete or absent, whatever happens to an upload."""

import shutil

import fsspec
import numpy as np
import pytest
import torch
from kedro.io.core import DatasetError, Version

from aquatint.features.cache import FeatureStore, build_cache
from aquatint.io.checkpoints import CheckpointDataset
from aquatint.io.folders import FolderDataset
from aquatint.io.records import RecordDataset
from aquatint.remote import CACHE_VARIABLE
from aquatint.storage import DamagedArtefactError
from aquatint.training.checkpoint import Checkpoint
from project_runs import PROJECT, open_catalog, run_project

CHECKPOINT = Checkpoint({"w": torch.arange(6.0).view(2, 3)}, {"width": 3}, {"stage": "stage1"})


@pytest.fixture(params=["memory", "file"])
def url(request, tmp_path):
    """A remote root: in memory, or a folder that stands for another host's."""
    root = "memory://bucket/data" if request.param == "memory" else f"file://{tmp_path}/bucket"
    yield root
    system, path = fsspec.core.url_to_fs(root)
    if system.exists(path):
        system.rm(path, recursive=True)


@pytest.fixture
def hosts(tmp_path, monkeypatch):
    """Switch to the cache folder of another host."""

    def switch(name):
        monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "hosts" / name))

    switch("first")
    return switch


def checkpoints(url, save="2026-01-01T00.00.00.000Z", load=None):
    return CheckpointDataset(filepath=f"{url}/checkpoint", version=Version(load, save))


def remote_files(url):
    system, path = fsspec.core.url_to_fs(url)
    return system, [f"/{name.lstrip('/')}" for name in system.find(path)]


def test_another_host_loads_what_one_has_saved(url, hosts):
    checkpoints(url).save(CHECKPOINT)
    hosts("second")
    found = checkpoints(url, save="2026-01-02T00.00.00.000Z")
    assert found.exists()
    assert found.load().digest == CHECKPOINT.digest
    assert found.place.startswith(url)


def test_the_newest_version_is_loaded_and_an_older_one_can_be_pinned(url, hosts):
    versions = ("2026-01-01T00.00.00.000Z", "2026-01-02T00.00.00.000Z")
    for number, version in enumerate(versions):
        weights = {"w": torch.full((2,), float(number))}
        checkpoints(url, save=version).save(Checkpoint(weights, {}))
    hosts("second")
    assert checkpoints(url, save="2026-01-03T00.00.00.000Z").load().weights["w"][0] == 1
    assert checkpoints(url, load=versions[0]).load().weights["w"][0] == 0


@pytest.mark.parametrize("num_uploads", range(3))
def test_an_upload_that_fails_in_the_middle_is_never_loaded(num_uploads, url, hosts, monkeypatch):
    system, _ = fsspec.core.url_to_fs(url)
    original, done = type(system).put_file, []

    def fail(self, *arguments, **options):
        if len(done) == num_uploads:
            raise OSError("connection lost")
        done.append(arguments)
        return original(self, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(type(system), "put_file", fail)
        with pytest.raises((OSError, DatasetError), match="connection lost"):
            checkpoints(url).save(CHECKPOINT)
    assert len(done) == num_uploads
    for host in ("first", "second"):
        hosts(host)
        assert not checkpoints(url).exists()
        with pytest.raises(DatasetError):
            checkpoints(url, save="2026-01-02T00.00.00.000Z").load()
    hosts("first")
    later = checkpoints(url, save="2026-01-03T00.00.00.000Z")
    later.save(CHECKPOINT)
    assert later.load().digest == CHECKPOINT.digest


def test_a_file_altered_in_the_store_is_refused(url, hosts):
    checkpoints(url).save(CHECKPOINT)
    system, files = remote_files(url)
    [weights] = [name for name in files if name.endswith("weights.safetensors")]
    system.pipe_file(weights, system.cat_file(weights)[:-1] + b"x")
    hosts("second")
    with pytest.raises((DamagedArtefactError, DatasetError), match=r"weights\.safetensors"):
        checkpoints(url).load()


def test_a_file_is_replaced_for_all_hosts_and_keeps_its_provenance(url, hosts):
    for number in range(2):
        record = RecordDataset(filepath=f"{url}/record.json")
        record.save({"value": number})
        record.write_provenance({"fingerprint": f"print-{number}"})
        if number == 0:
            hosts("second")
            assert RecordDataset(filepath=f"{url}/record.json").load() == {"value": 0}
            hosts("first")
    hosts("second")
    found = RecordDataset(filepath=f"{url}/record.json")
    assert found.load() == {"value": 1}
    kept = found.read_provenance()
    assert kept["fingerprint"] == "print-1"
    assert not kept["is_altered"]
    assert not [name for name in remote_files(url)[1] if ".tmp-" in name]


def test_features_computed_on_one_host_are_found_on_another(url, hosts):
    store, keys = FeatureStore(f"{url}/cache", 1), [f"key-{i}" for i in range(10)]
    computed = []

    def compute(rows):
        computed.extend(rows)
        return np.array(rows, dtype=np.float32)[:, None]

    first = build_cache(store, {"kind": "x"}, keys[:6], compute, shard_size=4)
    hosts("second")
    again = build_cache(store, {"kind": "x"}, keys, compute, shard_size=4)
    assert sorted(computed) == list(range(10)), "each of them once"
    hosts("third")
    assert first.folder == again.folder
    reader = again.open()
    assert reader.read(reader.places(keys))[:, 0].tolist() == list(range(10))


def test_a_shard_without_its_manifest_is_computed_again(url, hosts):
    store, keys = FeatureStore(f"{url}/cache", 1), ["a", "b"]

    def compute(rows):
        return np.array(rows, dtype=np.float32)[:, None]

    build_cache(store, {"kind": "x"}, keys, compute)
    system, files = remote_files(url)
    system.rm([name for name in files if name.endswith("manifest.json")][0])
    hosts("second")
    reader = build_cache(store, {"kind": "x"}, keys, compute).open()
    assert reader.read(reader.places(keys)).tolist() == [[0.0], [1.0]]
    assert any(name.endswith("manifest.json") for name in remote_files(url)[1])


def test_a_shard_altered_in_the_store_is_refused(url, hosts):
    store = FeatureStore(f"{url}/cache", 1)
    cache = build_cache(store, {"kind": "x"}, ["a"], lambda rows: np.ones((1, 2), np.float32))
    system, files = remote_files(url)
    [data] = [name for name in files if name.endswith("data.npy")]
    system.pipe_file(data, system.cat_file(data)[:-1] + b"x")
    hosts("second")
    with pytest.raises(DamagedArtefactError, match=r"data\.npy"):
        cache.open()


def test_folders_of_a_remote_project_lie_in_the_hosts_own_cache(hosts, tmp_path):
    cache = tmp_path / "hosts" / "first" / "memory" / "bucket" / "run"
    catalog = open_catalog("memory://bucket/run")
    entries = {name: catalog.get(name) for name in catalog}
    folders = {n: e.folder for n, e in entries.items() if isinstance(e, FolderDataset)}
    assert len(folders) > 10
    assert not {n: f for n, f in folders.items() if not f.is_relative_to(cache)}


@pytest.mark.slow
def test_a_whole_run_on_an_object_store_gives_the_same_checkpoints(finished, hosts, tmp_path):
    root = "memory://bucket/run"
    # The embedded inputs are rendered on each host; here they are the finished run's.
    shutil.copytree(
        finished / "01_raw", tmp_path / "hosts" / "first" / "memory" / "bucket" / "run" / "01_raw"
    )
    run_project(root)
    assert not list(PROJECT.glob("*:")), "a URL was taken for a path"
    assert run_project(root, only_missing=True) == set()
    hosts("second")
    found, expected = open_catalog(root), open_catalog(finished)
    for part in ("stage1", "stage2", "baseline"):
        name = f"two_stage.{part}.checkpoint"
        assert found.load(name).digest == expected.load(name).digest, part
    assert found.load("two_stage.stage2.metrics") == expected.load("two_stage.stage2.metrics")
