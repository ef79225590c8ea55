"""Content-addressed arrays of whatever is frozen: sharded, resumable, memory-mapped."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from aquatint.collective import barrier, hides_bars, num_ranks, rank
from aquatint.remote import Remote, is_remote, local_path
from aquatint.storage import (
    DamagedArtefactError,
    is_complete,
    publish_folder,
    read_manifest,
    verify_folder,
)

logger = logging.getLogger(__name__)

# Key of a recipe whose rows lie on the disk in another order of axes than they are read in.
STORED_AXES = "stored_axes"
# Shards, with the time of their last change, that this process has checked or written itself.
_sound: set[tuple[Path, int]] = set()
_DATA, _KEYS = "data.npy", "keys.json"
# Part of every cache's address: raise it when the meaning of stored values changes.
FORMAT_VERSION = 1


@dataclass(frozen=True)
class FeatureStore:
    """Folder under which all caches lie; a light handle that the catalog hands out.

    Attributes:
        root: Path or URL of the folder of the caches.
        max_gigabytes: No cache may grow beyond this.
    """

    root: str
    max_gigabytes: float


@dataclass(frozen=True)
class FeatureCache:
    """One finished cache; cheap to copy, memory-mapped when it is read.

    Attributes:
        folder: Path or URL of the folder of the shards.
        recipe: What the values are made from: weights digest, preprocessing, dtype.
        num_keys: Distinct contents that the cache was asked for.
    """

    folder: str
    recipe: dict[str, Any]
    num_keys: int

    @property
    def digest(self) -> str:
        """Address of the cache: what its values are made from."""
        return _address(self.recipe)

    def open(self) -> FeatureReader:
        """Map the shards into memory for reading."""
        return FeatureReader(_fetch(self.folder), self.recipe.get(STORED_AXES))


class FeatureReader:
    """Rows of a cache by content key.

    Args:
        folder: Folder of complete shards.
        stored_axes: For each stored axis of a row, which axis of it that is; None if rows are
            stored as they are read.
    """

    def __init__(self, folder: Path, stored_axes: Sequence[int] | None = None) -> None:
        self._read_axes = None if stored_axes is None else [0, *(1 + np.argsort(stored_axes))]
        shards = _complete_shards(folder)
        for shard in shards:
            _check_shard(shard)
        # Plain arrays over the mapping: each view of a memmap is a Python object more.
        self._shards = [np.asarray(np.load(shard / _DATA, mmap_mode="r")) for shard in shards]
        self._places: dict[str, tuple[int, int]] = {}
        for index, shard in enumerate(shards):
            for row, key in enumerate(json.loads((shard / _KEYS).read_text())):
                self._places.setdefault(key, (index, row))
        self._folder = folder

    def places(self, keys: Sequence[str]) -> np.ndarray:
        """Return shard and row of each key, shape (N, 2).

        Raises:
            DamagedArtefactError: If a key is not in the cache.
        """
        missing = [key for key in keys if key not in self._places]
        if missing:
            raise DamagedArtefactError(
                f"{len(missing)} of {len(keys)} samples are not in the feature cache "
                f"{self._folder}; run --tags=features again."
            )
        return np.array([self._places[key] for key in keys], dtype=np.int64).reshape(-1, 2)

    def read(self, places: np.ndarray) -> np.ndarray:
        """Return the rows at ``places`` (N, 2) as one array, shape (N, ...)."""
        if not self._shards:
            raise DamagedArtefactError(f"The feature cache {self._folder} is empty.")
        first = self._shards[0]
        rows = np.empty((len(places), *first.shape[1:]), dtype=first.dtype)
        # One by one, because rows of an index array are copied twice: out of the shard and in here.
        for row, (shard, place) in enumerate(places.tolist()):
            rows[row] = self._shards[shard][place]
        return rows if self._read_axes is None else rows.transpose(self._read_axes)


def build_cache(
    store: FeatureStore,
    recipe: Mapping[str, Any],
    keys: Sequence[str],
    compute: Callable[[Sequence[int]], np.ndarray],
    *,
    shard_size: int = 512,
    description: str = "features",
) -> FeatureCache:
    """Compute what the cache lacks and return a handle on it.

    Shards that an interrupted run completed are kept, and two runs at once write the same content
    under the same names. Ranks share the shards; each returns when all are there. A shard is
    written while the next one is computed.

    Args:
        store: Where caches lie and how large one may grow.
        recipe: Everything the values depend on besides the sample's own content.
        keys: Content key of each sample (sha256); repeated contents are computed once.
        compute: Positions in ``keys`` to values, shape (len(positions), ...), same dtype always;
            with ``STORED_AXES`` in the recipe, in that order of axes.
        shard_size: Samples of one shard file.
        description: Label of the progress bar.

    Raises:
        ValueError: If the cache would exceed ``max_gigabytes`` or the free space.
    """
    content = {**recipe, "format": FORMAT_VERSION}
    place = f"{store.root.rstrip('/')}/{_address(content)}"
    folder = _fetch(place)
    first_position = {key: i for i, key in reversed(list(enumerate(keys)))}
    known = _known_keys(folder)
    todo = sorted(position for key, position in first_position.items() if key not in known)
    # All have looked before any writes, so that all cut the same samples into shards.
    barrier()
    first = rank() * shard_size
    bar = tqdm(
        total=-(-len(todo) // num_ranks()),
        desc=description,
        disable=hides_bars(),
        leave=False,
        unit="sample",
    )
    with ThreadPoolExecutor(max_workers=1) as writer:
        written: Future[None] | None = None
        for start in range(first, len(todo), num_ranks() * shard_size):
            positions = todo[start : start + shard_size]
            values = compute(positions)
            if start == first:
                _check_space(store, folder, values, len(todo), description)
            if written is not None:
                # Never more than two shards in memory.
                written.result()
            written = writer.submit(
                _write_shard, place, values, [keys[i] for i in positions], content
            )
            bar.update(len(positions))
        if written is not None:
            written.result()
    bar.close()
    barrier()
    logger.info(
        "%s: %d computed, %d found.", description, len(todo), len(first_position) - len(todo)
    )
    return FeatureCache(place, content, len(first_position))


def _address(recipe: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:20]


def _fetch(place: str) -> Path:
    """Folder of a cache on this machine, with all complete shards of a remote one in it."""
    if is_remote(place):
        remote = Remote(place)
        shards = [remote.of(remote.local / name) for name in remote.names() if name[0] != "."]
        for shard in shards:
            if shard.is_written(is_folder=True):
                shard.pull(is_folder=True)
    return local_path(place)


def _complete_shards(folder: Path) -> list[Path]:
    return [shard for shard in sorted(folder.glob("shard-*")) if is_complete(shard)]


def _state_of(shard: Path) -> tuple[Path, int]:
    return shard, (shard / _DATA).stat().st_mtime_ns


def _check_shard(shard: Path) -> None:
    """Compare a shard's checksums with its manifest, once for a process and a state of the file.

    Raises:
        DamagedArtefactError: If a single bit differs.
    """
    if _state_of(shard) in _sound:
        return
    try:
        verify_folder(shard)
    except DamagedArtefactError as error:
        raise DamagedArtefactError(
            f"{error} The next run computes the shard again once {shard} is deleted."
        ) from error
    _sound.add(_state_of(shard))


def _known_keys(folder: Path) -> set[str]:
    """Keys of all shards whose files have the sizes of their manifests."""
    known: set[str] = set()
    for shard in _complete_shards(folder):
        files = read_manifest(shard)["files"]
        sizes = {name: (shard / name).stat().st_size for name in files if (shard / name).exists()}
        if sizes != {name: entry["bytes"] for name, entry in files.items()}:
            raise DamagedArtefactError(
                f"The shard {shard} was altered after it was written; delete it, and the next run "
                "computes it again."
            )
        known.update(json.loads((shard / _KEYS).read_text()))
    return known


def _check_space(
    store: FeatureStore, folder: Path, sample: np.ndarray, num_samples: int, description: str
) -> None:
    """Refuse before hours of work what the disk or the limit cannot hold."""
    per_sample = sample.nbytes / len(sample)
    total_gb = per_sample * num_samples / 1e9
    logger.info("%s: %.1f kB a sample, %.3f GB in all.", description, per_sample / 1e3, total_gb)
    if total_gb > store.max_gigabytes:
        raise ValueError(
            f"The cache of {description} would need {total_gb:.1f} GB, more than max_gigabytes "
            f"{store.max_gigabytes:g}. Raise max_gigabytes of feature_store in the catalog, or "
            "lower token_grid or max_tokens."
        )
    folder.mkdir(parents=True, exist_ok=True)
    free_gb = shutil.disk_usage(folder).free / 1e9
    if total_gb > free_gb:
        raise ValueError(
            f"The cache of {description} needs {total_gb:.1f} GB, but only {free_gb:.1f} GB are "
            f"free at {folder}. Free some space or point data_root elsewhere."
        )


def _write_shard(
    place: str, values: np.ndarray, keys: list[str], recipe: Mapping[str, Any]
) -> None:
    if len(values) != len(keys):
        raise ValueError(f"compute returned {len(values)} rows for {len(keys)} samples.")

    def write(target: Path) -> None:
        np.save(target / _DATA, values)
        (target / _KEYS).write_text(json.dumps(keys))

    name = hashlib.sha256("".join(keys).encode()).hexdigest()[:16]
    final = local_path(place) / f"shard-{name}"
    try:
        if not final.exists():
            publish_folder(final, write, {"recipe": dict(recipe)})
            _sound.add(_state_of(final))
    except FileExistsError:
        # Another run finished the same shard in between: same keys, same recipe, same values.
        if not is_complete(final):
            raise
    if is_remote(place):
        Remote(place).of(final).push()
