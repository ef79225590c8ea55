"""Label lines of YOLO: a class with a box or with a polygon."""

from __future__ import annotations

import math
from typing import NamedTuple

from aquatint.data.rejects import RuleViolation

RULE_NUMBERS = "must hold a class id and 4 numbers (a box) or at least 6, in pairs (a polygon)"
RULE_FINITE = "must be finite numbers"
RULE_CLASS = "must be a class id of data.yaml"
RULE_RANGE = "must lie in the image, normalised to [0, 1]"
RULE_AREA = "must enclose an area above 0"
# Polygons are rounded to six digits; a corner on the border may lie just outside.
_ROUNDING = 1e-5
_MIN_AREA = 1e-8


class Shape(NamedTuple):
    """One label line: class, outline in [0, 1] as x, y pairs, and whether it was a box."""

    class_id: int
    points: list[tuple[float, float]]
    is_box: bool


def parse_line(line: str, num_classes: int) -> Shape:
    """Read one label line.

    Args:
        line: ``class cx cy w h`` or ``class x1 y1 x2 y2 x3 y3 ...``, normalised.
        num_classes: Classes of data.yaml.

    Raises:
        RuleViolation: If the line is neither, or its numbers break a rule.
    """
    words = line.split()
    class_id = _class_id(words[0] if words else "", num_classes)
    try:
        numbers = [float(word) for word in words[1:]]
    except ValueError as error:
        raise RuleViolation(RULE_FINITE, line) from error
    if len(numbers) < 4 or (len(numbers) != 4 and len(numbers) % 2):
        raise RuleViolation(RULE_NUMBERS, line)
    if not all(map(math.isfinite, numbers)):
        raise RuleViolation(RULE_FINITE, line)
    is_box = len(numbers) == 4
    points = _corners(*numbers) if is_box else list(zip(numbers[::2], numbers[1::2], strict=True))
    if not all(-_ROUNDING <= value <= 1 + _ROUNDING for point in points for value in point):
        raise RuleViolation(RULE_RANGE, line)
    if abs(polygon_area(points)) < _MIN_AREA:
        raise RuleViolation(RULE_AREA, line)
    clipped = [(min(max(x, 0.0), 1.0), min(max(y, 0.0), 1.0)) for x, y in points]
    return Shape(class_id, clipped, is_box)


def _class_id(word: str, num_classes: int) -> int:
    """A class id; some converters write it as ``1.0``."""
    try:
        number = float(word)
    except ValueError:
        number = math.nan
    if not number.is_integer() or not 0 <= number < num_classes:
        raise RuleViolation(RULE_CLASS, f"{word} of {num_classes} classes")
    return int(number)


def _corners(cx: float, cy: float, w: float, h: float) -> list[tuple[float, float]]:
    left, top, right, bottom = cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def polygon_area(points: list[tuple[float, float]]) -> float:
    """Return the area of a polygon, positive if it runs clockwise on the screen."""
    pairs = zip(points, [*points[1:], points[0]], strict=True)
    return sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in pairs) / 2
