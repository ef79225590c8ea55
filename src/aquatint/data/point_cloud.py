"""Point clouds in PLY files: obstacles and ground of a scene, told apart by their color."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aquatint.data.rejects import RuleViolation

RULE_PLY = "must be a complete PLY file with x, y, z and red, green, blue for each vertex"
RULE_POINTS = "must have finite points"
# Of published clouds: obstacles are painted near (0, 0, 0.5).
OBSTACLE_COLOR = (0.0, 0.0, 0.5)
_TOLERANCE = 0.1
_TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2",
    "ushort": "u2", "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4",
    "float": "f4", "float32": "f4", "double": "f8", "float64": "f8",
}  # fmt: skip
_ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">"}
_NAMES = ("x", "y", "z", "red", "green", "blue")
_MAX_HEADER = 64_000


class _Header(NamedTuple):
    encoding: str
    num_points: int
    properties: list[tuple[str, str]]
    size: int


class PointCloud(NamedTuple):
    """Points with colors.

    Attributes:
        points: World x, y, z in metres, shape (N, 3).
        colors: Red, green, blue in [0, 1], shape (N, 3).
    """

    points: NDArray[np.float64]
    colors: NDArray[np.float64]

    @property
    def obstacles(self) -> NDArray[np.float64]:
        """Points that are painted as obstacles, shape (M, 3)."""
        is_obstacle = np.abs(self.colors - OBSTACLE_COLOR).max(1) < _TOLERANCE
        return self.points[is_obstacle]


def write_ply(path: Path, cloud: PointCloud) -> None:
    """Write a cloud as binary PLY, positions as float and colors as uchar."""
    table = np.empty(len(cloud.points), np.dtype([*((n, "<f4") for n in _NAMES[:3]),
                                                  *((n, "u1") for n in _NAMES[3:])]))  # fmt: skip
    for axis in range(3):
        table[_NAMES[axis]] = cloud.points[:, axis]
        table[_NAMES[axis + 3]] = np.round(cloud.colors[:, axis] * 255)
    types = ("float",) * 3 + ("uchar",) * 3
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {len(table)}"]
    lines += [f"property {kind} {name}" for kind, name in zip(types, _NAMES, strict=True)]
    path.write_bytes("\n".join([*lines, "end_header\n"]).encode() + table.tobytes())


def read_ply(path: Path) -> PointCloud:
    """Read the vertices of a PLY file, as text or binary.

    Args:
        path: File whose first element are its vertices; whatever follows them is left.

    Raises:
        RuleViolation: If the file is missing, cut off, no such PLY, or has points that are not
            finite.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RuleViolation(RULE_PLY, f"{path.name}: {error}") from error
    header = _read_header(content, path.name)
    columns = _read_columns(content[header.size :], header, path.name)
    points = np.stack([columns[name] for name in _NAMES[:3]], axis=1).astype(float)
    if not np.isfinite(points).all():
        wrong = np.nonzero(~np.isfinite(points).all(1))[0]
        raise RuleViolation(RULE_POINTS, f"{path.name}, points {wrong[:5].tolist()}")
    types = dict(header.properties)
    colors = np.stack(
        # Whole numbers are of 255, as everywhere.
        [columns[n].astype(float) / (1.0 if types[n][0] == "f" else 255.0) for n in _NAMES[3:]],
        axis=1,
    )
    return PointCloud(points, colors)


def _read_header(content: bytes, name: str) -> _Header:
    end = content.find(b"end_header", 0, _MAX_HEADER)
    line_end = content.find(b"\n", end)
    if not content.startswith(b"ply") or end < 0 or line_end < 0:
        raise RuleViolation(RULE_PLY, f"{name}: no header")
    encoding, num_points, properties, element = "", -1, [], ""
    for line in content[:end].decode("ascii", "replace").splitlines():
        words = line.split()
        match words:
            case ["format", kind, _]:
                encoding = kind
            case ["element", kind, count] if count.isdigit():
                if not element and kind != "vertex":
                    raise RuleViolation(RULE_PLY, f"{name}: first element {kind}")
                element = kind
                num_points = int(count) if kind == "vertex" else num_points
            case ["property", kind, column] if element == "vertex":
                if kind not in _TYPES:
                    raise RuleViolation(RULE_PLY, f"{name}: property {line}")
                properties.append((column, _TYPES[kind]))
            case ["property", "list", *_] if element == "vertex":
                raise RuleViolation(RULE_PLY, f"{name}: property {line}")
    missing = [column for column in _NAMES if column not in dict(properties)]
    if missing or num_points < 0 or encoding not in ("ascii", *_ORDERS):
        lack = f"lacks {', '.join(missing)}" if missing else f"format {encoding!r}"
        raise RuleViolation(RULE_PLY, f"{name}: {lack}")
    return _Header(encoding, num_points, properties, line_end + 1)


def _read_columns(body: bytes, header: _Header, name: str) -> dict[str, NDArray[np.generic]]:
    if header.encoding == "ascii":
        rows = body.split(b"\n")[: header.num_points]
        try:
            values = np.array([row.split() for row in rows], float)
        except ValueError as error:
            raise RuleViolation(RULE_PLY, f"{name}: {error}") from error
        if values.shape != (header.num_points, len(header.properties)) and header.num_points:
            raise RuleViolation(RULE_PLY, f"{name}: {len(rows)} of {header.num_points} points")
        values = values.reshape(header.num_points, len(header.properties))
        return {column: values[:, i] for i, (column, _) in enumerate(header.properties)}
    order = _ORDERS[header.encoding]
    kind = np.dtype([(column, order + code) for column, code in header.properties])
    if len(body) < header.num_points * kind.itemsize:
        found = len(body) // kind.itemsize
        raise RuleViolation(RULE_PLY, f"{name}: {found} of {header.num_points} points")
    table = np.frombuffer(body, kind, header.num_points)
    return {column: table[column] for column, _ in header.properties}
