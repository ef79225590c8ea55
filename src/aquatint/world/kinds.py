"""What kinds of objects there are, how large, in which colours, and what occurs together."""

from typing import NamedTuple


class KindRule(NamedTuple):
    """Mean size of a kind in metres and the colours it comes in."""

    width_m: float
    depth_m: float
    height_m: float
    colors: tuple[str, ...] = ("",)


KIND_RULES: dict[str, KindRule] = {
    "house": KindRule(15, 12, 7.5, ("red", "brown", "black", "blue", "white")),
    "apartment block": KindRule(29, 15, 15, ("white", "grey", "brown", "yellow")),
    "tower": KindRule(20, 19, 32, ("teal", "black", "white", "grey")),
    "warehouse": KindRule(37, 24, 9, ("blue", "white", "green", "red", "yellow")),
    "hangar": KindRule(31, 23, 10, ("grey", "green", "white", "brown")),
    "storage tank": KindRule(18, 18, 10, ("white", "grey", "yellow", "red")),
    "dome": KindRule(23, 23, 12, ("white", "teal", "orange")),
    "church": KindRule(30, 18, 16),
    "greenhouse": KindRule(28, 18, 4.5),
    "swimming pool": KindRule(17, 10, 0),
    "tennis court": KindRule(34, 18, 0, ("green", "blue", "red", "purple")),
    "football field": KindRule(60, 38, 0),
    "parking lot": KindRule(34, 25, 0),
    "crop field": KindRule(60, 44, 0, ("yellow", "green", "brown", "purple")),
    "pond": KindRule(34, 24, 0),
    "solar park": KindRule(38, 28, 0),
    "forest": KindRule(48, 40, 0),
    "orchard": KindRule(42, 32, 0),
}

THEMES: dict[str, dict[str, int]] = {
    "suburb": {
        "house": 8,
        "swimming pool": 2,
        "tennis court": 2,
        "church": 1,
        "parking lot": 1,
        "apartment block": 2,
        "forest": 1,
    },
    "industry": {
        "warehouse": 4,
        "storage tank": 3,
        "parking lot": 1,
        "hangar": 2,
        "dome": 1,
        "tower": 1,
        "solar park": 1,
    },
    "city": {
        "tower": 3,
        "apartment block": 4,
        "parking lot": 1,
        "dome": 1,
        "tennis court": 2,
        "swimming pool": 1,
        "warehouse": 1,
        "church": 1,
    },
    "farm": {
        "crop field": 5,
        "house": 3,
        "greenhouse": 2,
        "storage tank": 2,
        "orchard": 2,
        "pond": 1,
        "warehouse": 1,
        "solar park": 1,
        "forest": 1,
    },
    "park": {
        "forest": 3,
        "pond": 2,
        "football field": 2,
        "tennis court": 3,
        "house": 3,
        "swimming pool": 2,
        "dome": 1,
        "orchard": 1,
    },
    "town": {
        "house": 5,
        "church": 1,
        "apartment block": 2,
        "warehouse": 2,
        "storage tank": 1,
        "football field": 1,
        "parking lot": 1,
        "forest": 1,
        "hangar": 1,
        "pond": 1,
        "tower": 1,
    },
}
RAILWAY_CHANCES = {"industry": 0.5, "town": 0.25, "city": 0.25}
DEFAULT_RAILWAY_CHANCE = 0.08

# The large areas come first: later there is no room for them.
AREAS = ("forest", "crop field", "football field", "orchard", "pond")
# All others occur once per colour, so that a name tells them apart.
REPEATABLE = ("house",)
ROUND_KINDS = ("storage tank", "dome")

VEHICLE_RULES: dict[str, KindRule] = {
    "car": KindRule(5.2, 2.4, 1.7, ("red", "blue", "white", "black", "yellow", "grey")),
    "truck": KindRule(13, 3.3, 3.4, ("red", "blue", "white", "yellow", "green")),
    "bus": KindRule(14, 3.4, 3.4, ("red", "blue", "white", "yellow", "orange")),
}
VEHICLE_CHANCES = (0.6, 0.22, 0.18)
TRAIN_RULE = KindRule(72, 3.8, 3.8, ("red", "blue", "yellow", "white", "green"))
