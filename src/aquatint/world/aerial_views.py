"""Views of GeoText's scenes, what is said of them, and which words lie where."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aquatint.processes import map_in_processes
from aquatint.world.arrays import Bytes
from aquatint.world.geotext import view_building
from aquatint.world.kinds import KIND_RULES
from aquatint.world.palette import Surface
from aquatint.world.word_cells import find_view_words

# Raise it when other words, or other cells, come out of the same scenes.
FORMAT_VERSION = 1
_LINES = {
    Surface.ROAD: "road",
    Surface.RIVER: "river",
    Surface.RAILWAY: "railway",
    Surface.SEA: "sea",
}
# A word is read off its first token, and that of a greenhouse is "green".
_KINDS = tuple(kind for kind in KIND_RULES if kind != "greenhouse")
CELL_WORDS = (
    *_KINDS,
    *sorted({color for kind in _KINDS for color in KIND_RULES[kind].colors if color}),
    *_LINES.values(),
)


class AerialView(NamedTuple):
    """An image with what is said of it.

    Attributes:
        pixels: RGB as uint8, shape (S, S, 3).
        texts: All sentences about single objects as one text, if there are any; three captions.
        word_cells: Which of ``CELL_WORDS`` lie in which cell, int8 of shape (cells, words).
    """

    pixels: Bytes
    texts: list[str]
    word_cells: NDArray[np.int8]


class _Task(NamedTuple):
    seed: int
    building: int
    num_views: int
    size_px: int
    num_cells: int


def view_aerial_scenes(
    num_scenes: int, views_per_scene: int, size_px: int, seed: int, num_cells: int
) -> Iterator[AerialView]:
    """Yield the views that ``write_geotext`` would write for a world of this seed.

    Args:
        num_scenes: Scenes.
        views_per_scene: Images of each.
        size_px: Side of the images.
        seed: Seed of everything.
        num_cells: Cells along an edge of the images, to say which words lie in which.
    """
    tasks = [
        _Task(seed, building, views_per_scene, size_px, num_cells)
        for building in range(1, num_scenes + 1)
    ]
    for views in map_in_processes(_view_scene, tasks, is_awaited=True):
        yield from views


def _view_scene(task: _Task) -> list[AerialView]:
    found = []
    for view, description in view_building(*task[:4]):
        regions = " ".join(region.text for region in description.regions)
        texts = [text for text in (regions, *description.captions) if text]
        cells = find_view_words(view, CELL_WORDS, _KINDS, _LINES, task.num_cells)
        found.append(AerialView(view.rgb, texts, cells))
    return found
