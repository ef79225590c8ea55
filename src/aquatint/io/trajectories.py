"""Instruction-following trajectories: a user's own, those of the world, and labelled ones."""

import hashlib
import json
from pathlib import Path
from typing import Any

from kedro.io.core import DatasetError

from aquatint.data.flight_records import SPLIT_OF_SET
from aquatint.data.goal_tables import LabelledTrajectories
from aquatint.data.sources import FlightRecordings, TrajectoryFolder
from aquatint.io.artefact import ArtefactDataset
from aquatint.io.folders import FolderDataset
from aquatint.io.world import world_folder, write_once
from aquatint.locks import one_builder
from aquatint.storage import file_digest, list_files, publish_folder, verify_folder

_UNPACKED = "unpacked.json"
_COMPARED = (".jsonl", ".json", ".parquet")


class TrajectoryFolderDataset(FolderDataset):
    """A user's own trajectories.

    Args:
        filepath: Folder of the sets: ``<filepath>/<set>/<scene>/{meta,data,videos}``.
        metadata: Kedro-Viz layer and other notes; not used here.
    """

    def load(self) -> TrajectoryFolder:
        """Hand out the folder.

        Raises:
            DatasetError: If it is missing.
        """
        if not self.folder.is_dir():
            raise DatasetError(
                f"Trajectories need the folder {self.folder}, which is missing. Point filepath of "
                "this catalog entry at the folder of your sets (docs/recipes/pixel_goals.md)."
            )
        return TrajectoryFolder(str(self.folder))

    @property
    def content_digest(self) -> str:
        """Digest of tables' content, and of names, sizes and times of the frames."""
        return state_digest(self.folder)


class TownTrajectoriesDataset(TrajectoryFolderDataset):
    """Trajectories over the world's towns that fly themselves once, on first load.

    Args:
        filepath: Folder below which the world is written.
        world: Arguments of ``aquatint.world.town.TownWorldSpec``.
        metadata: Kedro-Viz layer and other notes; not used here.
    """

    def __init__(
        self, *, filepath: str, world: dict[str, Any], metadata: dict[str, Any] | None = None
    ) -> None:
        folder, self._spec = _town_folder(filepath, world)
        super().__init__(filepath=f"{folder}/traj_data", metadata=metadata)

    def load(self) -> TrajectoryFolder:
        """Write the world unless it is there, then hand out its folder."""
        from aquatint.world.town import is_complete, write_town

        write_once(self.folder.parent, self._spec, is_complete, write_town)
        return super().load()

    def _exists(self) -> bool:
        return True


class TrajectorySimulatorDataset(FolderDataset):
    """The towns of ``TownTrajectoriesDataset`` to fly over in closed loop.

    Args:
        filepath: Folder below which the world is written.
        world: Arguments of ``aquatint.world.town.TownWorldSpec``; those of the trajectories.
        metadata: Kedro-Viz layer and other notes; not used here.
    """

    def __init__(
        self, *, filepath: str, world: dict[str, Any], metadata: dict[str, Any] | None = None
    ) -> None:
        folder, self._spec = _town_folder(filepath, world)
        super().__init__(filepath=folder, metadata=metadata)

    def load(self) -> Any:  # noqa: ANN401 - TrajectorySimulator, of the world
        """Write the world unless it is there, then hand out its simulator."""
        from aquatint.world.pad_simulator import TrajectorySimulator
        from aquatint.world.town import is_complete, write_town

        write_once(self.folder, self._spec, is_complete, write_town)
        return TrajectorySimulator(self.folder, self._spec)

    @property
    def content_digest(self) -> str:
        """The world's arguments, which are the folder's name."""
        return self.folder.name

    def _exists(self) -> bool:
        return True


class LabelledTrajectoriesDataset(ArtefactDataset[Any]):
    """Parquet files of trajectories with the columns of their goals.

    A node saves ``LabelledTrajectories`` and gets the folder's path back.
    """

    is_folder = True

    def _read(self, path: Path) -> str:
        verify_folder(path)
        return str(path)

    def _write(self, path: Path, data: LabelledTrajectories) -> None:
        manifest = {"set": data.chosen.token, "flights": int(data.goals["flight_id"].nunique())}
        publish_folder(path, data.write, manifest)


class FlightRecordingsDataset(FolderDataset):
    """A user's own recordings in the layout of VLN-PE's.

    Args:
        filepath: Folder with ``traj_data/r2r/<scan set>/<scene>`` and
            ``raw_data/r2r/embeddings.json.gz``.
        metadata: Kedro-Viz layer and other notes; not used here.
    """

    def load(self) -> FlightRecordings:
        """Hand out the folder.

        Raises:
            DatasetError: If recordings or vectors are missing.
        """
        root = self.folder / "traj_data" / "r2r"
        vectors = self.folder / "raw_data" / "r2r" / "embeddings.json.gz"
        missing = [str(path) for path in (root, vectors) if not path.exists()]
        if missing:
            raise DatasetError(
                f"Recordings need {root} and {vectors}; missing: {', '.join(missing)}. Point "
                "filepath of this catalog entry at your folder (docs/recipes/cma.md)."
            )
        return FlightRecordings(str(root), str(vectors))

    @property
    def content_digest(self) -> str:
        """Digest of tables' content, and of names, sizes and times of the arrays."""
        return state_digest(self.folder)


