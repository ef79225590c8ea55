"""Versions that nothing kept descends from."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kedro.io import DataCatalog

from aquatint.storage import read_manifest
from aquatint.training.state import state_folder_name

Key = tuple[str, str]


@dataclass(frozen=True)
class StoredVersion:
    """One version of a dataset on the disk.

    Attributes:
        name: Dataset.
        version: Version.
        folder: Folder of the version, its provenance included.
        megabytes: Size of all its files, in MB of 1e6 bytes.
    """

    name: str
    version: str
    folder: Path
    megabytes: float


def prunable_versions(
    catalog: DataCatalog, names: Iterable[str], keep: int, min_age_s: float
) -> list[StoredVersion]:
    """Find versions that can go.

    Kept are the ``keep`` newest complete versions of each dataset, whatever is younger than
    ``min_age_s`` seconds, and all ancestors of both.

    Args:
        catalog: Catalog of the project.
        names: Datasets to look at.
        keep: Newest versions of each to keep.
        min_age_s: A run in progress may still need its own; measured by the time of last change.

    Returns:
        The others, by name and then oldest first; a version whose writing was cut off is one of
        them.
    """
    stored = {name: _folders(catalog, name) for name in sorted(names)}
    kept: set[Key] = set()
    for name, folders in stored.items():
        complete = [folder for folder in folders if _is_complete(catalog, name, folder.name)]
        newest = complete[-keep:]
        young = [f for f in folders if time.time() - f.stat().st_mtime < min_age_s]
        for folder in {*newest, *young}:
            _keep(catalog, (name, folder.name), kept)
    return [
        StoredVersion(name, folder.name, folder, megabytes(folder))
        for name, folders in stored.items()
        for folder in folders
        if (name, folder.name) not in kept
    ]


def leftovers(
    catalog: DataCatalog, names: Iterable[str], data_root: Path, min_age_s: float
) -> list[Path]:
    """Find what killed runs left behind and nobody will read.

    Args:
        catalog: Catalog of the project.
        names: Datasets of all pipelines.
        data_root: Where unfinished writes, named ``.tmp-*``, are looked for.
        min_age_s: Younger ones may belong to a run in progress.

    Returns:
        Unfinished writes, and states of trainings whose checkpoint is stored: a run that is killed
        between its last save and the end of its node leaves one.
    """
    finished = _finished_trainings(catalog, names)
    states = [
        folder
        for name in sorted(names)
        if name.endswith(".training_state")
        for folder in Path(catalog.load(name).root).glob("[!.]*")
        if folder.name in finished
    ]
    found = {*states, *data_root.rglob(".tmp-*")}
    return [
        path
        for path in sorted(found)
        if not found.intersection(path.parents)  # goes with the folder it lies in
        and time.time() - path.stat().st_mtime >= min_age_s
    ]


def _finished_trainings(catalog: DataCatalog, names: Iterable[str]) -> set[str]:
    """Folder names of the trainings whose checkpoint is on the disk."""
    checkpoints = [name for name in names if name.endswith(".checkpoint")]
    manifests = [
        read_manifest(folder / Path(str(catalog.get(name)._filepath)).name)
        for name in checkpoints
        for folder in _folders(catalog, name)
        if _is_complete(catalog, name, folder.name)
    ]
    keys = [manifest["lineage"].get("training_key", "") for manifest in manifests]
    return {state_folder_name(key) for key in keys if key}


def delete_leftover(path: Path) -> None:
    """Delete a file or folder that ``leftovers`` found."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def delete_version(version: StoredVersion) -> None:
    """Delete a version; it is out of sight at once, however long its files take to go."""
    hidden = version.folder.with_name(f".tmp-pruned-{version.folder.name}")
    version.folder.rename(hidden)
    shutil.rmtree(hidden)


def _folders(catalog: DataCatalog, name: str) -> list[Path]:
    """Folders of the versions of a dataset, oldest first; none for an unversioned one."""
    dataset = catalog.get(name)
    if not hasattr(dataset, "read_provenance") or dataset.resolve_save_version() is None:
        return []
    root = Path(str(dataset._filepath))
    return sorted(f for f in root.iterdir() if _is_version(f)) if root.is_dir() else []


def _is_version(folder: Path) -> bool:
    return folder.is_dir() and not folder.name.startswith(".")


def _is_complete(catalog: DataCatalog, name: str, version: str) -> bool:
    dataset = catalog.get(name)
    return dataset._is_written(str(dataset._get_versioned_path(version)))


def _keep(catalog: DataCatalog, key: Key, kept: set[Key]) -> None:
    """Keep a version and all its ancestors."""
    if key in kept:
        return
    kept.add(key)
    dataset = catalog.get(key[0])
    if not hasattr(dataset, "read_provenance"):
        return
    record = dataset.read_provenance(key[1]) or {}
    for parent, version in record.get("versions", {}).items():
        if version:
            _keep(catalog, (parent, version), kept)


def megabytes(path: Path) -> float:
    """Size of a file, or of all files of a folder, in MB of 1e6 bytes."""
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return sum(file.stat().st_size for file in files) / 1e6
