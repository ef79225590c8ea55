"""Real airborne photographs from an installed package, written in GeoText's layout."""

import importlib.util
import io
import json
import logging
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from kedro.io.core import DatasetError
from PIL import Image
from tqdm import tqdm

from aquatint.data.airborne import (
    AirborneSpec,
    Crown,
    Tile,
    choose_test,
    crowns_in_tile,
    cut_blocks,
    parse_crowns,
)
from aquatint.data.airborne_captions import NUM_REGIONS, describe_tile
from aquatint.data.sources import GeoTextFolder
from aquatint.io.folders import GeoTextFolderDataset
from aquatint.storage import file_digest, is_complete, publish_folder

logger = logging.getLogger(__name__)

# Part of the folder's address: raise it when other files come out of the same photographs.
FORMAT_VERSION = 1
_TRAIN_FILE, _TEST_FILE, _IMAGES = "train.json", "test_951_version.json", "images"
_SUBFOLDERS = {"train": "train", "test": "test/gallery_no_train"}
_JPEG_QUALITY = 95
_WAY_OUT = "pip install --no-deps deepforest==2.1.0"

Record = dict[str, Any]


class AirborneGeoTextDataset(GeoTextFolderDataset):
    """A GeoText folder cut from annotated airborne photographs, once, on first load.

    A block of a photograph stands for a building, its overlapping tiles for the building's images.
    Blocks share no pixels, so neither do the splits; they do share sites, because there are four
    photographs. The folder's name carries the specification and the photographs' content.

    Args:
        filepath: Folder below which the tiles are written.
        tiles: Arguments of ``aquatint.data.airborne.AirborneSpec``.
        package: Installed package whose ``data`` folder holds photographs (PNG) with annotations
            (Pascal VOC XML of the same name); it is found, never imported.
        metadata: Kedro-Viz layer and other notes; not used here.

    References:
        Weinstein et al., "DeepForest", Methods in Ecology and Evolution 2020,
        https://doi.org/10.1111/2041-210X.13472: the package that ships the photographs (MIT).
    """

    def __init__(
        self,
        *,
        filepath: str,
        tiles: dict[str, Any],
        package: str = "deepforest",
        test_file: str = "test_951_version.json",
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(filepath=filepath, test_file=test_file, metadata=metadata)
        self._spec, self._package = AirborneSpec(**tiles), package

    @property
    def folder(self) -> Path:
        """The folder of these photographs, cut to this specification.

        Raises:
            DatasetError: If the package is not installed, or holds no annotated photograph.
        """
        from aquatint.training.lineage import fingerprint

        sources = {path.name: file_digest(path) for pair in self._photographs() for path in pair}
        address = {"spec": asdict(self._spec), "format": FORMAT_VERSION, "sources": sources}
        return Path(str(self._filepath)) / f"tiles_{fingerprint(address)[:12]}"

    def load(self) -> GeoTextFolder:
        """Cut the photographs unless that is done, then hand out the folder."""
        folder = self.folder
        if not is_complete(folder):
            logger.info("Cutting the photographs of %s to %s (once).", self._package, folder)
            try:
                publish_folder(folder, self._write, {"spec": asdict(self._spec)})
            except FileExistsError:
                if not is_complete(folder):
                    raise
                logger.info("Another run has cut them meanwhile.")
            except ValueError as error:
                raise DatasetError(str(error)) from error
        return super().load()

    def _photographs(self) -> list[tuple[Path, Path]]:
        """Photograph and annotation of each pair in the package's data folder."""
        package = importlib.util.find_spec(self._package)
        places = package.submodule_search_locations if package else None
        if not places:
            raise DatasetError(
                f"The airborne photographs come with the package {self._package}, which is not "
                f"installed. Run: {_WAY_OUT}"
            )
        data = Path(places[0]) / "data"
        pairs = [(path.with_suffix(".png"), path) for path in sorted(data.glob("*.xml"))]
        pairs = [pair for pair in pairs if pair[0].is_file()]
        if not pairs:
            raise DatasetError(
                f"{data} must hold photographs (PNG) with annotations (XML of the same name), but "
                f"has none. Run: {_WAY_OUT}"
            )
        return pairs

    def _write(self, folder: Path) -> None:
        train: list[Record] = []
        test: list[Record] = []
        sources: dict[str, Record] = {}
        for photograph, annotation in tqdm(
            self._photographs(), desc="cutting photographs", disable=None, leave=False
        ):
            crowns = parse_crowns(annotation.read_bytes(), annotation.name)
            with Image.open(photograph, formats=("PNG",)) as image:
                pixels = np.array(image.convert("RGB"))
            blocks = self._numbered_blocks(pixels, crowns, len(sources))
            in_test = choose_test(list(blocks), self._spec)
            for name, tiles in blocks.items():
                split = "test" if name in in_test else "train"
                records = list(self._cut(folder, split, name, tiles, pixels, crowns))
                (test if split == "test" else train).extend(records)
                sources[name] = {"photograph": photograph.name, "split": split, "tiles": tiles}
        if not train or not test:
            raise ValueError(
                f"both splits need a building, got {len(train)} train and {len(test)} test images; "
                f"lower min_block_px {self._spec.min_block_px} or min_trees {self._spec.min_trees}."
            )
        content = {_TRAIN_FILE: _one_caption_each(train), _TEST_FILE: test, "sources.json": sources}
        for name, value in content.items():
            (folder / name).write_text(json.dumps(value, indent=1))

    def _numbered_blocks(
        self, pixels: np.ndarray, crowns: list[Crown], num_before: int
    ) -> dict[str, list[Tile]]:
        """Tiles with enough crowns of each block that has any, by the building's name."""
        blocks = [
            [tile for tile in block if self._has_enough(crowns, tile)]
            for block in cut_blocks(pixels.shape[1], pixels.shape[0], self._spec)
        ]
        kept = [block for block in blocks if block]
        return {f"{num_before + i:04d}": block for i, block in enumerate(kept, start=1)}

    def _has_enough(self, crowns: list[Crown], tile: Tile) -> bool:
        return len(crowns_in_tile(crowns, tile, self._spec.tile_px)) >= self._spec.min_trees

    def _cut(
        self,
        folder: Path,
        split: str,
        name: str,
        tiles: list[Tile],
        pixels: np.ndarray,
        crowns: list[Crown],
    ) -> Iterator[Record]:
        """Write the tiles of one building and yield their records."""
        size = self._spec.tile_px
        subfolder = f"{_SUBFOLDERS[split]}/{name}"
        (folder / _IMAGES / subfolder).mkdir(parents=True)
        for number, tile in enumerate(tiles, start=1):
            content = pixels[tile.top : tile.top + size, tile.left : tile.left + size]
            file_name = f"image-{number:02d}.jpeg"
            buffer = io.BytesIO()
            Image.fromarray(content).save(buffer, format="JPEG", quality=_JPEG_QUALITY)
            (folder / _IMAGES / subfolder / file_name).write_bytes(buffer.getvalue())
            said = describe_tile(crowns_in_tile(crowns, tile, size), content)
            padding = [None] * (NUM_REGIONS - len(said.regions))
            boxes = [[round(value, 5) for value in box] for _, box in said.regions]
            yield {
                "image_id": f"{name}/{file_name}",
                "image": f"{subfolder}/{file_name}",
                "caption": list(said.captions),
                "sentences": [*(sentence for sentence, _ in said.regions), *padding],
                "bboxes": [*boxes, *padding],
            }

    def _exists(self) -> bool:
        return True

    def _describe(self) -> dict[str, Any]:
        tiles = asdict(self._spec)
        return {"filepath": str(self._filepath), "tiles": tiles, "package": self._package}


def _one_caption_each(records: list[Record]) -> list[Record]:
    """A record for each caption, as the train file has them."""
    return [{**record, "caption": text} for record in records for text in record["caption"]]
