"""The index of NavDP's paths: four lists that a loader keeps so as not to look for files again."""

from __future__ import annotations

import json
from pathlib import Path

from aquatint.data.image_files import is_plain_relative_path

LISTS = (
    "trajectory_data_dir",
    "trajectory_rgb_path",
    "trajectory_depth_path",
    "trajectory_afford_path",
)


def read_index(path: Path, root: Path) -> set[str]:
    """Return ids of the paths that an index lists: ``<group>/<scene>/<six digits>``.

    Args:
        path: JSON file with the four lists; absolute paths in it must lie below ``root``.
        root: Folder of the groups.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If a list is missing, the lists differ in length, or a path leaves the root.
    """
    if not path.is_file():
        raise FileNotFoundError(f"The index of paths {path} is missing; leave index_file empty.")
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} must be JSON: {error}.") from error
    counts = {
        name: len(content[name])
        for name in LISTS
        if isinstance(content, dict) and isinstance(content.get(name), list)
    }
    if len(counts) < len(LISTS) or len({*counts.values()}) != 1:
        raise ValueError(f"{path} needs the lists {', '.join(LISTS)}, all as long; got {counts}.")
    found = set()
    for place, name in enumerate(content["trajectory_data_dir"]):
        inside = _below(name, root)
        parts = Path(inside).parts if inside else ()
        digits = parts[-1].removeprefix("episode_").removesuffix(".parquet") if parts else ""
        if len(parts) < 4 or not digits.isdigit():
            raise ValueError(
                f"{path}: trajectory_data_dir[{place}] must be <group>/<scene>/data/<chunk>/"
                f"episode_<number>.parquet below {root}, got {name!r}."
            )
        found.add(f"{parts[0]}/{parts[1]}/{int(digits):06d}")
    return found


def _below(name: object, root: Path) -> str | None:
    """A path relative to the root; None if it is none, or leaves the root."""
    if not isinstance(name, str):
        return None
    inside = name
    if Path(name).is_absolute():
        if not Path(name).resolve().is_relative_to(root):
            return None
        inside = Path(name).resolve().relative_to(root).as_posix()
    return inside if is_plain_relative_path(inside) else None