class LmdbRecordingsDataset(FlightRecordingsDataset):
    """A user's own recordings in LMDB, laid out once as Parquet and arrays.

    Args:
        filepath: Folder with an LMDB for each scan set, ``<filepath>/{train,val_seen,val_unseen}``,
            and ``embeddings.json.gz``.
        unpacked: Folder below which they are laid out; it takes about as much space.
        metadata: Kedro-Viz layer and other notes; not used here.
    """

    def __init__(
        self, *, filepath: str, unpacked: str, metadata: dict[str, Any] | None = None
    ) -> None:
        super().__init__(filepath=filepath, metadata=metadata)
        self._unpacked = unpacked

    def load(self) -> FlightRecordings:
        """Lay the recordings out unless they are, then hand out their folder.

        Raises:
            DatasetError: If a file is missing, or an LMDB cannot be read.
        """
        vectors = self.folder / "embeddings.json.gz"
        sources = [self.folder / name / "data.mdb" for name in SPLIT_OF_SET]
        missing = [str(path) for path in (*sources, vectors) if not path.is_file()]
        if missing:
            raise DatasetError(f"Recordings in LMDB lack {', '.join(missing)}.")
        folder = Path(self._unpacked) / f"lmdb_{self.content_digest[:12]}"
        if not (folder / _UNPACKED).is_file():
            with one_builder(folder):
                self._unpack(folder)
        return FlightRecordings(str(folder), str(vectors))

    def _unpack(self, folder: Path) -> None:
        from aquatint.data.lmdb_records import lay_out
        from aquatint.world.whole_folders import write_whole

        def write(place: Path) -> None:
            try:
                counts = {name: lay_out(self.folder / name, place / name) for name in SPLIT_OF_SET}
            except (ValueError, ImportError, OSError) as error:
                raise DatasetError(str(error)) from error
            (place / _UNPACKED).write_text(json.dumps(counts))

        if not (folder / _UNPACKED).is_file():
            write_whole(folder, _UNPACKED, write)

    @property
    def content_digest(self) -> str:
        """Digest of sizes and times of the LMDBs, and of the vectors."""
        return state_digest(self.folder)


class TownRecordingsDataset(FlightRecordingsDataset):
    """Recordings over the world's towns that fly themselves once, on first load.

    Args:
        filepath: Folder below which the world is written.
        world: Arguments of ``aquatint.world.town_records.TownRecordsSpec``.
        metadata: Kedro-Viz layer and other notes; not used here.
    """

    def __init__(
        self, *, filepath: str, world: dict[str, Any], metadata: dict[str, Any] | None = None
    ) -> None:
        folder, self._spec = _records_folder(filepath, world)
        super().__init__(filepath=f"{folder}/vln_pe", metadata=metadata)

    def load(self) -> FlightRecordings:
        """Write the world unless it is there, then hand out its folder."""
        _ensure_records(self.folder.parent, self._spec)
        return super().load()

    def _exists(self) -> bool:
        return True


class TownSimulatorDataset(FolderDataset):
    """The towns of ``TownRecordingsDataset`` to fly over in closed loop.

    Args:
        filepath: Folder below which the world is written.
        world: Arguments of ``aquatint.world.town_records.TownRecordsSpec``.
        split: Episodes of which split: ``val_seen`` or ``val_unseen``.
        max_episodes: At most so many episodes, evenly over the towns; 0 for all.
        metadata: Kedro-Viz layer and other notes; not used here.
    """

    def __init__(
        self,
        *,
        filepath: str,
        world: dict[str, Any],
        split: str = "val_unseen",
        max_episodes: int = 0,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        folder, self._spec = _records_folder(filepath, world)
        self._split, self._max_episodes = split, max_episodes
        super().__init__(filepath=folder, metadata=metadata)

    def load(self) -> Any:  # noqa: ANN401 - TownSimulator, of the world
        """Write the world unless it is there, then hand out its simulator."""
        from aquatint.world.town_simulator import TownSimulator

        _ensure_records(self.folder, self._spec)
        return TownSimulator(self.folder, self._spec, self._split, self._max_episodes)

    @property
    def content_digest(self) -> str:
        """The world's arguments, which are the folder's name, split and number of episodes."""
        return f"{self.folder.name} {self._split} {self._max_episodes}"

    def _exists(self) -> bool:
        return True


def _town_folder(filepath: str, world: dict[str, Any]) -> tuple[str, Any]:
    from aquatint.world.town import FORMAT_VERSION, TownWorldSpec

    spec = TownWorldSpec(**world)
    return world_folder(filepath, spec, FORMAT_VERSION), spec


def _records_folder(filepath: str, world: dict[str, Any]) -> tuple[str, Any]:
    from aquatint.world.town_records import FORMAT_VERSION, TownRecordsSpec

    spec = TownRecordsSpec(**world)
    return world_folder(filepath, spec, FORMAT_VERSION, "records"), spec


def _ensure_records(folder: Path, spec: Any) -> None:  # noqa: ANN401 - imported late
    from aquatint.world.town_records import is_complete, write_records

    write_once(folder, spec, is_complete, write_records)


def state_digest(folder: Path) -> str:
    """Digest of tables' and lists' content, and of names, sizes and times of all other files."""
    total = hashlib.sha256()
    for name, stat in list_files(folder):
        is_table = name.endswith(_COMPARED)
        state = file_digest(folder / name) if is_table else f"{stat.st_size} {stat.st_mtime_ns}"
        total.update(f"{name} {state}\n".encode())
    return total.hexdigest()
