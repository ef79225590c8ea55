"""Paints roads, rivers and railways."""

import numpy as np

from aquatint.world.arrays import FloatArray
from aquatint.world.network import ROUNDABOUT_RADIUS_M, Network, Ribbon
from aquatint.world.painter import Painter, circle
from aquatint.world.palette import (
    ASPHALT,
    BALLAST,
    BEACH,
    DIRT_ROAD,
    FLOWER_BED,
    RAIL,
    RIVER_BANK,
    RIVER_WATER,
    ROAD_PAINT,
    RUT,
    SEA_WATER,
    SHALLOW_WATER,
    SIDEWALK,
    SLEEPER,
    GroundKind,
    Surface,
)

DASH_PERIOD_M = 7.0
DASH_LENGTH_M = 3.2
LINE_WIDTH_M = 0.35


def paint_network(painter: Painter, network: Network, ground: GroundKind) -> None:
    """Paint all ribbons, the lowest first."""
    if network.water is not None and network.is_sea:
        painter.fill(network.water.outline(7.0), BEACH, Surface.PLOT)
        painter.fill(network.water.outline(), SHALLOW_WATER, Surface.SEA)
        painter.fill(network.water.outline(-4.0), SEA_WATER)
    elif network.water is not None:
        painter.fill(network.water.outline(2.5), RIVER_BANK, Surface.PLOT)
        painter.fill(network.water.outline(), RIVER_WATER, Surface.RIVER)
    if network.is_dirt:
        _paint_dirt_roads(painter, network)
    else:
        _paint_paved_roads(painter, network, ground)
    if network.railway is not None:
        _paint_railway(painter, network.railway)


def _paint_dirt_roads(painter: Painter, network: Network) -> None:
    for road in network.roads:
        painter.fill(road.outline(-0.5), DIRT_ROAD, Surface.ROAD)
        for rut in _lines_beside(road, 1.6):
            painter.line(rut, RUT, 0.7)


def _paint_paved_roads(painter: Painter, network: Network, ground: GroundKind) -> None:
    is_roundabout = network.junction == "roundabout"
    for road in network.roads:
        painter.fill(road.outline(2.2), SIDEWALK, Surface.PAVING)
    if is_roundabout:
        painter.fill(circle(network.center, ROUNDABOUT_RADIUS_M + 2), SIDEWALK, Surface.PAVING)
    for road in network.roads:
        painter.fill(road.outline(), ASPHALT, Surface.ROAD)
        _paint_markings(painter, road, network)
    if is_roundabout:
        painter.fill(circle(network.center, ROUNDABOUT_RADIUS_M), ASPHALT, Surface.ROAD)
        painter.fill(circle(network.center, 7.6), SIDEWALK, Surface.PAVING)
        painter.fill(circle(network.center, 7.0), ground.ramp[1], Surface.GROUND)
        painter.fill(circle(network.center, 2.6), FLOWER_BED, Surface.GROUND)


def _paint_markings(painter: Painter, road: Ribbon, network: Network) -> None:
    clear_m = {"roundabout": ROUNDABOUT_RADIUS_M + 7, "single road": -1.0}.get(
        network.junction, 13.0
    )
    length = road.length_m
    for offset in np.arange(-length / 2 + 4, length / 2 - 4, DASH_PERIOD_M):
        dash = _strip(road, (offset, offset + DASH_LENGTH_M), (0.0, 0.0))
        if _distance(dash, network.center) > clear_m:
            painter.line(dash, ROAD_PAINT, LINE_WIDTH_M)
    if clear_m < 0:
        return
    for direction in (-1, 1):
        _paint_zebra(painter, road, network, direction * (clear_m - 2.5))


def _paint_zebra(painter: Painter, road: Ribbon, network: Network, offset_m: float) -> None:
    nearest = int(np.argmin(np.linalg.norm(road.points - network.center, axis=1)))
    offset = road.distances_m[nearest] - road.length_m / 2 + offset_m
    if abs(offset) > road.length_m / 2:
        return
    for side in np.arange(-road.width_m / 2 + 0.9, road.width_m / 2 - 0.5, 1.5):
        bar = _strip(road, (offset - 1.6, offset + 1.6), (float(side), float(side)))
        painter.line(bar, ROAD_PAINT, 0.7)


def _strip(
    road: Ribbon, offsets_m: tuple[float, float], sides_m: tuple[float, float]
) -> FloatArray:
    pairs = zip(offsets_m, sides_m, strict=True)
    return np.array([road.at(float(offset), side)[:2] for offset, side in pairs])


def _distance(points: FloatArray, center: FloatArray) -> float:
    return float(np.linalg.norm(points.mean(0) - center))


def _paint_railway(painter: Painter, railway: Ribbon) -> None:
    painter.fill(railway.outline(0.6), BALLAST, Surface.RAILWAY)
    length = railway.length_m
    for offset in np.arange(-length / 2 + 1, length / 2 - 1, 2.2):
        x, y, yaw = railway.at(float(offset))
        reach = 1.7 * np.array([-np.sin(yaw), np.cos(yaw)])
        painter.line(np.array([(x, y) - reach, (x, y) + reach]), SLEEPER, 0.7)
    for rail in _lines_beside(railway, 0.9):
        painter.line(rail, RAIL, 0.4)


def _lines_beside(ribbon: Ribbon, distance_m: float) -> tuple[FloatArray, FloatArray]:
    """Return the two lines at a distance from the middle of a ribbon."""
    both = Ribbon(ribbon.points, 2 * distance_m).outline()
    return both[: len(ribbon.points)], both[len(ribbon.points) :]
