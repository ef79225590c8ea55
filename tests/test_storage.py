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
    synced, sync = [], storage._sync

    def note(path):
        synced.append((path.name, (tmp_path / "final").exists()))
        sync(path)

    monkeypatch.setattr(storage, "_sync", note)
    publish_folder(tmp_path / "final", write_two)
    before = {name for name, is_published in synced if not is_published}
    assert before == {"a", "inner", "b"}
    assert synced[-1] == (tmp_path.name, True)
    assert set(verify_folder(tmp_path / "final")["files"]) == {"a", "inner/b"}


def test_what_cannot_be_synced_is_not_published(tmp_path, monkeypatch):
    def refuse(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(storage, "_sync", refuse)
    with pytest.raises(OSError, match="the disk is full"):
        publish_folder(tmp_path / "final", write_two)
    assert not list(tmp_path.iterdir())
