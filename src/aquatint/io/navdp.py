"""Paths in NavDP's layout: a user's own and those of the world, and the towns to fly over."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from kedro.io.core import AbstractDataset, DatasetError

from aquatint.data.sources import PathRecordings
from aquatint.io.folders import FolderDataset
from aquatint.io.trajectories import state_digest
from aquatint.io.world import world_folder, write_once
from aquatint.models.teacher_source import TeacherSource


class PathFolderDataset(FolderDataset):
    """A user's own paths.

    Args:
        filepath: Folder of the groups: ``<filepath>/<group>/<scene>/{meta,data,videos}``.
        index_file: Index of paths below or beside it; empty to read all that is there.
        metadata: Kedro-Viz layer and other notes; not used here.
    """

    def __init__(
        self, *, filepath: str, index_file: str = "", metadata: dict[str, Any] | None = None
    ) -> None:
        super().__init__(filepath=filepath, metadata=metadata)
        self._index_file = index_file

    def load(self) -> PathRecordings:
        """Hand out the folder.

        Raises:
            DatasetError: If folder or index is missing.
        """
        index = self.folder / self._index_file if self._index_file else None
        for place in (self.folder, index):
            if place is not None and not place.exists():
                raise DatasetError(
                    f"Paths need {place}, which is missing. Point filepath of this catalog entry "
                    "at the folder of your groups (docs/recipes/navdp.md)."
                )
        return PathRecordings(str(self.folder), str(index) if index else "")

    @property
    def content_digest(self) -> str:
        """Digest of tables' content, and of names, sizes and times of the frames."""
        return hashlib.sha256(
            f"{state_digest(self.folder)} {self._index_file}".encode()
        ).hexdigest()


class TownPathsDataset(PathFolderDataset):
    """Paths over the world's towns that are planned once, on first load.

    Args:
        filepath: Folder below which the world is written.
        world: Arguments of ``aquatint.world.town_navdp.TownPathsSpec``.
        metadata: Kedro-Viz layer and other notes; not used here.
    """

    def __init__(
        self, *, filepath: str, world: dict[str, Any], metadata: dict[str, Any] | None = None
    ) -> None:
        from aquatint.world.town_navdp import INDEX_FILE

        folder, self._spec = _paths_folder(filepath, world)
        super().__init__(filepath=f"{folder}/vln_n1", index_file=INDEX_FILE, metadata=metadata)

    def load(self) -> PathRecordings:
        """Write the world unless it is there, then hand out its folder."""
        _ensure_paths(self.folder.parent, self._spec)
        return super().load()

    def _exists(self) -> bool:
        return True


class PlanningSimulatorDataset(FolderDataset):
    """The unseen towns of ``TownPathsDataset`` to fly over in closed loop.

    Args:
        filepath: Folder below which the world is written.
        world: Arguments of ``aquatint.world.town_navdp.TownPathsSpec``.
        max_episodes: At most so many episodes, evenly over the towns; 0 for all.
        metadata: Kedro-Viz layer and other notes; not used here.
    """

    def __init__(
        self,
        *,
        filepath: str,
        world: dict[str, Any],
        max_episodes: int = 0,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        folder, self._spec = _paths_folder(filepath, world)
        self._max_episodes = max_episodes
        super().__init__(filepath=folder, metadata=metadata)

    def load(self) -> Any:  # noqa: ANN401 - PlanningSimulator, of the world
        """Write the world unless it is there, then hand out its simulator."""
        from aquatint.world.town_planning import PlanningSimulator

        _ensure_paths(self.folder, self._spec)
        return PlanningSimulator(self.folder, self._spec, self._max_episodes)

    @property
    def content_digest(self) -> str:
        """The world's arguments, which are the folder's name, and the number of episodes."""
        return f"{self.folder.name} {self._max_episodes}"

    def _exists(self) -> bool:
        return True


class VisionEncoderDataset(AbstractDataset[Any, TeacherSource]):
    """A frozen encoder of pictures, as a light handle.

    Args:
        source: ``world``, the small encoder of the embedded world; ``folder`` or ``hub`` for a
            DINOv2 in transformers' format.
        filepath: Folder of the weights.
        repo_id: Hub id.
        revision: Full commit hash of the hub.
        image_px: Edge that pictures are resized to; 0 for the encoder's own.
        metadata: Kedro-Viz layer and other notes; not used here.
    """

    def __init__(
        self,
        *,
        source: str,
        filepath: str = "",
        repo_id: str = "",
        revision: str = "",
        image_px: int = 0,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        wanted = {"world": (), "folder": ("filepath",), "hub": ("repo_id", "revision")}
        given = {"filepath": filepath, "repo_id": repo_id, "revision": revision}
        if source not in wanted:
            raise DatasetError(f"source must be one of {sorted(wanted)}, got {source!r}.")
        missing = [name for name in wanted[source] if not given[name]]
        if missing:
            raise DatasetError(f"source {source} needs {', '.join(missing)}.")
        self._entry = {"source": source, **{n: given[n] for n in wanted[source]}}
        self._image_px = image_px
        self.metadata = metadata

    def load(self) -> TeacherSource:
        """Find or download the folder and hand out a handle.

        Raises:
            DatasetError: If a folder is missing or the hub cannot be reached.
        """
        from aquatint.io.conversations import find_teacher

        return find_teacher("dino", {**self._entry, "image_px": self._image_px})

    def save(self, data: Any) -> None:  # noqa: ANN401 - Kedro's signature
        """Refuse: an encoder is an input.

        Raises:
            DatasetError: Always.
        """
        raise DatasetError("An encoder is an input; no node saves one.")

    @property
    def content_digest(self) -> str:
        """Where it comes from, and the size of its pictures."""
        return f"{sorted(self._entry.items())} {self._image_px}"

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, Any]:
        return dict(self._entry)


def _paths_folder(filepath: str, world: dict[str, Any]) -> tuple[str, Any]:
    from aquatint.world.town_navdp import FORMAT_VERSION, TownPathsSpec

    spec = TownPathsSpec(**world)
    return world_folder(filepath, spec, FORMAT_VERSION, "paths"), spec


def _ensure_paths(folder: Path, spec: Any) -> None:  # noqa: ANN401 - imported late
    from aquatint.world.town_navdp import is_complete, write_paths

    write_once(folder, spec, is_complete, write_paths)
