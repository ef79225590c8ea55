"""Backbones by source: a hub, a folder, or a pocket model that builds itself."""

import functools
import json
import logging
import re
from pathlib import Path
from typing import Any, Literal, NoReturn

from kedro.io.core import AbstractDataset, DatasetError
from kedro_datasets._typing import JSONPreview

from aquatint.io.artefact import ArtefactDataset
from aquatint.io.pocket_recipe import PocketRecipe
from aquatint.models.architectures import ARCHITECTURES, ArchitectureName
from aquatint.models.backbone import (
    Backbone,
    BackboneError,
    folder_digest,
    read_config,
    stored_tensors,
)
from aquatint.remote import local_path
from aquatint.storage import (
    is_complete,
    list_files,
    publish_folder,
    read_manifest,
    verify_folder,
)
from aquatint.training.lineage import fingerprint
from aquatint.training.lora_adapter import LoraAdapter
from aquatint.training.merged_backbone import MergedBackbone

logger = logging.getLogger(__name__)

_COMMIT = re.compile("[0-9a-f]{40}")


class BackboneDataset(AbstractDataset[Any, Backbone]):
    """A frozen pretrained model as a light handle; nodes load the weights where they need them.

    Args:
        source: ``hub`` (repo_id and revision), ``folder`` (filepath of a ``save_pretrained``
            folder) or ``pocket`` (filepath and recipe; builds itself on first load).
        repo_id: Hub id, for ``hub``.
        revision: Full commit hash on the hub, checked on load: a branch name would change under a
            pinned run.
        filepath: Folder, for ``folder`` and ``pocket``.
        recipe: Arguments of the pocket model, for ``pocket``.
        dtype: Floating-point type to load the weights in.
        architecture: What config.json must name: ``internvl``, ``qwen2_vl`` or ``qwen2_5_vl``.
        quantization: ``int8`` or ``int4`` loads frozen weights through bitsandbytes, on a GPU.
        metadata: Kedro-Viz layer and other notes; not used here.
    """

    def __init__(  # noqa: PLR0913 - the keys of a catalog entry
        self,
        *,
        source: Literal["hub", "folder", "pocket"],
        repo_id: str = "",
        revision: str = "",
        filepath: str = "",
        recipe: dict[str, Any] | None = None,
        dtype: Literal["float32", "bfloat16", "float16"] = "float32",
        architecture: ArchitectureName = "internvl",
        quantization: Literal["none", "int8", "int4"] = "none",
        metadata: dict[str, Any] | None = None,
    ) -> None:
        if architecture not in ARCHITECTURES or quantization not in ("none", "int8", "int4"):
            raise DatasetError(
                f"architecture must be one of {sorted(ARCHITECTURES)} and quantization none, int8 "
                f"or int4, got {architecture!r} and {quantization!r}."
            )
        wanted = {"hub": repo_id and revision, "folder": filepath, "pocket": filepath and recipe}
        if source not in wanted:
            raise DatasetError(f"source must be hub, folder or pocket, got {source!r}.")
        if not wanted[source]:
            needs = {"hub": "repo_id and revision", "folder": "filepath"}
            raise DatasetError(
                f"A backbone with source {source} needs {needs.get(source, 'filepath and recipe')}."
            )
        self._source, self._repo_id, self._revision = source, repo_id, revision
        # Of a remote place the folder on this machine: a pocket backbone builds itself there.
        self._filepath = str(local_path(filepath)) if filepath else ""
        self._recipe, self._dtype = recipe or {}, dtype
        self._architecture, self._quantization = architecture, quantization
        self.metadata = metadata

    def load(self) -> Backbone:
        """Find, download or build the folder and hand out a handle on it.

        Raises:
            DatasetError: If the folder is missing, incomplete or no InternVL, or the hub cannot be
                reached.
        """
        try:
            folder, name = self._locate()
            read_config(folder, self._architecture)
            stored_tensors(folder)
        except (FileNotFoundError, BackboneError) as error:
            raise DatasetError(str(error)) from error
        return Backbone(str(folder), _digest(folder), name, self._dtype, self._quantization)

    def _locate(self) -> tuple[Path, str]:
        match self._source:
            case "hub":
                return download_folder(self._repo_id, self._revision), self._repo_id
            case "folder":
                return Path(self._filepath), Path(self._filepath).name
            case _:
                from aquatint.io.pocket import build_pocket

                return build_pocket(Path(self._filepath), self._pocket_recipe()), "pocket"

    def _pocket_recipe(self) -> PocketRecipe:
        section = {key: tuple(v) for key, v in self._recipe.items() if key == "mrope_section"}
        return PocketRecipe(**{**self._recipe, **section}, architecture=self._architecture)

    def save(self, data: Any) -> NoReturn:  # noqa: ANN401 - Kedro's signature
        """Refuse: a pretrained model is an input.

        Raises:
            DatasetError: Always.
        """
        raise DatasetError("A backbone is an input; a node that changes one saves a merged one.")

    @property
    def content_digest(self) -> str:
        """Digest of what is loaded; a pocket model's recipe stands for the model it builds."""
        if self._source == "folder" and Path(self._filepath).is_dir():
            return f"{_digest(Path(self._filepath))}-{self._suffix}"
        if self._source == "pocket":
            from aquatint.io.pocket import pocket_digest

            return f"{pocket_digest(self._pocket_recipe())}-{self._suffix}"
        return fingerprint({**self._describe(), "filepath": None})

    @property
    def _suffix(self) -> str:
        quantized = "" if self._quantization == "none" else f"-{self._quantization}"
        return f"{self._dtype}{quantized}"

    def _exists(self) -> bool:
        return self._source != "folder" or Path(self._filepath).is_dir()

    def _describe(self) -> dict[str, Any]:
        return {
            "source": self._source,
            "repo_id": self._repo_id,
            "revision": self._revision,
            "filepath": self._filepath,
            "recipe": self._recipe,
            "dtype": self._dtype,
            # Left out at their defaults: what was made before them stays fresh.
            **({} if self._architecture == "internvl" else {"architecture": self._architecture}),
            **({} if self._quantization == "none" else {"quantization": self._quantization}),
        }


