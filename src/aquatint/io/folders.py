"""Catalog entries that hand out folders: raw data, caches, training states."""

from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from kedro.io.core import AbstractDataset, DatasetError

from aquatint.data.sources import GeoTextFolder
from aquatint.features.cache import FeatureCache, FeatureStore
from aquatint.io.artefact import ArtefactDataset
from aquatint.remote import local_path
from aquatint.storage import file_digest, list_files, publish_file
from aquatint.training.state import TrainingStateFolder


class FolderDataset(AbstractDataset[Any, Any]):
    """A folder that nodes read or fill, handed out as a light handle; never saved by a node.

    Args:
        filepath: The folder.
        metadata: Kedro-Viz layer and other notes; not used here.
    """

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._place = filepath
        # Of a remote place the copy on this machine: only feature caches are exchanged.
        self._filepath = PurePosixPath(local_path(filepath))
        self.metadata = metadata

    @property
    def folder(self) -> Path:
        """The folder as a path."""
        return Path(str(self._filepath))

    def load(self) -> Any:  # noqa: ANN401 - each kind of folder has its own handle
        """Hand out the folder's path."""
        return str(self._filepath)

    def save(self, data: Any) -> NoReturn:  # noqa: ANN401 - Kedro's signature
        """Refuse: the folder is an input.

        Raises:
            DatasetError: Always.
        """
        raise DatasetError(f"{type(self).__name__} at {self.folder} is an input; no node saves it.")

    @property
    def content_digest(self) -> str:
        """What a result that is made from this input depends on; here nothing but its place."""
        return type(self).__name__

    def _exists(self) -> bool:
        return self.folder.is_dir()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}


class GeoTextFolderDataset(FolderDataset):
    """A user's own data set in GeoText-1652's layout.

    Args:
        filepath: Folder with ``images/`` and the JSON files.
        train_file: Name of the train file.
        test_file: Name of the test file; the 951 or the 24G version, or your own.
        image_folder: Folder below ``filepath`` that image paths are relative to.
        metadata: Kedro-Viz layer and other notes; not used here.
    """

    def __init__(
        self,
        *,
        filepath: str,
        train_file: str = "train.json",
        test_file: str = "test_951_version.json",
        image_folder: str = "images",
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(filepath=filepath, metadata=metadata)
        self._names = {"train_file": train_file, "test_file": test_file}
        self._image_folder = image_folder

    def load(self) -> GeoTextFolder:
        """Hand out the folder after a look at its files.

        Raises:
            DatasetError: If the folder, a JSON file or the image folder is missing.
        """
        paths = {key: self.folder / name for key, name in self._names.items()}
        paths["image_root"] = self.folder / self._image_folder
        missing = [str(path) for path in paths.values() if not path.exists()]
        if missing:
            raise DatasetError(
                f"A GeoText folder needs {', '.join(map(str, paths.values()))}; missing: "
                f"{', '.join(missing)}. Point filepath, train_file, test_file or image_folder of "
                "this catalog entry at your data (docs/your_data.md)."
            )
        return GeoTextFolder(**{key: str(path) for key, path in paths.items()})

    @property
    def content_digest(self) -> str:
        """Digest of the annotations' content and of names, sizes and times of the images."""
        return folder_state(self.folder, self._names.values(), self._image_folder)


def folder_state(folder: Path, files: Any, image_folder: str) -> str:  # noqa: ANN401
    """Return a digest of the content of files, and of names, sizes and times of the images.

    Reading every image of a large data set to see whether one changed would take hours.
    """
    import hashlib

    total = hashlib.sha256()
    for name in files:
        path = folder / name
        total.update(file_digest(path).encode() if path.exists() else b"missing")
    images = folder / image_folder
    prefix = "" if images == folder else f"{images.relative_to(folder)}/"
    for name, stat in list_files(images):
        total.update(f"{prefix}{name}{stat.st_size}{stat.st_mtime_ns}".encode())
    return total.hexdigest()


class FeatureStoreDataset(FolderDataset):
    """Folder of all feature caches.

    Args:
        filepath: The folder; made when the first shard is written.
        max_gigabytes: No cache may grow beyond this.
        metadata: Kedro-Viz layer and other notes; not used here.
    """

    def __init__(
        self, *, filepath: str, max_gigabytes: float, metadata: dict[str, Any] | None = None
    ) -> None:
        super().__init__(filepath=filepath, metadata=metadata)
        self._max_gigabytes = max_gigabytes

    def load(self) -> FeatureStore:
        """Hand out the folder."""
        return FeatureStore(self._place, self._max_gigabytes)

    def _exists(self) -> bool:
        return True


class TrainingStateDataset(FolderDataset):
    """Scratch folder in which a training node keeps its state while it runs."""

    def load(self) -> TrainingStateFolder:
        """Hand out the folder."""
        return TrainingStateFolder(str(self.folder))

    def _exists(self) -> bool:
        return True


class FeatureCacheDataset(ArtefactDataset[FeatureCache]):
    """Which cache below a feature store holds a node's features."""

    def _read(self, path: Path) -> FeatureCache:
        import json

        return FeatureCache(**json.loads(path.read_text()))

    def _write(self, path: Path, data: FeatureCache) -> None:
        import json
        from dataclasses import asdict

        publish_file(path, json.dumps(asdict(data), indent=1).encode())
