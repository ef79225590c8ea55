"""Files with one JSON object on each line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_json_lines(path: Path, key: str | None = None) -> list[dict[str, Any]]:
    """Return the objects of a file, blank lines left out.

    Args:
        path: The file.
        key: Every object must hold a whole number under it; None asks for nothing.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If a line is no object, or lacks the key; with file and line.
    """
    if not path.is_file():
        raise FileNotFoundError(f"A scene lists what it holds in {path}, which is missing.")
    rows = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{path}:{number} must be JSON: {error}.") from error
        if not isinstance(row, dict) or (key is not None and not isinstance(row.get(key), int)):
            wanted = "a JSON object" if key is None else f"an object with {key}"
            raise ValueError(f"{path}:{number} must be {wanted}, got {line[:80]!r}.")
        rows.append(row)
    return rows
