"""Artefacts on object stores: written here first, uploaded with the manifest last."""

from __future__ import annotations

import os
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from aquatint.storage import MANIFEST, is_complete, read_manifest, verify_folder

# Where the copies on this machine lie.
CACHE_VARIABLE = "AQUATINT_REMOTE_CACHE"
_DEFAULT_CACHE = Path.home() / ".cache" / "aquatint" / "remote"


def is_remote(path: str) -> bool:
    """Whether a path of the catalog names a file system of fsspec: ``s3://bucket/folder``."""
    return "://" in path


def local_path(path: str) -> Path:
    """Return the path on this machine: of a remote place its copy, whether or not it is there."""
    return Remote(path).local if is_remote(path) else Path(path)


@dataclass(frozen=True)
class Remote:
    """A place on an fsspec file system and its copy on this machine.

    Attributes:
        url: The place, with its protocol.
    """

    url: str

    @property
    def local(self) -> Path:
        """Where the copy lies."""
        protocol, _, path = self.url.partition("://")
        cache = Path(os.environ.get(CACHE_VARIABLE, _DEFAULT_CACHE))
        return cache / protocol / PurePosixPath(path.lstrip("/"))

    def of(self, local: Path) -> Remote:
        """The place of a file or folder below this one's copy."""
        relative = local.relative_to(self.local).as_posix()
        return self if relative == "." else Remote(f"{self.url.rstrip('/')}/{relative}")

    def is_written(self, is_folder: bool) -> bool:
        """Whether all of it is there: of a folder the manifest, which is uploaded last."""
        system, path = self._open()
        return bool(system.exists(f"{path}/{MANIFEST}" if is_folder else path))

    def names(self) -> list[str]:
        """Names of what lies in the folder; empty if there is no folder."""
        system, path = self._open()
        # Other hosts write there: what fsspec remembers of an earlier look may be old.
        system.invalidate_cache()
        if not system.isdir(path):
            return []
        return sorted(PurePosixPath(entry).name for entry in system.ls(path, detail=False))

    def push(self) -> None:
        """Upload the copy; readers see nothing of it before it is complete.

        Raises:
            OSError: If the store refuses; what is there already is no complete artefact.
        """
        system, path = self._open()
        if self.local.is_file():
            _put(system, self.local, path)
            return
        for name in read_manifest(self.local)["files"]:
            system.makedirs(str(PurePosixPath(path, name).parent), exist_ok=True)
            system.put_file(str(self.local / name), f"{path}/{name}")
        _put(system, self.local / MANIFEST, f"{path}/{MANIFEST}")

    def pull(self, is_folder: bool) -> Path:
        """Download what the copy lacks and return the copy.

        Raises:
            DamagedArtefactError: If a downloaded file differs from the manifest.
        """
        system, path = self._open()
        if not is_folder:
            self._replace_file(system, path)
        elif not is_complete(self.local) or not self._is_current(system, path):
            self._replace_folder(system, path)
        return self.local

    def _is_current(self, system: Any, path: str) -> bool:  # noqa: ANN401 - fsspec's
        return bool(system.cat_file(f"{path}/{MANIFEST}") == (self.local / MANIFEST).read_bytes())

    def _replace_file(self, system: Any, path: str) -> None:  # noqa: ANN401 - fsspec's
        temporary = self._temporary()
        system.get_file(path, str(temporary))
        temporary.replace(self.local)

    def _replace_folder(self, system: Any, path: str) -> None:  # noqa: ANN401 - fsspec's
        temporary = self._temporary()
        temporary.mkdir()
        try:
            system.get_file(f"{path}/{MANIFEST}", str(temporary / MANIFEST))
            for name in read_manifest(temporary)["files"]:
                target = temporary / name
                target.parent.mkdir(parents=True, exist_ok=True)
                system.get_file(f"{path}/{name}", str(target))
            verify_folder(temporary)
            shutil.rmtree(self.local, ignore_errors=True)
            temporary.rename(self.local)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _temporary(self) -> Path:
        self.local.parent.mkdir(parents=True, exist_ok=True)
        return self.local.parent / f".tmp-{self.local.name}-{uuid.uuid4().hex[:8]}"

    def _open(self) -> tuple[Any, str]:
        import fsspec

        system, path = fsspec.core.url_to_fs(self.url)
        return system, str(path).rstrip("/")


def _put(system: Any, source: Path, path: str) -> None:  # noqa: ANN401 - fsspec's
    """Upload one file under another name and rename it: it appears whole or not at all."""
    parent = PurePosixPath(path).parent
    system.makedirs(str(parent), exist_ok=True)
    temporary = f"{parent}/.tmp-{PurePosixPath(path).name}-{uuid.uuid4().hex[:8]}"
    system.put_file(str(source), temporary)
    system.mv(temporary, path)
