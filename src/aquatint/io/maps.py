"""Arrays by sample as a folder: one npz each, and pictures of what can be looked at."""

import re
from pathlib import Path

import numpy as np

from aquatint.io.artefact import ArtefactDataset
from aquatint.storage import publish_folder, verify_folder

Maps = dict[str, dict[str, np.ndarray]]
_NAMES = "samples.json"


class MapsDataset(ArtefactDataset[Maps]):
    """Decoded masks, depth, edges and features of samples.

    Beside each ``<number>.npz`` lie ``<number>_<name>.png`` of its masks and maps;
    ``samples.json`` says which sample a number is.
    """

    is_folder = True

    def _read(self, path: Path) -> Maps:
        import json

        verify_folder(path)
        found: Maps = {}
        for number, name in enumerate(json.loads((path / _NAMES).read_text())):
            with np.load(path / f"{number:04d}.npz", allow_pickle=False) as arrays:
                found[name] = {key: arrays[key] for key in arrays.files}
        return found

    def _write(self, path: Path, data: Maps) -> None:
        import json

        from PIL import Image

        from aquatint.reports.maps import picture_of

        def write(folder: Path) -> None:
            for number, arrays in enumerate(data.values()):
                np.savez_compressed(folder / f"{number:04d}.npz", **arrays)  # type: ignore[arg-type]
                for name, values in arrays.items():
                    picture = picture_of(re.sub("_target$", "", name), values)
                    if picture is not None:
                        Image.fromarray(picture).save(folder / f"{number:04d}_{name}.png")
            (folder / _NAMES).write_text(json.dumps(list(data)))

        publish_folder(path, write, {"num_samples": len(data)})
