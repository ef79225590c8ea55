"""Base of the project's catalog datasets: atomic, versioned, never half a version."""

import json
from abc import abstractmethod
from pathlib import Path, PurePosixPath
from typing import Any, Generic, TypeVar

from kedro.io.core import AbstractVersionedDataset, DatasetError, Version, VersionNotFoundError

from aquatint.remote import Remote, is_remote, local_path
from aquatint.storage import MANIFEST, file_digest, is_complete, publish_file

T = TypeVar("T")


class ArtefactDataset(AbstractVersionedDataset[T, T], Generic[T]):
    """A file or folder that appears in one piece, in as many versions as there were runs.

    On a file system of fsspec (``s3://...``) it is written on this machine first and uploaded with
    the manifest last, and downloaded before it is read. A version whose writing or upload was cut
    off is never loaded. Unpinned, a run loads what it saved
    itself, and only otherwise the newest version: two runs at once do not mix.

    Args:
        filepath: Path or URL of the artefact; with versions, ``<filepath>/<version>/<name>``.
        version: Versions to load and save, from Kedro.
        metadata: Kedro-Viz layer and other notes; not used here.
    """

    is_folder = False

    def __init__(
        self,
        *,
        filepath: str,
        version: Version | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        # The folder around it, where the record of an unversioned artefact lies too.
        self._remote = Remote(filepath.rpartition("/")[0]) if is_remote(filepath) else None
        place = PurePosixPath(local_path(filepath))
        super().__init__(place, version, exists_function=self._is_written)
        self.metadata = metadata

    @abstractmethod
    def _read(self, path: Path) -> T:
        """Read the artefact at ``path``."""

    @abstractmethod
    def _write(self, path: Path, data: T) -> None:
        """Write the artefact to ``path`` in one piece."""

    def load(self) -> T:
        """Load the pinned version, or this run's own, or the newest one.

        Raises:
            DatasetError: If there is none, or the pinned version does not exist.
        """
        path = self._load_path()
        if not self._is_written(str(path)):
            raise DatasetError(
                f"There is no complete artefact at {path}. Run the node that writes it, or pin a "
                "version that exists with --load-versions."
            )
        return self._read(self._fetched(path))

    def save(self, data: T) -> None:
        """Write one version, or replace the unversioned artefact as a whole."""
        path = Path(str(self._get_save_path()))
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._write(path, data)
            if self._remote:
                self._remote.of(path).push()
        except BaseException as error:
            if self._version and not any(path.parent.iterdir()):
                path.parent.rmdir()  # an empty version would only puzzle its reader
            # Kedro takes a FileNotFoundError for a clash of names and would say so.
            if isinstance(error, FileNotFoundError):
                raise DatasetError(f"Could not write {path}: {error}") from error
            raise

    @property
    def place(self) -> str:
        """File or folder of the version to load, or its URL."""
        path = self._load_path()
        return self._remote.of(path).url if self._remote else str(path)

    @property
    def filepath(self) -> str:
        """File whose size Kedro-Viz shows: the artefact, or its largest file."""
        path = self._copy()
        if path.is_dir():
            path = max((p for p in path.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
        return str(path)

    @property
    def is_foreign(self) -> bool:
        """Whether this is a complete folder from elsewhere, put in a versioned entry's place."""
        if self._version or not self.is_folder or not self._exists():
            return False
        sidecar = _provenance_path(self._load_path(), is_versioned=False)
        remote = self._remote
        return not (remote.of(sidecar).is_written(is_folder=False) if remote else sidecar.exists())

    @property
    def content_digest(self) -> str:
        """Digest of the stored content."""
        return self._content(self._copy())

    def write_provenance(self, record: dict[str, Any]) -> None:
        """Keep beside this run's version what it was made from, and its content's digest."""
        version = self.resolve_save_version()
        path = Path(str(self._get_versioned_path(version) if version else self._filepath))
        content = json.dumps({**record, "content": self._content(path)}, indent=1)
        sidecar = _provenance_path(path, self._version is not None)
        publish_file(sidecar, content.encode())
        if self._remote:
            self._remote.of(sidecar).push()

    def read_provenance(self, version: str | None = None) -> dict[str, Any] | None:
        """What a version was made from; None if nothing was kept with it.

        Args:
            version: A version, or None for the one to load.

        Returns:
            The record; its key ``is_altered`` says whether the content changed since.
        """
        path = Path(str(self._get_versioned_path(version))) if version else self._load_path()
        try:
            sidecar = _provenance_path(path, self._version is not None)
            record = json.loads(self._fetched(sidecar, is_folder=False).read_text())
        except (OSError, ValueError):
            return None
        return {**record, "is_altered": record["content"] != self._content(self._fetched(path))}

    def _content(self, path: Path) -> str:
        return file_digest(path / MANIFEST if self.is_folder else path)

    def _copy(self) -> Path:
        """Path of the version to load, downloaded if it lies elsewhere."""
        return self._fetched(self._load_path())

    def _fetched(self, path: Path, is_folder: bool | None = None) -> Path:
        if self._remote is None:
            return path
        return self._remote.of(path).pull(self.is_folder if is_folder is None else is_folder)

    def _load_path(self) -> Path:
        return Path(str(self._get_load_path()))

    def _is_written(self, path: str) -> bool:
        if self._remote:
            return self._remote.of(Path(path)).is_written(self.is_folder)
        return is_complete(Path(path)) if self.is_folder else Path(path).is_file()

    def _exists(self) -> bool:
        return self._is_written(str(self._load_path()))

    def _get_versions(self) -> list[str]:
        # Listed, not globbed: a folder named run[1] would be read as a pattern.
        root = Path(str(self._filepath))
        if self._remote:
            names = self._remote.of(root).names()
        else:
            names = [path.name for path in root.iterdir()] if root.is_dir() else []
        versions = sorted((name for name in names if not name.startswith(".")), reverse=True)
        paths = [str(root / version / root.name) for version in versions]
        return [path for path in paths if self._is_written(path)]

    def _fetch_latest_load_version(self) -> str:
        own = self._version.save if self._version else None
        if own and self._is_written(str(self._get_versioned_path(own))):
            self._cached_load_version = own
            return own
        try:
            return str(super()._fetch_latest_load_version())
        except VersionNotFoundError as error:
            raise VersionNotFoundError(
                f"There is no version of {self._filepath} yet; run the node that writes it."
            ) from error

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath), "version": self._version}


def _provenance_path(path: Path, is_versioned: bool) -> Path:
    """Sidecar of an artefact; a version has a folder of its own for it."""
    return path.parent / ("provenance.json" if is_versioned else f".{path.name}.provenance.json")
