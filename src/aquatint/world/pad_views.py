"""Views of pad towns in words: which pads are seen, and at which pixel."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from aquatint.geometry.poses import project_points
from aquatint.processes import map_in_processes
from aquatint.world.arrays import Rng
from aquatint.world.flight_sites import PAD_COLORS, Pad
from aquatint.world.pads import make_pad_town
from aquatint.world.scenes import Scene
from aquatint.world.town_agent import AgentSpec, AgentState, camera_pose, look

FORMAT_VERSION = 3
# Towns of no recipe: theirs count up from 0.
_FIRST_SEED = 2_000_000_000
_VIEWS_PER_TOWN = 24
# Between the towns that are tried for one number: no other number's.
_RETRY_STRIDE = 100_000
_MAX_TRIES = 200
_REACH_M = (1.0, 34.0)


class PadView(NamedTuple):
    """A view and what it shows.

    Attributes:
        pixels: uint8, shape (S, S, 3).
        places: Row and column of each pad's middle by color, counted from 0; None for a pad that
            is elsewhere, and for colors that no pad of the town has.
        word_cells: 1 where a pad's middle lies in a cell of a grid, int8, row by row, shape
            (cells, colors), in the order of ``places``.
    """

    pixels: NDArray[np.uint8]
    places: dict[str, tuple[int, int] | None]
    word_cells: NDArray[np.int8]


def view_pads(num_views: int, size_px: int, seed: int, num_cells: int = 4) -> Iterator[PadView]:
    """Yield views of pad towns from both of an agent's cameras, two pads or more in each.

    Of a single pad a color would be no more than a habit of speech: it could be found without.

    Args:
        num_views: How many.
        size_px: Edge of a view.
        seed: Decides them.
        num_cells: Cells of ``PadView.word_cells`` along an edge.
    """
    numbers = range(-(-num_views // _VIEWS_PER_TOWN))
    tasks = [_Town(seed, number, size_px, num_cells) for number in numbers]
    found = map_in_processes(_view_town, tasks, is_awaited=True)
    towns = tqdm(found, "viewing pads", len(tasks), disable=None, leave=False, unit="town")
    yield from itertools.islice(itertools.chain.from_iterable(towns), num_views)


class _Town(NamedTuple):
    """What a process needs to view one town."""

    seed: int
    number: int
    size_px: int
    num_cells: int


def _view_town(task: _Town) -> list[PadView]:
    spec = AgentSpec(size_px=task.size_px)
    scene, pads = _make_town(task.seed, task.number, spec)
    # By town, so that a town's views do not depend on who views the others.
    rng = np.random.default_rng([task.seed, 98, task.number])
    return [_view(scene, pads, spec, task.num_cells, rng) for _ in range(_VIEWS_PER_TOWN)]


def _view(scene: Scene, pads: Sequence[Pad], spec: AgentSpec, num_cells: int, rng: Rng) -> PadView:
    state, pitch, seen = _look_at_several(pads, spec, rng)
    view = look(scene, state, spec, pitch)
    places: dict[str, tuple[int, int] | None] = dict.fromkeys(PAD_COLORS)
    for pad, (x, y, depth) in zip(pads, seen, strict=True):
        if _is_inside(x, y, depth, spec.size_px):
            is_seen = abs(float(view.depth_m[int(y), int(x)]) - depth) < 1.0
            places[pad.color] = (int(y), int(x)) if is_seen else None
    return PadView(view.rgb, places, _cells(places, spec.size_px, num_cells))


def _make_town(seed: int, number: int, spec: AgentSpec) -> tuple[Scene, tuple[Pad, ...]]:
    """The town of this number, or the next one with room for two pads."""
    first = _FIRST_SEED + 1_000_000 * seed + number
    for town_seed in itertools.count(first, _RETRY_STRIDE):
        scene, _, pads = make_pad_town(town_seed, spec.altitude_m, spec.clearance_m, spec.radius_m)
        if len(pads) > 1:
            break
    return scene, pads


def _look_at_several(
    pads: Sequence[Pad], spec: AgentSpec, rng: Rng
) -> tuple[AgentState, float, list[list[float]]]:
    """A place and a camera's pitch from which the middles of two pads lie in the view.

    Returns:
        The place, the pitch, and column, row and depth of each pad's middle.
    """
    points = np.array([[pad.x_m, pad.y_m, 0.0] for pad in pads])
    intrinsics = spec.intrinsics
    for _ in range(_MAX_TRIES):
        state = _stand(pads[int(rng.integers(len(pads)))], rng)
        pitch = (spec.pitch_deg, spec.look_down_deg)[int(rng.integers(2))]
        places = project_points(points, camera_pose(state, spec, pitch), intrinsics).tolist()
        if sum(_is_inside(x, y, depth, spec.size_px) for x, y, depth in places) > 1:
            break
    return state, pitch, places


def _is_inside(x: float, y: float, depth: float, size_px: int) -> bool:
    return depth > 0 and 0 <= x < size_px and 0 <= y < size_px


def _cells(
    places: Mapping[str, tuple[int, int] | None], size_px: int, num_cells: int
) -> NDArray[np.int8]:
    found = np.zeros((num_cells**2, len(places)), dtype=np.int8)
    for word, place in enumerate(places.values()):
        if place is not None:
            row, column = (at * num_cells // size_px for at in place)
            found[row * num_cells + column, word] = 1
    return found


def _stand(pad: Pad, rng: Rng) -> AgentState:
    """A place around a pad, looking roughly at it."""
    angle, distance_m = rng.uniform(-np.pi, np.pi), rng.uniform(*_REACH_M)
    x, y = pad.x_m - distance_m * np.cos(angle), pad.y_m - distance_m * np.sin(angle)
    heading = angle + rng.normal(0, 0.6)
    return AgentState(float(x), float(y), float((heading + np.pi) % (2 * np.pi) - np.pi))
