"""What a page consists of: sections of tables, figures, sentences and commands."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import plotly.graph_objects as go

Tone = Literal["", "best", "better", "worse", "unclear"]


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: What it says.
        note: Smaller, below: an interval, a number of queries.
        tone: How it is set off.
    """

    text: str
    note: str = ""
    tone: Tone = ""


@dataclass(frozen=True)
class Row:
    """A row of a table; without cells it is a heading over those that follow."""

    label: str
    cells: list[Cell] = field(default_factory=list)


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str
    kind: Literal["text"] = "text"


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        head: Heading of each column, that of the labels first.
        rows: Rows.
        note: What a reader must know to read it.
        colors: Color of each column's heading, by heading.
    """

    head: list[str]
    rows: list[Row]
    note: str = ""
    colors: dict[str, str] = field(default_factory=dict)
    kind: Literal["table"] = "table"


@dataclass(frozen=True)
class Chart:
    """A figure and what it shows, in words."""

    name: str
    figure: go.Figure
    note: str = ""
    kind: Literal["chart"] = "chart"


@dataclass(frozen=True)
class Findings:
    """Sentences with the tone of what they say."""

    sentences: list[tuple[Tone, str]]
    kind: Literal["findings"] = "findings"


@dataclass(frozen=True)
class Tiles:
    """Large numbers side by side: label, number, note and color of each."""

    tiles: list[tuple[str, str, str, str]]
    kind: Literal["tiles"] = "tiles"


@dataclass(frozen=True)
class Code:
    """A command or a record, to be copied."""

    text: str
    note: str = ""
    kind: Literal["code"] = "code"


@dataclass(frozen=True)
class Gallery:
    """HTML made by this package; it is put in as it is."""

    html: str
    kind: Literal["gallery"] = "gallery"


@dataclass(frozen=True)
class Fold:
    """Blocks that are shown on demand."""

    title: str
    blocks: list[Block]
    kind: Literal["fold"] = "fold"


Block = Text | Table | Chart | Findings | Tiles | Code | Gallery | Fold


@dataclass(frozen=True)
class Section:
    """A part of a page with a place in its contents."""

    anchor: str
    title: str
    blocks: list[Block]
