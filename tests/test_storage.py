"""Folders are published whole or not at all."""

import errno
import os

import pytest

from aquatint import storage
from aquatint.storage import publish_folder, verify_folder


def write_two(folder):
    (folder / "inner").mkdir()
    (folder / "a").write_bytes(b"1")
    (folder / "inner" / "b").write_bytes(b"22")


def test_every_file_and_folder_is_on_the_disk_before_the_name_is(tmp_path, monkeypatch):
    synced, sync, final = [], storage._sync, tmp_path / "final"

    def note(path):
        has_manifest, is_published = (path / storage.MANIFEST).exists(), final.exists()
        synced.append((path.name, has_manifest, is_published))
        sync(path)

    monkeypatch.setattr(storage, "_sync", note)
    publish_folder(final, write_two)
    *files, folder = [(name, has_manifest) for name, has_manifest, done in synced if not done]
    assert {name for name, _ in files} == {"a", "inner", "b"}
    assert folder[1], "the folder itself last, the manifest's name in it"
    assert synced[-1] == (tmp_path.name, False, True)
    assert set(verify_folder(final)["files"]) == {"a", "inner/b"}


def test_what_cannot_be_synced_is_not_published(tmp_path, monkeypatch):
    def refuse(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(storage, "_sync", refuse)
    with pytest.raises(OSError, match="the disk is full"):
        publish_folder(tmp_path / "final", write_two)
    assert not list(tmp_path.iterdir())
