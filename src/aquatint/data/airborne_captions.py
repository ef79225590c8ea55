"""Captions and region sentences of an airborne tile, true of its boxes and of its pixels."""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np

from aquatint.data.airborne import TileCrown

NUM_REGIONS = 3
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_QUARTERS = ("upper left", "upper right", "lower left", "lower right")
_PLACES = (
    ("in the upper left corner", "at the top", "in the upper right corner"),
    ("on the left side", "in the centre", "on the right side"),
    ("in the lower left corner", "at the bottom", "in the lower right corner"),
)
# Luminance in [0, 255] below which ground is shadow; sunlit ground of the photographs starts at 90.
_SHADOW = 80
# An extreme (largest, leftmost, brightest) is named only where it leads by this much.
_AREA_LEAD, _POSITION_LEAD, _BRIGHTNESS_LEAD = 1.15, 0.03, 10.0


class TileDescription(NamedTuple):
    """What is said about a tile.

    Attributes:
        captions: Three captions, all different.
        regions: Up to three pairs of a sentence and the box (cx, cy, w, h in [0, 1]) it is about.
    """

    captions: tuple[str, str, str]
    regions: list[tuple[str, tuple[float, float, float, float]]]


def describe_tile(crowns: Sequence[TileCrown], pixels: np.ndarray) -> TileDescription:
    """Describe a tile by its crowns and by the ground between them.

    Args:
        crowns: Crowns of the tile, largest first, at least one.
        pixels: RGB of the tile as uint8, shape (S, S, 3).

    Raises:
        ValueError: If there is no crown; missing boxes do not prove missing trees.
    """
    if not crowns:
        raise ValueError("a tile needs at least one crown to be described, got 0.")
    ground = _Ground(crowns, pixels)
    counts = _counts(crowns)
    extremes = _extremes(crowns)
    captions = (
        _sentence(f"{counts} on {ground.colour} ground with {ground.shadow}", _densest(crowns)),
        _sentence(f"an aerial view of {counts}", _where_largest(crowns), _empty(crowns)),
        _sentence(
            f"{ground.colour} ground, {_cover(crowns)} of it under trees",
            ground.brightest,
            _where_others(extremes),
        ),
    )
    regions = [(_sentence(text), crown.cxcywh) for text, crown in extremes[:NUM_REGIONS]]
    return TileDescription(captions, regions)


def _sentence(*parts: str) -> str:
    return " ".join(f"{part[0].upper()}{part[1:]}." for part in parts if part)


def _counts(crowns: Sequence[TileCrown]) -> str:
    """Return how many crowns there are, by name where the annotators tell dead from living."""
    totals: dict[str, int] = {}
    for crown in sorted(crowns, key=lambda crown: crown.name):
        totals[crown.name] = totals.get(crown.name, 0) + 1
    return " and ".join(_count(name, number) for name, number in totals.items())


def _count(name: str, number: int) -> str:
    if number == 1:
        return f"one {name}"
    if number < len(_NUMBERS):
        return f"{_NUMBERS[number]} {name}s"
    return f"more than {'nine' if number < 15 else 'fourteen'} {name}s"


def _quarter(crown: TileCrown) -> int:
    return 2 * int(crown.cxcywh[1] > 0.5) + int(crown.cxcywh[0] > 0.5)


def _quarter_counts(crowns: Sequence[TileCrown]) -> np.ndarray:
    return np.bincount([_quarter(crown) for crown in crowns], minlength=4)


def _densest(crowns: Sequence[TileCrown]) -> str:
    """Name the quarter with more crown centres than any other, if there is one."""
    counts = _quarter_counts(crowns)
    leading = np.flatnonzero(counts == counts.max())
    return f"the {_QUARTERS[leading[0]]} quarter has the most trees" if len(leading) == 1 else ""


def _empty(crowns: Sequence[TileCrown]) -> str:
    """Name the quarters that hold no crown's centre and no part of a box."""
    empty = [
        name for index, name in enumerate(_QUARTERS) if not any(_touches(c, index) for c in crowns)
    ]
    if not empty:
        return "there are trees in all quarters" if _quarter_counts(crowns).all() else ""
    return f"there is no tree in the {' and '.join(empty)} quarter{'s' * (len(empty) > 1)}"


def _touches(crown: TileCrown, quarter: int) -> bool:
    cx, cy, width, height = crown.cxcywh
    is_beside = cx + width / 2 > 0.5 if quarter % 2 else cx - width / 2 < 0.5
    is_level = cy + height / 2 > 0.5 if quarter // 2 else cy - height / 2 < 0.5
    return is_beside and is_level


def _place(crown: TileCrown) -> str:
    column, row = (min(int(value * 3), 2) for value in crown.cxcywh[:2])
    return _PLACES[row][column]


