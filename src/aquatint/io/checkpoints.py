"""Checkpoints as folders: safetensors weights, specification, lineage, checksums."""

import json
from pathlib import Path

from kedro_datasets._typing import JSONPreview

from aquatint.io.artefact import ArtefactDataset
from aquatint.storage import publish_folder, read_manifest, verify_folder
from aquatint.training.checkpoint import Checkpoint

WEIGHTS, LAST_WEIGHTS, SPEC = "weights.safetensors", "last_weights.safetensors", "spec.json"


class CheckpointDataset(ArtefactDataset[Checkpoint]):
    """A ``Checkpoint`` as a folder whose manifest, written last, holds lineage and checksums.

    An incomplete or altered checkpoint is never loaded; the error names the file.
    """

    is_folder = True

    def _read(self, path: Path) -> Checkpoint:
        from safetensors.torch import load_file

        manifest = verify_folder(path)
        last = path / LAST_WEIGHTS
        return Checkpoint(
            weights=load_file(path / WEIGHTS),
            spec=json.loads((path / SPEC).read_text()),
            lineage=manifest["lineage"],
            last_weights=load_file(last) if last.exists() else {},
        )

    def _write(self, path: Path, data: Checkpoint) -> None:
        from safetensors.torch import save_file

        def write(folder: Path) -> None:
            save_file(_contiguous(data.weights), folder / WEIGHTS)
            if data.last_weights:
                save_file(_contiguous(data.last_weights), folder / LAST_WEIGHTS)
            (folder / SPEC).write_text(json.dumps(data.spec, indent=1, sort_keys=True))

        lineage = {**data.lineage, "version": self.resolve_save_version()}
        publish_folder(path, write, {"digest": data.digest, "lineage": lineage})

    def preview(self) -> JSONPreview:
        """Return lineage and checksums for Kedro-Viz."""
        return JSONPreview(json.dumps(read_manifest(self._copy())))


def _contiguous(weights: dict) -> dict:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