def _digest(folder: Path) -> str:
    """The digest that a folder's own manifest records, or else one over its files."""
    if is_complete(folder):
        recorded = read_manifest(folder).get("digest")
        if recorded:
            return str(recorded)
    return _digest_of_state(
        folder,
        tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in list_files(folder)),
    )


@functools.lru_cache(maxsize=8)
def _digest_of_state(folder: Path, state: tuple[tuple[str, int, int], ...]) -> str:
    """Digest of a folder in a state; every node of a run asks, and hashing 2 GB takes seconds."""
    return folder_digest(folder)


def download_folder(repo_id: str, revision: str) -> Path:
    """Return the folder of a repository of the hub at a commit.

    Raises:
        DatasetError: If the revision is no full commit hash, or the hub cannot be reached.
    """
    from huggingface_hub import snapshot_download

    if _COMMIT.fullmatch(revision) is None:
        raise DatasetError(
            f"The revision of {repo_id} must be a full commit hash of 40 hex digits, got "
            f"{revision!r}. Copy it from https://huggingface.co/{repo_id}/commits/main into the "
            "backbone's entry or conf/<env>/globals.yml."
        )

    try:
        return Path(snapshot_download(repo_id, revision=revision))
    except Exception as error:
        raise DatasetError(
            f"Could not get {repo_id} at {revision} from the hub: {error}. Without a network, put "
            "the folder somewhere and use source: folder."
        ) from error


class MergedBackboneDataset(ArtefactDataset[Any]):
    """A backbone with its LoRA weights merged in, as a folder that ``from_pretrained`` loads.

    A node saves a ``MergedBackbone`` and gets a ``Backbone`` back.
    """

    is_folder = True

    def _read(self, path: Path) -> Backbone:
        manifest = verify_folder(path)
        return Backbone(str(path), manifest["digest"], manifest["name"])

    def _write(self, path: Path, data: MergedBackbone) -> None:
        digest = data.digest
        publish_folder(
            path,
            data.save_pretrained,
            {"digest": digest, "name": f"{data.parent.name}+lora", "lineage": data.lineage},
        )

    def preview(self) -> JSONPreview:
        """Return lineage and checksums for Kedro-Viz."""
        return JSONPreview(json.dumps(read_manifest(self._copy())))


class LoraAdapterDataset(ArtefactDataset[Any]):
    """Low-rank weights as a folder that ``PeftModel.from_pretrained`` loads.

    A node saves a ``LoraAdapter`` and gets the folder's path back.
    """

    is_folder = True

    def _read(self, path: Path) -> str:
        verify_folder(path)
        return str(path)

    def _write(self, path: Path, data: LoraAdapter) -> None:
        manifest = {"digest": data.digest, "lineage": data.lineage}
        publish_folder(path, data.save_pretrained, manifest)

    def preview(self) -> JSONPreview:
        """Return lineage and checksums for Kedro-Viz."""
        return JSONPreview(json.dumps(read_manifest(self._copy())))