def _area(crown: TileCrown) -> float:
    return crown.cxcywh[2] * crown.cxcywh[3]


def _where_largest(crowns: Sequence[TileCrown]) -> str:
    largest = crowns[0]
    if len(crowns) > 1 and _area(largest) < _AREA_LEAD * _area(crowns[1]):
        places = sorted({_place(crown) for crown in crowns[:2]})
        return f"two large trees are {' and '.join(places)}"
    return f"the largest tree is {_place(largest)}"


def _where_others(extremes: Sequence[tuple[str, TileCrown]]) -> str:
    """Say where a crown other than the largest lies; the second caption has that one."""
    others = [text for text, _ in extremes if not text.startswith("the largest")]
    return others[0] if others else ""


def _cover(crowns: Sequence[TileCrown]) -> str:
    """Return how much of the tile the boxes cover, from a grid of 64 x 64 points."""
    share = _is_inside(crowns, 64).mean()
    return "little" if share < 0.15 else "some" if share < 0.35 else "much"


def _is_inside(crowns: Sequence[TileCrown], size: int) -> np.ndarray:
    """Whether the centre of each of size x size pixels lies in a box; shape (size, size)."""
    centres = (np.arange(size) + 0.5) / size
    inside = np.zeros((size, size), dtype=bool)
    for cx, cy, width, height in (crown.cxcywh for crown in crowns):
        is_level = abs(centres - cy) <= height / 2
        inside |= is_level[:, None] & (abs(centres - cx) <= width / 2)[None, :]
    return inside


def _extremes(crowns: Sequence[TileCrown]) -> list[tuple[str, TileCrown]]:
    """Return a sentence for each crown that one word singles out, one for each crown at most."""
    measures: dict[str, Callable[[TileCrown], float]] = {
        "leftmost": lambda crown: crown.cxcywh[0],
        "rightmost": lambda crown: -crown.cxcywh[0],
        "topmost": lambda crown: crown.cxcywh[1],
        "bottommost": lambda crown: -crown.cxcywh[1],
    }
    found: list[tuple[str, TileCrown]] = []
    if len(crowns) == 1:
        return [(f"the only tree is {_described(crowns[0])}", crowns[0])]
    if _area(crowns[0]) >= _AREA_LEAD * _area(crowns[1]):
        found.append((f"the largest tree is {_described(crowns[0])}", crowns[0]))
    for word, measure in measures.items():
        first, second = sorted(crowns, key=measure)[:2]
        is_clear = measure(second) - measure(first) >= _POSITION_LEAD
        if is_clear and all(first is not crown for _, crown in found):
            found.append((f"the {word} tree is {_described(first)}", first))
    return found


def _described(crown: TileCrown) -> str:
    kind = f"a {crown.name} " if crown.name != "tree" else ""
    return f"{kind}{_place(crown)}"


class _Ground:
    """What the pixels outside of all boxes look like.

    Args:
        crowns: Crowns of the tile.
        pixels: RGB as uint8, shape (S, S, 3).
    """

    def __init__(self, crowns: Sequence[TileCrown], pixels: np.ndarray) -> None:
        is_ground = ~_is_inside(crowns, len(pixels))
        self._luminance = pixels @ np.array([0.299, 0.587, 0.114])
        self._is_ground = is_ground
        self._is_lit = is_ground & (self._luminance >= _SHADOW)
        self._pixels = pixels

    @cached_property
    def colour(self) -> str:
        """Colour of the sunlit ground."""
        if not self._is_lit.any():
            return "dark"
        red, green, blue = np.median(self._pixels[self._is_lit], axis=0) / 255
        hue, saturation, _ = colorsys.rgb_to_hsv(red, green, blue)
        # Beyond green lies the blue of thin shadow, on asphalt and rock.
        if saturation < 0.1 or hue > 160 / 360:
            return "grey"
        return "brown" if hue < 60 / 360 else "yellow" if hue < 75 / 360 else "green"

    @property
    def shadow(self) -> str:
        """How much of the ground is dark."""
        num_ground = max(1, int(self._is_ground.sum()))
        share = 1 - self._is_lit.sum() / num_ground
        return "little shadow" if share < 0.1 else "some shadow" if share < 0.35 else "much shadow"

    @property
    def brightest(self) -> str:
        """The quarter with the brightest ground, if it leads; empty else."""
        half = len(self._pixels) // 2
        means = []
        for index in range(4):
            rows = slice(half, None) if index // 2 else slice(half)
            columns = slice(half, None) if index % 2 else slice(half)
            values = self._luminance[rows, columns][self._is_ground[rows, columns]]
            means.append(float(values.mean()) if len(values) else 0.0)
        first, second = np.argsort(means)[::-1][:2]
        if means[first] - means[second] < _BRIGHTNESS_LEAD:
            return ""
        return f"the {_QUARTERS[first]} quarter is the brightest"
