"""The catalog of a run: a stale dataset counts as missing."""

from __future__ import annotations

from typing import Any

from kedro.io import AbstractDataset, DataCatalog, MemoryDataset
from kedro.io.core import is_parameter

from aquatint.provenance import Provenance


class ProvenanceCatalog(DataCatalog):
    """A catalog in which a dataset exists only if it is what would be made now.

    ``--only-missing-outputs`` asks ``exists`` and so reruns exactly what a change made stale.
    """

    provenance: Provenance | None = None

    def __setitem__(self, key: str, value: Any) -> None:  # noqa: ANN401 - whatever Kedro stores
        """Add a dataset; or a parameter, of which it is known how it is copied.

        To find that out Kedro imports three table libraries for each of 1,500 parameters, and
        looks through ``sys.path`` again every time for the one that is not installed: 0.25 s.
        """
        if is_parameter(key) and not isinstance(value, AbstractDataset):
            value = MemoryDataset(value, copy_mode="deepcopy")
        super().__setitem__(key, value)

    def exists(self, ds_name: str) -> bool:
        """Whether the dataset is there and fresh; without provenance, whether it is there."""
        if self.provenance is None:
            return super().exists(ds_name)
        return self.provenance.freshness(ds_name).state == "fresh"
