"""Folders are published whole or not at all."""

import errno
import os

import pytest

from aquatint import storage
from aquatint.storage import list_files, publish_folder, verify_folder


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


def test_files_are_listed_in_the_order_of_their_paths(tmp_path):
    for name in ("b/2", "b/1", "b-c/1", "a", "b/inner/1", "b.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "empty").mkdir()
    paths = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    listed = list_files(tmp_path)
    assert [name for name, _ in listed] == [str(path.relative_to(tmp_path)) for path in paths]
    assert [stat.st_mtime_ns for _, stat in listed] == [path.stat().st_mtime_ns for path in paths]


def test_a_linked_file_is_listed_as_what_it_is_and_a_linked_folder_is_not_entered(tmp_path):
    outside, folder = tmp_path / "outside", tmp_path / "folder"
    outside.mkdir()
    folder.mkdir()
    (outside / "whole").write_text("four")
    (folder / "linked").symlink_to(outside / "whole")
    (folder / "lost").symlink_to(outside / "gone")
    (folder / "elsewhere").symlink_to(outside)
    assert [(name, stat.st_size) for name, stat in list_files(folder)] == [("linked", 4)]


def test_a_folder_that_is_missing_has_no_files(tmp_path):
    assert list_files(tmp_path / "missing") == []
