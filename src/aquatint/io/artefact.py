"""Base of the project's catalog datasets: atomic, versioned, never half a version."""

import json
from abc import abstractmethod
from pathlib import Path, PurePosixPath
from typing import Any, Generic, TypeVar

from kedro.io.core import AbstractVersionedDataset, DatasetError, Version, VersionNotFoundError

from aquatint.storage import MANIFEST, file_digest, is_complete, publish_file

T = TypeVar("T")


class ArtefactDataset(AbstractVersionedDataset[T, T], Generic[T]):
    """A file or folder that appears in one piece, in as many versions as there were runs.

    A version whose writing was cut off is never loaded. Unpinned, a run loads what it saved
    itself, and only otherwise the newest version: two runs at once do not mix.

    Args:
        filepath: Where the artefact lies; with versions, ``<filepath>/<version>/<name>``.
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
        super().__init__(PurePosixPath(filepath), version, exists_function=self._is_written)
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
        return self._read(path)

    def save(self, data: T) -> None:
        """Write one version, or replace the unversioned artefact as a whole."""
        path = Path(str(self._get_save_path()))
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._write(path, data)
        except BaseException as error:
            if self._version and not any(path.parent.iterdir()):
                path.parent.rmdir()  # an empty version would only puzzle its reader
            # Kedro takes a FileNotFoundError for a clash of names and would say so.
            if isinstance(error, FileNotFoundError):
                raise DatasetError(f"Could not write {path}: {error}") from error
            raise

    @property
    def place(self) -> str:
        """File or folder of the version to load."""
        return str(self._load_path())

    @property
    def filepath(self) -> str:
        """File whose size Kedro-Viz shows: the artefact, or its largest file."""
        path = self._load_path()
        if path.is_dir():
            path = max((p for p in path.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
        return str(path)

    @property
    def is_foreign(self) -> bool:
        """Whether this is a complete folder from elsewhere, put in a versioned entry's place."""
        if self._version or not self.is_folder or not self._exists():
            return False
        return not _provenance_path(self._load_path(), is_versioned=False).exists()

    @property
    def content_digest(self) -> str:
        """Digest of the stored content."""
        return self._content(self._load_path())

    def write_provenance(self, record: dict[str, Any]) -> None:
        """Keep beside this run's version what it was made from, and its content's digest."""
        version = self.resolve_save_version()
        path = Path(str(self._get_versioned_path(version) if version else self._filepath))
        content = json.dumps({**record, "content": self._content(path)}, indent=1)
        publish_file(_provenance_path(path, self._version is not None), content.encode())

    def read_provenance(self, version: str | None = None) -> dict[str, Any] | None:
        """What a version was made from; None if nothing was kept with it.

        Args:
            version: A version, or None for the one to load.

        Returns:
            The record; its key ``is_altered`` says whether the content changed since.
        """
        path = Path(str(self._get_versioned_path(version))) if version else self._load_path()
        try:
            record = json.loads(_provenance_path(path, self._version is not None).read_text())
        except (OSError, ValueError):
            return None
        return {**record, "is_altered": record["content"] != self._content(path)}

    def _content(self, path: Path) -> str:
        return file_digest(path / MANIFEST if self.is_folder else path)

    def _load_path(self) -> Path:
        return Path(str(self._get_load_path()))

    def _is_written(self, path: str) -> bool:
        return is_complete(Path(path)) if self.is_folder else Path(path).is_file()

    def _exists(self) -> bool:
        return self._is_written(str(self._load_path()))

    def _get_versions(self) -> list[str]:
        # Listed, not globbed: a folder named run[1] would be read as a pattern.
        root = Path(str(self._filepath))
        folders = sorted(root.iterdir(), reverse=True) if root.is_dir() else []
        paths = [str(path / root.name) for path in folders if not path.name.startswith(".")]
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
