"""Light handles on raw data folders that the catalog hands out."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class GeoTextFolder:
    """A data set in GeoText-1652's own layout.

    Attributes:
        train_file: JSON list with one string caption a record.
        test_file: JSON list with a list of captions a record.
        image_root: Folder that the records' ``image`` paths are relative to.
    """

    train_file: str
    test_file: str
    image_root: str


@dataclass(frozen=True)
class RoboSenseFolder:
    """A challenge of RoboSense 2025, track 4: text queries and the images to rank for each.

    Attributes:
        query_file: One "q_00001<TAB>text" on each line.
        image_root: Flat folder with files named image_<hex digits>.jpeg.
    """

    query_file: str
    image_root: str
