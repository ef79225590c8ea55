"""The things in a scene: what they are, where they stand and how large they are."""

from dataclasses import dataclass

import numpy as np

from aquatint.world.arrays import FloatArray

VEHICLES = ("car", "truck", "bus", "train")
# Lies on the ground: drawn into the ground picture, not as a solid.
FLAT_KINDS = (
    "swimming pool",
    "tennis court",
    "football field",
    "parking lot",
    "crop field",
    "pond",
    "solar park",
    "forest",
    "orchard",
)
# Belong together only by kind: no box around all scattered trees says anything.
UNBOXED_KINDS = ("trees",)


@dataclass(frozen=True)
class SceneObject:
    """One object of a scene.

    Args:
        kind: Noun that names it.
        color: Colour word, or empty if the kind says it all.
        x_m: World x of its centre.
        y_m: World y of its centre.
        width_m: Size along its own x axis.
        depth_m: Size along its own y axis.
        height_m: Height over the ground; 0 if flat.
        yaw_rad: Turn of its x axis from the world's, counter-clockwise.
    """

    kind: str
    color: str
    x_m: float
    y_m: float
    width_m: float
    depth_m: float
    height_m: float
    yaw_rad: float

    @property
    def name(self) -> str:
        """Colour and kind in words."""
        return f"{self.color} {self.kind}".strip()

    def to_world(self, points: FloatArray) -> FloatArray:
        """Move points from the frame of the object to the world, shape (N, 2) in metres."""
        cosine, sine = np.cos(self.yaw_rad), np.sin(self.yaw_rad)
        turn = np.array([[cosine, sine], [-sine, cosine]])
        return points @ turn + (self.x_m, self.y_m)

    def footprint(self, margin_m: float = 0.0) -> FloatArray:
        """Return the corners of its outline, widened on each side, shape (4, 2)."""
        half_width = self.width_m / 2 + margin_m
        half_depth = self.depth_m / 2 + margin_m
        signs = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
        return self.to_world(signs * (half_width, half_depth))
