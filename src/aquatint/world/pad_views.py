"""Views of pad towns in words: which pads are seen, and at which pixel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from aquatint.geometry.poses import project_points
from aquatint.world.arrays import Rng
from aquatint.world.flight_sites import PAD_COLORS, Pad
from aquatint.world.pads import make_pad_town
from aquatint.world.town_agent import AgentSpec, AgentState, camera_pose, look

FORMAT_VERSION = 1
# Towns of no recipe: theirs count up from 0.
_FIRST_SEED = 2_000_000_000
_VIEWS_PER_TOWN = 16
_REACH_M = (1.0, 34.0)


class PadView(NamedTuple):
    """A view and what it shows.

    Attributes:
        pixels: uint8, shape (S, S, 3).
        places: Row and column of each pad's middle by color, counted from 0; None for a pad that
            is elsewhere, and for colors that no pad of the town has.
    """

    pixels: NDArray[np.uint8]
    places: dict[str, tuple[int, int] | None]


def view_pads(num_views: int, size_px: int, seed: int) -> Iterator[PadView]:
    """Yield views of pad towns from both of an agent's cameras.

    Args:
        num_views: How many.
        size_px: Edge of a view.
        seed: Decides them.
    """
    spec = AgentSpec(size_px=size_px)
    rng = np.random.default_rng([seed, 98])
    for number in tqdm(range(num_views), desc="viewing pads", disable=None, leave=False):
        if number % _VIEWS_PER_TOWN == 0:
            town_seed = _FIRST_SEED + 1_000_000 * seed + number // _VIEWS_PER_TOWN
            scene, _, pads = make_pad_town(
                town_seed, spec.altitude_m, spec.clearance_m, spec.radius_m
            )
        state = _stand(pads[int(rng.integers(len(pads)))], rng)
        pitch = (spec.pitch_deg, spec.look_down_deg)[int(rng.integers(2))]
        view = look(scene, state, spec, pitch)
        places: dict[str, tuple[int, int] | None] = dict.fromkeys(PAD_COLORS)
        for pad in pads:
            point = np.array([[pad.x_m, pad.y_m, 0.0]])
            pose = camera_pose(state, spec, pitch).astype(np.float64)
            x, y, depth = project_points(point, pose, spec.intrinsics.astype(np.float64))[0]
            if depth > 0 and 0 <= x < size_px and 0 <= y < size_px:
                is_seen = abs(view.depth_m[int(y), int(x)] - depth) < 1.0
                places[pad.color] = (int(y), int(x)) if is_seen else None
        yield PadView(view.rgb, places)


def _stand(pad: Pad, rng: Rng) -> AgentState:
    """A place around a pad, looking roughly at it."""
    angle, distance_m = rng.uniform(-np.pi, np.pi), rng.uniform(*_REACH_M)
    x, y = pad.x_m - distance_m * np.cos(angle), pad.y_m - distance_m * np.sin(angle)
    heading = angle + rng.normal(0, 0.6)
    return AgentState(float(x), float(y), float((heading + np.pi) % (2 * np.pi) - np.pi))
