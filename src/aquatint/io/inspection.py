"""Inspection images: a YOLO export, photographs with detections, and both from the world."""

import hashlib
import logging
from pathlib import Path
from typing import Any

from kedro.io.core import DatasetError

from aquatint.data.sources import DetectedPhotos, YoloExport
from aquatint.io.folders import FolderDataset, folder_state
from aquatint.io.world import world_folder, write_once
from aquatint.storage import file_digest

logger = logging.getLogger(__name__)


class YoloExportDataset(FolderDataset):
    """A user's own export in YOLO's layout.

    Args:
        filepath: Folder with ``data.yaml``, ``train/``, ``valid/`` and ``test/``.
        data_file: Name of the file that lists classes and splits.
        metadata: Kedro-Viz layer and other notes; not used here.
    """

    def __init__(
        self,
        *,
        filepath: str,
        data_file: str = "data.yaml",
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(filepath=filepath, metadata=metadata)
        self._data_file = data_file

    def load(self) -> YoloExport:
        """Hand out the folder.

        Raises:
            DatasetError: If data.yaml is missing.
        """
        path = self.folder / self._data_file
        if not path.is_file():
            raise DatasetError(
                f"A YOLO export needs {path}, which is missing. Point filepath of this catalog "
                "entry at your export (docs/recipes/inspection.md)."
            )
        return YoloExport(str(path))

    @property
    def content_digest(self) -> str:
        """Digest of all labels' content and of names, sizes and times of the images."""
        # Wherever data.yaml puts its folders: all text files below are labels or might be.
        labels = sorted(self.folder.rglob("*.txt"))
        total = hashlib.sha256()
        for path in (self.folder / self._data_file, *labels):
            if path.is_file():
                total.update(f"{path.relative_to(self.folder)}{file_digest(path)}".encode())
        images = folder_state(self.folder, (), ".")
        return hashlib.sha256(f"{total.hexdigest()}{images}".encode()).hexdigest()


class DetectedPhotosDataset(FolderDataset):
    """A folder of photographs and a file with what a detector found in them.

    Args:
        filepath: Folder that both lie in.
        image_folder: Folder of the photographs, below ``filepath``.
        detections_file: JSON or Parquet file, below ``filepath``.
        label_folder: Folder of YOLO label files to compare with; empty for none.
        is_optional: Whether ``filepath`` may be missing as a whole; nothing is predicted then, and
            the log says so.
        metadata: Kedro-Viz layer and other notes; not used here.
    """

    def __init__(
        self,
        *,
        filepath: str,
        image_folder: str = "images",
        detections_file: str = "detections.json",
        label_folder: str = "",
        is_optional: bool = False,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(filepath=filepath, metadata=metadata)
        self._images, self._detections = image_folder, detections_file
        self._labels, self._is_optional = label_folder, is_optional

    def load(self) -> DetectedPhotos:
        """Hand out the folder after a look at its files.

        Raises:
            DatasetError: If the photographs or the detections are missing.
        """
        if self._is_optional and not self.folder.exists():
            logger.warning("No photographs to predict on: %s is not there.", self.folder)
            return DetectedPhotos("", "", "")
        images, detections = self.folder / self._images, self.folder / self._detections
        missing = [str(path) for path in (images, detections) if not path.exists()]
        if missing:
            raise DatasetError(
                f"Prediction needs {images} and {detections}; missing: {', '.join(missing)}. Point "
                "inspection.predict.photos at your folder (docs/recipes/inspection.md)."
            )
        labels = str(self.folder / self._labels) if self._labels else ""
        return DetectedPhotos(str(images), str(detections), labels)

    @property
    def content_digest(self) -> str:
        """Digest of detections and labels, and the state of the photographs."""
        labels = sorted((self.folder / self._labels).glob("*.txt")) if self._labels else []
        files = [self._detections, *(str(path.relative_to(self.folder)) for path in labels)]
        return folder_state(self.folder, files, self._images)


def inspection_world(filepath: str, world: dict[str, Any]) -> tuple[str, Any]:
    """Return where a world with these arguments lies, and its specification."""
    from aquatint.world.inspection import FORMAT_VERSION, InspectionWorldSpec

    spec = InspectionWorldSpec(**world)
    return world_folder(filepath, spec, FORMAT_VERSION), spec


def ensure_world(folder: Path, spec: Any) -> None:  # noqa: ANN401 - imported late
    """Paint the world unless it is there."""
    from aquatint.world.inspection import is_complete, write_inspection

    write_once(folder, spec, is_complete, write_inspection)


class InspectionWorldDataset(YoloExportDataset):
    """A YOLO export that paints itself once, on first load.

    Args:
        filepath: Folder below which the world is written.
        world: Arguments of ``aquatint.world.inspection.InspectionWorldSpec``.
        metadata: Kedro-Viz layer and other notes; not used here.
    """

    def __init__(
        self, *, filepath: str, world: dict[str, Any], metadata: dict[str, Any] | None = None
    ) -> None:
        folder, self._spec = inspection_world(filepath, world)
        super().__init__(filepath=folder, metadata=metadata)

    def load(self) -> YoloExport:
        """Paint the world unless it is there, then hand out its folder."""
        ensure_world(self.folder, self._spec)
        return super().load()

    def _exists(self) -> bool:
        return True


class InspectionPhotosDataset(DetectedPhotosDataset):
    """The world's photographs of no split, with what a detector would find in them.

    Args:
        filepath: Folder below which the world is written.
        world: Arguments of ``aquatint.world.inspection.InspectionWorldSpec``.
        metadata: Kedro-Viz layer and other notes; not used here.
    """

    def __init__(
        self, *, filepath: str, world: dict[str, Any], metadata: dict[str, Any] | None = None
    ) -> None:
        folder, self._spec = inspection_world(filepath, world)
        super().__init__(filepath=f"{folder}/new", label_folder="labels", metadata=metadata)

    def load(self) -> DetectedPhotos:
        """Paint the world unless it is there, then hand out its folder."""
        ensure_world(self.folder.parent, self._spec)
        return super().load()

    def _exists(self) -> bool:
        return True
