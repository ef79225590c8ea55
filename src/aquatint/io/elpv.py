"""Real inspection photographs out of an installed package, written as a YOLO export."""

import importlib.util
import json
import logging
import shutil
from pathlib import Path
from typing import Any

from kedro.io.core import DatasetError

from aquatint.data.sources import DetectedPhotos, YoloExport
from aquatint.io.inspection import DetectedPhotosDataset, YoloExportDataset
from aquatint.storage import is_complete, publish_folder

logger = logging.getLogger(__name__)

CLASS_NAMES = ("mono cell", "mono cell damaged", "poly cell", "poly cell damaged")
_PACKAGE = "elpv_dataset"
_DAMAGED_FROM = 0.5  # of the annotated probabilities 0, 1/3, 2/3 and 1
_NUM_NEW = 32


class ElpvExportDataset(YoloExportDataset):
    """2,624 photographs of solar cells, one object each, as a YOLO export.

    Written on first load from the package ``elpv-dataset``, which a user installs: its photographs
    are CC-BY-NC-SA 4.0 and no part of this project.

    Args:
        filepath: Folder below which the export is written.
        metadata: Kedro-Viz layer and other notes; not used here.

    References:
        Deitsch et al., "Automatic classification of defective photovoltaic module cells in
        electroluminescence images", Solar Energy 2019, https://doi.org/10.1016/j.solener.2019.02.067.
        Two levels instead of four: damaged from a probability of 0.5.
    """

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        super().__init__(filepath=f"{filepath}/export", metadata=metadata)

    def load(self) -> YoloExport:
        """Write the export unless it is there, then hand out its folder.

        Raises:
            DatasetError: If the package is not installed.
        """
        write_elpv(self.folder)
        return super().load()

    def _exists(self) -> bool:
        return True


class ElpvPhotosDataset(DetectedPhotosDataset):
    """The last photographs, kept out of the export, as if a detector had found one cell in each.

    Args:
        filepath: Folder below which the export is written.
        metadata: Kedro-Viz layer and other notes; not used here.
    """

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        super().__init__(
            filepath=f"{filepath}/export/new", label_folder="labels", metadata=metadata
        )

    def load(self) -> DetectedPhotos:
        """Write the export unless it is there, then hand out its folder."""
        write_elpv(self.folder.parent)
        return super().load()

    def _exists(self) -> bool:
        return True


def write_elpv(folder: Path) -> None:
    """Write the package's photographs and labels as a YOLO export, once.

    Raises:
        DatasetError: If the package is not installed.
    """
    if is_complete(folder):
        return
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise DatasetError(
            "--env=elpv reads photographs out of a package that you install yourself (CC-BY-NC-SA "
            "4.0, non-commercial): pip install --no-deps elpv-dataset==1.0.0.post1."
        )
    data = Path(found.submodule_search_locations[0]) / "data"
    rows = [row.split() for row in (data / "labels.csv").read_text().splitlines() if row.strip()]
    logger.info("Writing %d photographs of solar cells to %s (once).", len(rows), folder)
    publish_folder(folder, lambda target: _write(target, data, rows))


def _write(folder: Path, data: Path, rows: list[list[str]]) -> None:
    for part in ("train", "new"):
        for name in ("images", "labels"):
            (folder / part / name).mkdir(parents=True)
    detections = []
    for number, (path, probability, kind) in enumerate(rows):
        part = "new" if number >= len(rows) - _NUM_NEW else "train"
        class_id = 2 * (kind == "poly") + (float(probability) >= _DAMAGED_FROM)
        image = folder / part / "images" / Path(path).name
        shutil.copyfile(data / path, image)
        # One cell fills its photograph.
        (folder / part / "labels" / f"{image.stem}.txt").write_text(f"{class_id} 0.5 0.5 1 1\n")
        if part == "new":
            detections.append(
                {
                    "image": image.name,
                    "object_type": f"{kind}_cell",
                    "confidence": 1.0,
                    "box_xyxy_px": [0, 0, 300, 300],
                }
            )
    (folder / "new" / "detections.json").write_text(json.dumps(detections))
    # All in one split: the recipe splits by photograph.
    names = ", ".join(f"'{name}'" for name in CLASS_NAMES)
    (folder / "data.yaml").write_text(f"train: ../train/images\nnc: 4\nnames: [{names}]\n")
