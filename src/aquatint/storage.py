"""Files and folders that are complete or absent, with checksums; the base of every artefact."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"


class DamagedArtefactError(ValueError):
    """A stored artefact is incomplete or was altered after it was written."""


def publish_folder(
    final: Path, write: Callable[[Path], None], manifest: dict[str, Any] | None = None
) -> None:
    """Write a folder beside its place, its manifest last, then rename it in.

    A process that dies at any instant leaves either no folder or a complete one; what it leaves
    besides are folders named ``.tmp-*``, which nothing ever reads.

    Args:
        final: Where the folder shall stand; must not exist.
        write: Fills the folder it is given.
        manifest: Kept in ``manifest.json`` beside name, size and sha256 of every file.

    Raises:
        FileExistsError: If ``final`` exists already.
        OSError: If the disk is full or read-only; the message names the folder and the way out.
    """
    if final.exists():
        raise FileExistsError(f"An artefact is never overwritten, but {final} exists.")
    temporary = final.parent / f".tmp-{final.name}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    try:
        temporary.mkdir(parents=True)
        write(temporary)
        # The disk takes the files while their checksums are computed.
        with ThreadPoolExecutor(max_workers=1) as syncing:
            synced = syncing.submit(_sync_all, list(temporary.rglob("*")))
            content = {**(manifest or {}), "files": describe_files(temporary)}
            synced.result()
        _write_bytes(temporary / MANIFEST, json.dumps(content, indent=1).encode())
        # The names in it, the manifest's too.
        _sync(temporary)
        temporary.rename(final)
        _sync(final.parent)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise FileExistsError(f"{final} was written by another run meanwhile.") from error
        raise _explained(error, final) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def publish_file(final: Path, content: bytes) -> None:
    """Write a file beside its place, then rename it in; an older one is replaced whole.

    Raises:
        OSError: If the disk is full or read-only; the message names the file and the way out.
    """
    temporary = final.parent / f".tmp-{final.name}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        _write_bytes(temporary, content)
        temporary.replace(final)
        _sync(final.parent)
    except OSError as error:
        raise _explained(error, final) from error
    finally:
        temporary.unlink(missing_ok=True)


def describe_files(folder: Path) -> dict[str, dict[str, Any]]:
    """Return size in bytes and sha256 of every file below ``folder``, by relative name."""
    return {
        path.relative_to(folder).as_posix(): {
            "bytes": path.stat().st_size,
            "sha256": file_digest(path),
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }


def is_complete(folder: Path) -> bool:
    """Whether ``folder`` was written to its end: its manifest, written last, is there."""
    return (folder / MANIFEST).is_file()


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read a folder's manifest.

    Raises:
        DamagedArtefactError: If it is missing or unreadable.
    """
    path = folder / MANIFEST
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DamagedArtefactError(
            f"{folder} is incomplete: {MANIFEST}, which is written last, cannot be read ({error}). "
            "Delete the folder and run the node that writes it again."
        ) from error


def verify_folder(folder: Path) -> dict[str, Any]:
    """Check every file against the manifest and return the manifest.

    Raises:
        DamagedArtefactError: If a file is missing, has another size or another sha256.
    """
    manifest = read_manifest(folder)
    for name, expected in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            raise DamagedArtefactError(f"{folder} lacks {name}, which its manifest lists.")
        found = {"bytes": path.stat().st_size, "sha256": file_digest(path)}
        if found != expected:
            raise DamagedArtefactError(
                f"{path} was altered after it was written: the manifest says {expected}, "
                f"the file has {found}. Delete {folder} and write it again."
            )
    return manifest


def file_digest(path: Path) -> str:
    """Return the sha256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def list_files(folder: Path) -> list[tuple[str, os.stat_result]]:
    """Return name and state of every file below a folder, in the order of their paths.

    Every node asks that reads a folder of raw data, and ``Path.rglob`` with ``is_file`` and
    ``stat`` takes three times as long, 1.5 s for 36,000 files. A folder that is missing has no
    files; linked folders are not entered.

    Returns:
        Names relative to ``folder``, and states of what links lead to.
    """
    if not folder.is_dir():
        return []
    start = len(str(folder / "_")) - 1
    found = [(entry.path[start:], entry.stat()) for entry in _walk(str(folder))]
    # Part by part, as paths are sorted: a folder's files before those of a neighbour "folder-2".
    return sorted(found, key=lambda file: file[0].replace(os.sep, "\0"))


def _walk(folder: str) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(entry.path)
            elif entry.is_file():
                yield entry


def _write_bytes(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(path: Path) -> None:
    """Force a file or folder to the disk, so that a power cut cannot reorder the writes."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_all(paths: list[Path]) -> None:
    for path in paths:
        _sync(path)


def _explained(error: OSError, final: Path) -> OSError:
    """The same error with the way out, where there is one to name."""
    ways = {
        errno.ENOSPC: "the disk is full; free some space and give the same command again",
        errno.EDQUOT: "the quota is used up; free some space and give the same command again",
        errno.EROFS: "the file system is read-only; point data_root at a writable one",
        errno.EACCES: "permission is denied; point data_root at a writable folder",
    }
    way = ways.get(error.errno or 0)
    if way is None:
        return error
    return OSError(error.errno, f"Could not write {final}: {way}. Nothing already written is lost.")
