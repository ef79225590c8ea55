"""Airborne photographs with boxes around trees: blocks, tiles, and the boxes of a tile."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple
from xml.etree import ElementTree

# What the annotators call a crown, and what we call it.
NAMES = {"Tree": "tree", "Dead": "dead tree", "Alive": "living tree"}
# A crown is in a tile if at least this share of its box is: the corners of a box are ground.
MIN_VISIBLE_SHARE = 0.25
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class AirborneSpec:
    """How photographs are cut.

    Attributes:
        tile_px: Edge of a tile.
        min_block_px: Least edge of a block, the area of a building; blocks share no pixels.
        tiles_per_edge: Tiles along each edge of a block, spread evenly from border to border.
        min_trees: Tiles with fewer crowns are left out: no box does not prove that no tree is
            there, a few missed ones weigh less beside several.
        test_fraction: Share of the buildings of each photograph for the test split, in (0, 1).
        seed: Decides which.
    """

    tile_px: int
    min_block_px: int
    tiles_per_edge: int
    min_trees: int
    test_fraction: float
    seed: int

    def __post_init__(self) -> None:
        """Check that tiles fit in blocks and both splits get something."""
        for name in ("tile_px", "tiles_per_edge", "min_trees"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if self.min_block_px < self.tile_px:
            raise ValueError(
                f"min_block_px {self.min_block_px} must be at least tile_px {self.tile_px}."
            )
        if not 0 < self.test_fraction < 1:
            raise ValueError(f"test_fraction must be in (0, 1), got {self.test_fraction}.")


class Crown(NamedTuple):
    """A crown in a photograph.

    Attributes:
        xyxy_px: Left, top, right, bottom; y points down.
        name: What it is: ``tree``, ``dead tree`` or ``living tree``.
    """

    xyxy_px: tuple[float, float, float, float]
    name: str


class TileCrown(NamedTuple):
    """A crown in a tile.

    Attributes:
        cxcywh: Centre and size of the part of its box that lies in the tile, in [0, 1].
        name: What it is.
    """

    cxcywh: tuple[float, float, float, float]
    name: str


class Tile(NamedTuple):
    """A square of a photograph.

    Attributes:
        left: Pixels from the photograph's left border.
        top: Pixels from its upper border.
    """

    left: int
    top: int


def parse_crowns(xml: bytes, origin: str) -> list[Crown]:
    """Return the crowns of a Pascal VOC annotation.

    Args:
        xml: Content of the annotation file.
        origin: Name of the file, for messages.

    Raises:
        ValueError: If it is no plain XML, a box has no area or a label is unknown.
    """
    # Without a document type there are no entities, and so nothing that grows when it is read.
    if b"<!DOCTYPE" in xml or b"<!ENTITY" in xml:
        raise ValueError(f"{origin} must be XML without a document type.")
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError as error:
        raise ValueError(f"{origin} must be XML, but {error}.") from error
    return [_parse_crown(item, origin) for item in root.iter("object")]


def _parse_crown(item: ElementTree.Element, origin: str) -> Crown:
    label = item.findtext("name") or ""
    if label not in NAMES:
        raise ValueError(f"a label in {origin} must be one of {', '.join(NAMES)}, got {label!r}.")
    texts = [item.findtext(f"bndbox/{corner}") or "" for corner in _CORNERS]
    try:
        left, top, right, bottom = (float(text) for text in texts)
    except ValueError:
        raise ValueError(f"a box in {origin} must have four numbers, got {texts}.") from None
    if not (left < right and top < bottom):
        raise ValueError(f"a box in {origin} must have an area, got {texts}.")
    return Crown((left, top, right, bottom), NAMES[label])


def cut_blocks(width_px: int, height_px: int, spec: AirborneSpec) -> list[list[Tile]]:
    """Cut a photograph into as many blocks as fit, and each block into tiles.

    Args:
        width_px: Width of the photograph.
        height_px: Its height.
        spec: Sizes.

    Returns:
        Tiles of each block, both row by row; tiles of different blocks share no pixels. Empty if
        the photograph is smaller than a block.
    """
    rows, columns = _edges(height_px, spec), _edges(width_px, spec)
    return [
        [Tile(left, top) for top in _starts(row, spec) for left in _starts(column, spec)]
        for row in rows
        for column in columns
    ]


def _edges(length_px: int, spec: AirborneSpec) -> list[tuple[int, int]]:
    """First pixel and end of each block along one axis."""
    count = length_px // spec.min_block_px
    borders = [index * length_px // count for index in range(count + 1)] if count else []
    return list(zip(borders[:-1], borders[1:], strict=True))


def _starts(block: tuple[int, int], spec: AirborneSpec) -> list[int]:
    """First pixel of each tile of a block along one axis."""
    room, gaps = block[1] - block[0] - spec.tile_px, spec.tiles_per_edge - 1
    offsets = (
        {index * room // gaps for index in range(spec.tiles_per_edge)} if gaps else {room // 2}
    )
    return [block[0] + offset for offset in sorted(offsets)]


def crowns_in_tile(crowns: Sequence[Crown], tile: Tile, tile_px: int) -> list[TileCrown]:
    """Return the crowns that lie in a tile by a quarter of their box or more, largest first."""
    found = []
    for crown in crowns:
        left, top, right, bottom = crown.xyxy_px
        if right <= tile.left or left >= tile.left + tile_px:
            continue
        if bottom <= tile.top or top >= tile.top + tile_px:
            continue
        area = (right - left) * (bottom - top)
        left, right = (min(max(x - tile.left, 0.0), tile_px) / tile_px for x in (left, right))
        top, bottom = (min(max(y - tile.top, 0.0), tile_px) / tile_px for y in (top, bottom))
        width, height = right - left, bottom - top
        if width * height * tile_px**2 >= MIN_VISIBLE_SHARE * area:
            box = ((left + right) / 2, (top + bottom) / 2, width, height)
            found.append(TileCrown(box, crown.name))
    return sorted(found, key=lambda crown: -crown.cxcywh[2] * crown.cxcywh[3])


def choose_test(names: Sequence[str], spec: AirborneSpec) -> set[str]:
    """Return the buildings of one photograph that go to the test split.

    At least one of two or more, never all, by a hash of seed and name.
    """
    ordered = sorted(
        names, key=lambda name: hashlib.sha256(f"{spec.seed}:{name}".encode()).digest()
    )
    count = min(max(1, round(spec.test_fraction * len(names))), len(names) - 1)
    return set(ordered[: max(0, count)])
