"""Which words lie in which cells of a picture, read off the renderer's ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from aquatint.world.palette import Surface
from aquatint.world.render import View

# Of a cell's pixels; a line is thin.
_MIN_OBJECT_SHARE, _MIN_LINE_SHARE = 0.06, 0.03


def find_view_words(
    view: View,
    words: Sequence[str],
    kinds: Sequence[str],
    lines: Mapping[Surface, str],
    num_cells: int,
) -> NDArray[np.int8]:
    """Say for each cell of a view which kinds, colors and lines lie in it.

    Args:
        view: The view.
        words: All words, in the order of the result: the kinds, their colors and the lines.
        kinds: Kinds of objects that have words.
        lines: Words of surfaces.
        num_cells: Cells along an edge.

    Returns:
        As ``find_word_cells``.
    """
    objects = {
        number: [word for word in (item.kind, item.color) if word]
        for number, item in enumerate(view.scene.objects, start=1)
        if item.kind in kinds
    }
    surfaces = {int(surface): (word,) for surface, word in lines.items()}
    return np.maximum(
        find_word_cells(view.instance_ids, objects, words, num_cells, _MIN_OBJECT_SHARE),
        find_word_cells(view.surfaces, surfaces, words, num_cells, _MIN_LINE_SHARE),
    )


def find_word_cells(
    ids: NDArray[np.integer],
    words_of: Mapping[int, Sequence[str]],
    words: Sequence[str],
    num_cells: int,
    min_share: float,
) -> NDArray[np.int8]:
    """Say for each cell of a grid which words lie in it.

    Args:
        ids: What each pixel shows, shape (S, S).
        words_of: Words of each id; ids without an entry have none.
        words: All words, in the order of the result.
        num_cells: Cells along an edge; S is a multiple of it.
        min_share: Share of a cell's pixels that an id must cover to count.

    Returns:
        1 where a word lies in a cell and 0 where not, row by row, shape (num_cells ** 2, words).

    Raises:
        ValueError: If the grid does not divide the picture.
    """
    edge, rest = divmod(len(ids), num_cells)
    if rest:
        raise ValueError(f"A picture of {len(ids)} px has no {num_cells} whole cells in a row.")
    tiles = ids.reshape(num_cells, edge, num_cells, edge).swapaxes(1, 2)
    cells = tiles.reshape(num_cells**2, edge**2)
    found = np.zeros((num_cells**2, len(words)), dtype=np.int8)
    for number, its_words in words_of.items():
        is_in = (cells == number).mean(axis=1) >= min_share
        for word in its_words:
            found[is_in, words.index(word)] = 1
    return found
