"""Robot recordings, the simulator that goes with them, and what leaves for a robot."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.io.core import DatasetError
from kedro_datasets._typing import JSONPreview

from aquatint.data.sources import RobotRecordings
from aquatint.io.artefact import ArtefactDataset
from aquatint.io.folders import FolderDataset
from aquatint.io.world import world_folder, write_once
from aquatint.storage import (
    file_digest,
    list_files,
    publish_folder,
    read_manifest,
    verify_folder,
)

if TYPE_CHECKING:
    from aquatint.training.vla_export import LeRobotExport, PolicyExport, SourceCheckpoint

logger = logging.getLogger(__name__)

_ANNOTATIONS = (".csv", ".json", ".jsonl", ".txt", ".pkl")


class RobotRecordingsDataset(FolderDataset):
    """A user's own recordings: ``recv_all_*``, ``episode_*``, ``traj*`` folders, LeRobot data sets.

    Args:
        filepath: Folder with any number of them, at any depth.
        metadata: Kedro-Viz layer and other notes; not used here.
    """

    def load(self) -> RobotRecordings:
        """Hand out the folder.

        Raises:
            DatasetError: If it is missing.
        """
        if not self.folder.is_dir():
            raise DatasetError(
                f"Robot recordings need the folder {self.folder}, which is missing. Point filepath "
                "of this catalog entry at them (docs/recipes/vla.md)."
            )
        return RobotRecordings(str(self.folder))

    @property
    def content_digest(self) -> str:
        """Digest of small text files' content and of all others' names, sizes and times."""
        total = hashlib.sha256()
        for name, stat in list_files(self.folder):
            state = f"{name}{stat.st_size}"
            if name.endswith(_ANNOTATIONS):
                total.update(f"{state}{file_digest(self.folder / name)}".encode())
            else:
                total.update(f"{state}{stat.st_mtime_ns}".encode())
        return total.hexdigest()


def _world(filepath: str, world: dict[str, Any]) -> tuple[str, Any]:
    from aquatint.world.flights import FORMAT_VERSION, FlightWorldSpec

    spec = FlightWorldSpec(**world)
    return world_folder(filepath, spec, FORMAT_VERSION), spec


def _ensure(folder: Path, spec: Any) -> None:  # noqa: ANN401 - imported late
    from aquatint.world.flights import is_complete, write_flights

    write_once(folder, spec, is_complete, write_flights)


class FlightWorldDataset(RobotRecordingsDataset):
    """Recordings that fly themselves once, on first load.

    Args:
        filepath: Folder below which the world is written.
        world: Arguments of ``aquatint.world.flights.FlightWorldSpec``.
        metadata: Kedro-Viz layer and other notes; not used here.
    """

    def __init__(
        self, *, filepath: str, world: dict[str, Any], metadata: dict[str, Any] | None = None
    ) -> None:
        folder, self._spec = _world(filepath, world)
        super().__init__(filepath=folder, metadata=metadata)

    def load(self) -> RobotRecordings:
        """Fly unless the recordings are there, then hand out their folder."""
        _ensure(self.folder, self._spec)
        return super().load()

    def _exists(self) -> bool:
        return True


class FlightSimulatorDataset(FolderDataset):
    """The simulator over grounds that no recording shows.

    Args:
        filepath: Folder below which the world is written.
        world: Arguments of ``aquatint.world.flights.FlightWorldSpec``.
        metadata: Kedro-Viz layer and other notes; not used here.
    """

    def __init__(
        self, *, filepath: str, world: dict[str, Any], metadata: dict[str, Any] | None = None
    ) -> None:
        folder, self._spec = _world(filepath, world)
        super().__init__(filepath=folder, metadata=metadata)

    def load(self) -> Any:  # noqa: ANN401 - FlightSimulator, imported late
        """Open the simulator."""
        from aquatint.world.flight_simulator import FlightSimulator

        _ensure(self.folder, self._spec)
        return FlightSimulator(self.folder, self._spec)

    @property
    def content_digest(self) -> str:
        """The world's specification, of which everything follows."""
        return self.folder.name

    def _exists(self) -> bool:
        return True


class NoSimulatorDataset(FolderDataset):
    """In place of a simulator where there is none: nothing is flown, and the log says so.

    Args:
        metadata: Kedro-Viz layer and other notes; not used here.
    """

    def __init__(self, *, metadata: dict[str, Any] | None = None) -> None:
        super().__init__(filepath="none", metadata=metadata)

    def load(self) -> None:
        """Hand out nothing."""
        logger.warning("There is no simulator of these recordings: no closed loop is run.")

    def _exists(self) -> bool:
        return True


class ExportDataset(ArtefactDataset[Any]):
    """What writes itself into a folder; a node that loads it gets the folder's path."""

    is_folder = True

    def _read(self, path: Path) -> str:
        verify_folder(path)
        return str(path)

    def _write(self, path: Path, data: PolicyExport | LeRobotExport | SourceCheckpoint) -> None:
        publish_folder(path, data.save, {"lineage": data.lineage})

    def preview(self) -> JSONPreview:
        """Return lineage and checksums for Kedro-Viz."""
        return JSONPreview(json.dumps(read_manifest(self._copy())))
