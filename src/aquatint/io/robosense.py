"""RoboSense challenges as catalog entries: the organisers' folder, or one made from the world."""

import hashlib
import json
import logging
import shutil
from pathlib import Path
from typing import Any

from kedro.io.core import DatasetError

from aquatint.data.sources import GeoTextFolder, RoboSenseFolder
from aquatint.io.folders import FolderDataset, folder_state
from aquatint.io.world import GeoTextWorldDataset
from aquatint.storage import is_complete, publish_folder

logger = logging.getLogger(__name__)

# Part of the folder's address: raise it when other files come out of the same world.
FORMAT_VERSION = 1
_QUERY_FILE, _IMAGES = "test_queries.txt", "images"


class RoboSenseFolderDataset(FolderDataset):
    """The organisers' folder of track 4.

    Args:
        filepath: Folder that holds the query file and the image folder.
        query_file: Name of the query file.
        image_folder: Name of the flat image folder.
        metadata: Kedro-Viz layer and other notes; not used here.
    """

    def __init__(
        self,
        *,
        filepath: str,
        query_file: str = _QUERY_FILE,
        image_folder: str = _IMAGES,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(filepath=filepath, metadata=metadata)
        self._query_file, self._image_folder = query_file, image_folder

    def load(self) -> RoboSenseFolder:
        """Hand out the folder after a look at what it must hold.

        Raises:
            DatasetError: If the query file or the image folder is missing.
        """
        query_file, image_root = self.folder / self._query_file, self.folder / self._image_folder
        missing = [str(path) for path in (query_file, image_root) if not path.exists()]
        if missing:
            raise DatasetError(
                f"A challenge needs {query_file} and {image_root}; missing: {', '.join(missing)}. "
                "Point filepath, query_file or image_folder of this catalog entry at your data."
            )
        return RoboSenseFolder(str(query_file), str(image_root))

    @property
    def content_digest(self) -> str:
        """Digest of the queries and of names, sizes and times of the images."""
        return folder_state(self.folder, [self._query_file], self._image_folder)


class RoboSenseWorldDataset(RoboSenseFolderDataset):
    """A challenge made once from the test split of the embedded world.

    The first caption of every test image is a query, the images lie flat under names that say
    nothing of their content, as the organisers publish them.

    Args:
        filepath: Folder below which the challenge is written.
        geotext_filepath: ``filepath`` of the world's own entry; a world is rendered there once.
        world: Arguments of ``aquatint.world.geotext.GeoTextWorldSpec``.
        metadata: Kedro-Viz layer and other notes; not used here.
    """

    def __init__(
        self,
        *,
        filepath: str,
        geotext_filepath: str,
        world: dict[str, Any],
        metadata: dict[str, Any] | None = None,
    ) -> None:
        self._world = GeoTextWorldDataset(filepath=geotext_filepath, world=world)
        name = f"challenge_{self._world.folder.name.removeprefix('world_')}_v{FORMAT_VERSION}"
        super().__init__(filepath=f"{filepath}/{name}", metadata=metadata)

    def load(self) -> RoboSenseFolder:
        """Render the world and lay the challenge out unless that is done; hand out the folder."""
        if not is_complete(self.folder):
            source = self._world.load()
            logger.info("Laying out a challenge in %s (once).", self.folder)
            try:
                publish_folder(self.folder, lambda folder: _lay_out(source, folder))
            except FileExistsError:
                if not is_complete(self.folder):
                    raise
                logger.info("Another run has laid it out meanwhile.")
        return super().load()

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, Any]:
        return {**super()._describe(), "world": self._world._describe()["world"]}


def _lay_out(source: GeoTextFolder, folder: Path) -> None:
    (folder / _IMAGES).mkdir()
    lines = []
    records = json.loads(Path(source.test_file).read_text(encoding="utf-8"))
    for number, record in enumerate(records, start=1):
        digits = hashlib.sha256(record["image_id"].encode()).hexdigest()[:16]
        image = Path(source.image_root) / record["image"]
        shutil.copyfile(image, folder / _IMAGES / f"image_{digits}.jpeg")
        # One line is one query: no caption may bring a line break or a tab of its own.
        lines.append(f"q_{number:05d}\t{' '.join(record['caption'][0].split())}\n")
    (folder / _QUERY_FILE).write_text("".join(lines), encoding="utf-8")
