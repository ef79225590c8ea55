"""Folders of worlds: each appears whole or not at all, and says what it was made from."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any


def write_whole(folder: Path, mark: str, write: Callable[[Path], None]) -> None:
    """Fill a folder beside its place and rename it in when it is complete.

    Args:
        folder: Folder to create. One that an earlier call wrote is replaced.
        mark: Name of the file in it that says what it was made from; ``write`` writes it last.
        write: Fills the folder that it is given.

    Raises:
        ValueError: The folder holds something that was not written here.
    """
    folder = Path(folder).absolute()
    if folder.exists() and not (folder / mark).is_file():
        raise ValueError(f"{folder} exists but has no {mark} of a world; move it away.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        write(partial)
        partial.chmod(0o755)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def is_written(folder: Path, mark: str, version: int, spec: Any) -> bool:  # noqa: ANN401 - a dataclass
    """Whether a folder was written to its end, in this version of its format and by this spec."""
    path = Path(folder) / mark
    if not path.is_file():
        return False
    world = json.loads(path.read_text())
    return world["format_version"] == version and world["spec"] == asdict(spec)
