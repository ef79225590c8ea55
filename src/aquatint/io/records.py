"""Small results as JSON, pages as HTML, figures as Plotly JSON."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro_datasets._typing import HTMLPreview, JSONPreview, PlotlyPreview

from aquatint.io.artefact import ArtefactDataset
from aquatint.storage import publish_file

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


class RecordDataset(ArtefactDataset[dict[str, Any]]):
    """A dict as JSON that every reader accepts: no NaN, no infinity."""

    def _read(self, path: Path) -> dict[str, Any]:
        return json.loads(path.read_text())

    def _write(self, path: Path, data: dict[str, Any]) -> None:
        publish_file(path, (json.dumps(_strict(data), indent=1, allow_nan=False) + "\n").encode())

    def preview(self) -> JSONPreview:
        """Return the record for Kedro-Viz."""
        return JSONPreview(self._copy().read_text())


class PageDataset(ArtefactDataset[str]):
    """Text of any kind: an HTML page, a Markdown page, a submission file."""

    def _read(self, path: Path) -> str:
        return path.read_text()

    def _write(self, path: Path, data: str) -> None:
        publish_file(path, data.encode())

    def preview(self) -> HTMLPreview:
        """Return the text for Kedro-Viz."""
        return HTMLPreview(self._copy().read_text())


class FigureDataset(ArtefactDataset["Figure"]):
    """A Plotly figure as JSON, drawn by Kedro-Viz."""

    def _read(self, path: Path) -> "Figure":
        import plotly.io

        return plotly.io.from_json(path.read_text())

    def _write(self, path: Path, data: "Figure") -> None:
        publish_file(path, data.to_json().encode())

    def preview(self) -> PlotlyPreview:
        """Return the figure for Kedro-Viz."""
        return PlotlyPreview(json.loads(self._copy().read_text()))


def _strict(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Replace NaN and infinities by null, which is what an unknown value is in JSON."""
    if isinstance(value, dict):
        return {str(key): _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    if hasattr(value, "item") and not isinstance(value, str):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
