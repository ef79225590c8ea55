"""Inspected slopes: which structures stand where, and in which condition."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from aquatint.world.arrays import FloatArray, Rng


class InspectionClass(NamedTuple):
    """One class of the published export: its name and how often and where it occurs.

    Attributes:
        name: As in data.yaml, irregular capitals and all.
        object_type: toe_drain, rock_toe, slope_drain or vegetation.
        condition: normal, damaged or blocked.
        frequency: Instances of the published data set.
        mean_y: Mean height of the centre in the image, 0 at the top.
    """

    name: str
    object_type: str
    condition: str
    frequency: int
    mean_y: float


# Counts and mean heights of the published data set (docs/recipes/inspection.md).
CLASSES = (
    InspectionClass("Toe drain", "toe_drain", "normal", 52, 0.66),
    InspectionClass("Toe drain- Blocked", "toe_drain", "blocked", 78, 0.79),
    InspectionClass("Toe drain- Damaged", "toe_drain", "damaged", 76, 0.77),
    InspectionClass("rock toe", "rock_toe", "normal", 153, 0.53),
    InspectionClass("rock toe damaged", "rock_toe", "damaged", 366, 0.69),
    InspectionClass("slope drain", "slope_drain", "normal", 257, 0.44),
    InspectionClass("slope drain blocked", "slope_drain", "blocked", 97, 0.51),
    InspectionClass("slope drain damaged", "slope_drain", "damaged", 148, 0.52),
    InspectionClass("vegetation", "vegetation", "normal", 238, 0.57),
)
MAX_OBJECTS = 18
# Wide enough that the height alone leaves the condition open.
_SPREAD_Y = 0.13
_MAX_OVERLAP = 0.25
_NUM_TRIES = 12
# Half sizes along and across, as fractions of the image: lowest and highest.
_HALF_SIZES = {
    "toe_drain": ((0.13, 0.22), (0.035, 0.055)),
    "slope_drain": ((0.12, 0.21), (0.035, 0.055)),
    "rock_toe": ((0.12, 0.22), (0.05, 0.085)),
    "vegetation": ((0.05, 0.11), (0.04, 0.08)),
}
_WORDS = {
    ("channel", "normal"): ("a clean {tone} channel with water running", "an open {tone} channel"),
    ("channel", "blocked"): ("a {tone} channel full of mud and leaves",
                             "a {tone} channel filled with brown debris"),
    ("channel", "damaged"): ("a broken {tone} channel with cracks",
                             "a cracked {tone} channel with a hole"),
    ("stones", "normal"): ("{tone} stones packed tightly", "a closed band of {tone} stones"),
    ("stones", "damaged"): ("loose {tone} stones with bare soil between",
                            "scattered {tone} stones with gaps"),
    ("bushes", "normal"): ("green bushes", "dense green plants"),
}  # fmt: skip
_LOOKS = {
    ("channel", "normal"): "clean channel",
    ("channel", "blocked"): "filled channel",
    ("channel", "damaged"): "broken channel",
    ("stones", "normal"): "closed stones",
    ("stones", "damaged"): "loose stones",
    ("bushes", "normal"): "green bushes",
}
LOOKS = tuple(_LOOKS.values())
_NOUNS = {"toe_drain": "channel", "slope_drain": "channel", "rock_toe": "stones"}


@dataclass(frozen=True)
class Structure:
    """One structure on a slope, in units of the image's edge.

    Attributes:
        class_id: Index into ``CLASSES``.
        x: Centre, to the right.
        y: Centre, downwards.
        half_length: Half its length along its own axis.
        half_width: Half its width across.
        angle_rad: Turn of its axis from the image's x axis, clockwise on the screen.
        shade: How light its material is, 0 to 1.
        severity: How much of it is blocked or damaged, 0 to 1.
        seed: Seed of its texture.
    """

    class_id: int
    x: float
    y: float
    half_length: float
    half_width: float
    angle_rad: float
    shade: float
    severity: float
    seed: int

    @property
    def label(self) -> InspectionClass:
        """Its class."""
        return CLASSES[self.class_id]

    def to_image(self, points: FloatArray) -> FloatArray:
        """Move points from its frame, along and across in [-1, 1], to the image, shape (N, 2)."""
        scaled = np.asarray(points) * (self.half_length, self.half_width)
        cosine, sine = np.cos(self.angle_rad), np.sin(self.angle_rad)
        return scaled @ np.array([[cosine, sine], [-sine, cosine]]) + (self.x, self.y)

    @property
    def outline(self) -> FloatArray:
        """Polygon around it in [0, 1], clockwise on the screen, shape (N, 2)."""
        rng = np.random.default_rng([self.seed, 9])
        if self.label.object_type == "vegetation":
            angles = np.linspace(0, 2 * np.pi, 14, endpoint=False)
            corners = np.stack([np.cos(angles), np.sin(angles)], -1) * rng.uniform(0.85, 1, (14, 1))
        elif self.label.object_type == "rock_toe":
            along = np.linspace(-1, 1, 7)
            upper = np.stack([along, -rng.uniform(0.82, 1, 7)], -1)
            corners = np.concatenate([upper, np.stack([along, rng.uniform(0.82, 1, 7)], -1)[::-1]])
        else:
            corners = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
        return self.to_image(corners).clip(0, 1)

    @property
    def box_xyxy(self) -> tuple[float, float, float, float]:
        """Box around its outline in [0, 1]."""
        low, high = self.outline.min(0), self.outline.max(0)
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])

    @property
    def look(self) -> str:
        """What can be seen in two everyday words."""
        return _LOOKS[_NOUNS.get(self.label.object_type, "bushes"), self.label.condition]

    def describe(self) -> str:
        """Say in everyday words what can be seen, without the words of the classes."""
        noun = _NOUNS.get(self.label.object_type, "bushes")
        phrases = _WORDS[noun, self.label.condition]
        tone = "light" if self.shade > 0.5 else "dark"
        return phrases[self.seed % len(phrases)].format(tone=tone)


@dataclass(frozen=True)
class InspectionScene:
    """One photographed slope.

    Attributes:
        seed: Seed that it was drawn from.
        structures: What stands on it, the lowest layer first.
    """

    seed: int
    structures: tuple[Structure, ...]


def make_inspection_scene(seed: int, is_empty: bool = False) -> InspectionScene:
    """Draw a slope with 1 to 18 structures, or none.

    Args:
        seed: Any number from 0.
        is_empty: Whether nothing stands on it.

    Raises:
        ValueError: The seed is negative.
    """
    if seed < 0:
        raise ValueError(f"seed must be at least 0, not {seed}.")
    rng = np.random.default_rng([seed, 51])
    wanted = 0 if is_empty else min(MAX_OBJECTS, 1 + int(rng.gamma(1.6, 2.6)))
    placed: list[Structure] = []
    for _ in range(wanted):
        for _ in range(_NUM_TRIES):
            candidate = _sample_structure(rng)
            if all(_overlap(candidate, other) < _MAX_OVERLAP for other in placed):
                placed.append(candidate)
                break
    return InspectionScene(seed, tuple(placed))


def _sample_structure(rng: Rng) -> Structure:
    counts = np.array([item.frequency for item in CLASSES], float)
    class_id = int(rng.choice(len(CLASSES), p=counts / counts.sum()))
    item = CLASSES[class_id]
    lengths, widths = _HALF_SIZES[item.object_type]
    upright = np.pi / 2 if item.object_type == "slope_drain" else 0.0
    return Structure(
        class_id=class_id,
        x=float(rng.uniform(0.12, 0.88)),
        y=float(np.clip(rng.normal(item.mean_y, _SPREAD_Y), 0.14, 0.92)),
        half_length=float(rng.uniform(*lengths)),
        half_width=float(rng.uniform(*widths)),
        angle_rad=upright + float(rng.normal(0, 0.1)),
        shade=float(rng.random()),
        severity=float(rng.beta(2.5, 2.0)),
        seed=int(rng.integers(2**31)),
    )


def _overlap(first: Structure, second: Structure) -> float:
    """Share of the smaller box that the two have in common."""
    one, two = np.array(first.box_xyxy), np.array(second.box_xyxy)
    sides = np.minimum(one[2:], two[2:]) - np.maximum(one[:2], two[:2])
    areas = [float(np.prod(box[2:] - box[:2])) for box in (one, two)]
    return float(np.prod(sides.clip(0))) / max(min(areas), 1e-9)
