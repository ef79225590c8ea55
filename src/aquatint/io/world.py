"""Raw data that render themselves: the embedded aerial world in GeoText's layout."""

import logging
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from aquatint.data.sources import GeoTextFolder
from aquatint.io.folders import GeoTextFolderDataset
from aquatint.locks import one_builder

logger = logging.getLogger(__name__)

T = TypeVar("T")


def world_folder(filepath: str, spec: Any, version: int, kind: str = "world") -> str:  # noqa: ANN401 - a dataclass
    """Return where the world of a specification lies: its name carries what it is made from.

    Args:
        filepath: Folder of all worlds of a recipe; a URL stays one, which a path would not.
        spec: Specification, a dataclass.
        version: Version of the format.
        kind: What the folder's name begins with.
    """
    from aquatint.training.lineage import fingerprint

    digest = fingerprint({"spec": asdict(spec), "format": version})
    return f"{filepath}/{kind}_{digest[:12]}"


def write_once(
    folder: Path,
    spec: T,
    is_complete: Callable[[Path, T], bool],
    write: Callable[[Path, T], None],
) -> None:
    """Write a world unless it is there; of several runs one writes, and the others wait for it.

    Args:
        folder: Where the world lies.
        spec: What it is made from.
        is_complete: Whether the folder holds all of the world of this spec.
        write: Writes the folder; it appears under its name when complete.
    """
    if is_complete(folder, spec):
        return
    with one_builder(folder):
        if not is_complete(folder, spec):
            logger.info("Rendering the embedded world to %s (once).", folder)
            write(folder, spec)


class GeoTextWorldDataset(GeoTextFolderDataset):
    """A GeoText folder that renders itself once, on first load.

    A folder that was rendered for other arguments is never reused: its name carries them.

    Args:
        filepath: Folder below which the world is written.
        world: Arguments of ``aquatint.world.geotext.GeoTextWorldSpec``.
        test_file: Test file to read; the 951 or the 24G version.
        metadata: Kedro-Viz layer and other notes; not used here.
    """

    def __init__(
        self,
        *,
        filepath: str,
        world: dict[str, Any],
        test_file: str = "test_951_version.json",
        metadata: dict[str, Any] | None = None,
    ) -> None:
        from aquatint.world.geotext import FORMAT_VERSION, GeoTextWorldSpec

        self._spec = GeoTextWorldSpec(**world)
        super().__init__(
            filepath=world_folder(filepath, self._spec, FORMAT_VERSION),
            test_file=test_file,
            metadata=metadata,
        )

    def load(self) -> GeoTextFolder:
        """Render the world unless it is there, then hand out its folder."""
        from aquatint.world.geotext import is_complete, write_geotext

        write_once(self.folder, self._spec, is_complete, write_geotext)
        return super().load()

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, Any]:
        return {**super()._describe(), "world": vars(self._spec)}
