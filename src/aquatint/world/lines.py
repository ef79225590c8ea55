"""Direction and position of roads, water and railways in the image."""

from collections import Counter

import numpy as np

from aquatint.world.arrays import Bytes, FloatArray
from aquatint.world.network import Network, Ribbon
from aquatint.world.palette import Surface
from aquatint.world.render import Camera, View
from aquatint.world.wording import name_position, third, with_article, with_count

MIN_LINE_SHARE = 0.012
MIN_VISIBLE_POINTS = 4
MIN_CHORD = 0.3
MIN_SEA_SHARE = 0.03
_ROW_WORDS = ("at the top", "in the centre", "at the bottom")
_COLUMN_WORDS = ("on the left side", "in the centre", "on the right side")
# A line counts as vertical or horizontal up to about 24 degrees off.
_STRAIGHT_RATIO = 0.45
_HIDING_SURFACES = (Surface.FLOOD, Surface.RUBBLE, Surface.MESH)


def describe_junction(network: Network, view: View) -> str | None:
    """Return the junction of the roads with its article and position, if the view shows it."""
    if network.junction not in ("crossroads", "T-junction", "roundabout"):
        return None
    x, y, _ = view.camera.project(np.array([*network.center, 0.0])).tolist()
    if not (0.04 < x < 0.96 and 0.04 < y < 0.96):
        return None
    size_px = len(view.surfaces)
    row, column, reach = int(y * size_px), int(x * size_px), max(2, size_px // 20)
    rows = slice(max(0, row - reach), row + reach + 1)
    columns = slice(max(0, column - reach), column + reach + 1)
    if np.isin(view.surfaces[rows, columns], _HIDING_SURFACES).mean() > 0.5:
        return None
    return f"{with_article(network.junction)} {name_position(x, y)}"


def describe_lines(network: Network, view: View) -> tuple[str, ...]:
    """Return water, railway and roads in the view, with article, direction and position."""
    words = []
    if network.water is not None and network.is_sea:
        words += _describe_sea(view.surfaces)
    elif network.water is not None:
        words += _describe_ribbons("river", (network.water,), view, Surface.RIVER)
    if network.railway is not None:
        words += _describe_ribbons("railway", (network.railway,), view, Surface.RAILWAY)
    road_word = "dirt road" if network.is_dirt else "road"
    words += _describe_ribbons(road_word, network.roads, view, Surface.ROAD)
    return tuple(words)


def _describe_sea(surfaces: Bytes) -> list[str]:
    is_sea = surfaces == Surface.SEA
    if is_sea.mean() < MIN_SEA_SHARE:
        return []
    rows, columns = np.nonzero(is_sea)
    x, y = (columns.mean() + 0.5) / len(surfaces), (rows.mean() + 0.5) / len(surfaces)
    return [f"the sea {name_position(float(x), float(y))}"]


def _describe_ribbons(
    word: str, ribbons: tuple[Ribbon, ...], view: View, surface: Surface
) -> list[str]:
    if (view.surfaces == surface).mean() < MIN_LINE_SHARE:
        return []
    found = Counter(_direction_words(ribbon, view, surface) for ribbon in ribbons)
    phrases = []
    for words, count in found.items():
        if words is not None:
            direction, place = words
            name = f"{direction} {word}"
            phrase = with_article(name) if count == 1 else with_count(name, count)
            phrases.append(f"{phrase} {place}".strip())
    return phrases


def _direction_words(ribbon: Ribbon, view: View, surface: Surface) -> tuple[str, str] | None:
    points = _visible_points(ribbon, view.camera, view.surfaces, surface)
    if len(points) < MIN_VISIBLE_POINTS:
        return None
    width, height = np.abs(points[-1] - points[0]).tolist()
    if max(width, height) < MIN_CHORD:
        return None
    x, y = points.mean(0).tolist()
    if width < _STRAIGHT_RATIO * height:
        return "vertical", _COLUMN_WORDS[third(x)]
    if height < _STRAIGHT_RATIO * width:
        return "horizontal", _ROW_WORDS[third(y)]
    return "diagonal", ""


def _visible_points(
    ribbon: Ribbon, camera: Camera, surfaces: Bytes, surface: Surface
) -> FloatArray:
    """Return image positions along the middle that show the surface, shape (N, 2)."""
    steps = np.arange(len(ribbon.points))
    finer = np.linspace(0, len(steps) - 1, 4 * len(steps))
    along = [np.interp(finer, steps, ribbon.points[:, axis]) for axis in range(2)]
    seen = camera.project(np.stack([*along, np.zeros(len(finer))], -1))
    is_inside = (seen[:, 2] > 0) & (seen[:, :2] > 0).all(1) & (seen[:, :2] < 1).all(1)
    inside = seen[is_inside, :2]
    cells = (inside * len(surfaces)).astype(int)
    return inside[surfaces[cells[:, 1], cells[:, 0]] == surface]
