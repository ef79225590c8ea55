"""Colours of the world as 8-bit RGB, and the words that name them."""

from dataclasses import dataclass
from enum import IntEnum

Rgb = tuple[int, int, int]

COLORS: dict[str, Rgb] = {
    "red": (178, 44, 38),
    "blue": (48, 88, 172),
    "white": (232, 232, 226),
    "black": (38, 40, 46),
    "yellow": (222, 184, 44),
    "grey": (136, 139, 142),
    "green": (58, 128, 72),
    "brown": (122, 82, 54),
    "orange": (208, 112, 46),
    "teal": (50, 140, 142),
    "purple": (126, 88, 158),
}

WALL_COLORS: tuple[Rgb, ...] = ((208, 200, 186), (222, 214, 202), (190, 176, 156), (198, 188, 180))
ASPHALT: Rgb = (86, 87, 91)
DIRT_ROAD: Rgb = (164, 138, 104)
RUT: Rgb = (138, 114, 82)
DRIVEWAY: Rgb = (158, 150, 136)
FLOWER_BED: Rgb = (188, 92, 104)
SIDEWALK: Rgb = (166, 162, 154)
CONCRETE: Rgb = (152, 149, 141)
ROAD_PAINT: Rgb = (222, 219, 206)
RIVER_WATER: Rgb = (56, 90, 108)
SEA_WATER: Rgb = (40, 98, 134)
SHALLOW_WATER: Rgb = (72, 132, 152)
BEACH: Rgb = (222, 202, 158)
RIVER_BANK: Rgb = (128, 118, 88)
POND_WATER: Rgb = (44, 84, 110)
POOL_WATER: Rgb = (66, 176, 204)
BALLAST: Rgb = (112, 102, 94)
RAIL: Rgb = (196, 192, 188)
SLEEPER: Rgb = (74, 60, 50)
FLOOD_WATER: Rgb = (122, 108, 78)
CHAR: Rgb = (32, 29, 28)
RUBBLE: Rgb = (150, 140, 126)
ROOF_HOLE: Rgb = (44, 38, 34)
WINDOW: Rgb = (58, 72, 88)
GLASS: Rgb = (178, 212, 214)
SOLAR_PANEL: Rgb = (34, 48, 92)
CAR_WINDOW: Rgb = (36, 44, 52)
HAZE: Rgb = (196, 206, 216)


class Surface(IntEnum):
    """What a pixel shows, apart from the identity of the object."""

    GROUND = 0
    PAVING = 1
    ROAD = 2
    RIVER = 3
    SEA = 4
    RAILWAY = 5
    PLOT = 6
    FLOOD = 7
    CHAR = 8
    RUBBLE = 9
    MESH = 10


class Material(IntEnum):
    """How a triangle is textured."""

    PLAIN = 0
    WALL = 1
    FLAT_ROOF = 2
    TILED_ROOF = 3
    METAL_ROOF = 4
    GLASS_ROOF = 5
    LEAVES = 6
    VEHICLE = 7
    RUBBLE = 8


ROOF_MATERIALS = (
    Material.FLAT_ROOF,
    Material.TILED_ROOF,
    Material.METAL_ROOF,
    Material.GLASS_ROOF,
)


@dataclass(frozen=True)
class GroundKind:
    """One kind of open ground.

    Args:
        name: Words that name it in a caption.
        ramp: Colours from its darkest to its lightest patches.
        leaves: Mean colour of the trees that grow on it.
        conifer_share: Fraction of conifers among its trees, 0 to 1.
        hidden_colors: Colour names that objects on it avoid, for want of contrast.
    """

    name: str
    ramp: tuple[Rgb, ...]
    leaves: Rgb
    conifer_share: float
    hidden_colors: tuple[str, ...] = ()


GROUND_KINDS: tuple[GroundKind, ...] = (
    GroundKind(
        "green grass",
        ((46, 74, 30), (74, 104, 42), (94, 122, 54), (122, 136, 72)),
        (50, 84, 38),
        0.25,
    ),
    GroundKind(
        "dry grass",
        ((128, 112, 62), (164, 144, 82), (184, 162, 100), (202, 184, 126)),
        (84, 94, 46),
        0.1,
    ),
    GroundKind(
        "flower meadow",
        ((108, 138, 66), (130, 156, 78), (150, 172, 92), (222, 204, 104)),
        (66, 104, 44),
        0.1,
    ),
    GroundKind(
        "sand",
        ((198, 172, 124), (216, 192, 144), (226, 206, 160), (236, 220, 184)),
        (92, 108, 58),
        0.0,
    ),
    GroundKind(
        "red soil",
        ((112, 66, 46), (142, 86, 60), (160, 102, 74), (180, 130, 100)),
        (74, 92, 44),
        0.1,
        ("brown",),
    ),
    GroundKind(
        "snow",
        ((186, 197, 210), (206, 214, 223), (220, 226, 232), (234, 237, 241)),
        (62, 84, 74),
        0.8,
        ("white",),
    ),
    GroundKind(
        "dark heath",
        ((52, 46, 54), (78, 64, 82), (96, 78, 98), (112, 104, 84)),
        (48, 70, 48),
        0.6,
        ("black", "purple"),
    ),
)
