"""The catalog of a run: a stale dataset counts as missing."""

from __future__ import annotations

from kedro.io import DataCatalog

from aquatint.provenance import Provenance


class ProvenanceCatalog(DataCatalog):
    """A catalog in which a dataset exists only if it is what would be made now.

    ``--only-missing-outputs`` asks ``exists`` and so reruns exactly what a change made stale.
    """

    provenance: Provenance | None = None

    def exists(self, ds_name: str) -> bool:
        """Whether the dataset is there and fresh; without provenance, whether it is there."""
        if self.provenance is None:
            return super().exists(ds_name)
        return self.provenance.freshness(ds_name).state == "fresh"
