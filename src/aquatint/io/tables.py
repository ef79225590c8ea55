"""Tables as Parquet files."""

import io
from pathlib import Path

import pandas as pd
from kedro_datasets._typing import TablePreview

from aquatint.io.artefact import ArtefactDataset
from aquatint.storage import publish_file


class TableDataset(ArtefactDataset[pd.DataFrame]):
    """A pandas table as one Parquet file, compressed with zstd."""

    def _read(self, path: Path) -> pd.DataFrame:
        return pd.read_parquet(path)

    def _write(self, path: Path, data: pd.DataFrame) -> None:
        buffer = io.BytesIO()
        data.to_parquet(buffer, index=False, compression="zstd")
        publish_file(path, buffer.getvalue())

    def preview(self, nrows: int = 5) -> TablePreview:
        """Return the first rows for Kedro-Viz, reading no more than the first batch."""
        import pyarrow.parquet as pq

        with pq.ParquetFile(self._copy()) as file:
            batch = next(file.iter_batches(batch_size=nrows), None)
        head = pd.DataFrame() if batch is None else batch.to_pandas().iloc[:, :12]
        return TablePreview(head.astype(str).to_dict(orient="split"))
