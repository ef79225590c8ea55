"""What is visibly true of one view: ground, condition, lines, named objects and counts."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aquatint.world.lines import describe_junction, describe_lines
from aquatint.world.objects import UNBOXED_KINDS, VEHICLES
from aquatint.world.palette import Surface
from aquatint.world.render import BoxXyxy, View
from aquatint.world.scenes import Scene
from aquatint.world.wording import MAX_COUNT

Shares = NDArray[np.float64]

# Fractions of the image: what captions name, what regions name, what is still a presence.
MIN_LARGE_SHARE = 0.008
MIN_NAMED_SHARE = 0.004
MIN_COUNTED_SHARE = 0.003
MIN_SEEN_SHARE = 0.0006
MIN_GROUND_SHARE = 0.1
MIN_CONDITION_SHARE = 0.04
MANY_TREES_SHARE = 0.07
_CONDITION_SURFACES = {
    "flooded": Surface.FLOOD,
    "burnt": Surface.CHAR,
    "damaged": Surface.RUBBLE,
}


@dataclass(frozen=True)
class NamedObject:
    """An object that its name tells apart from all others in the view.

    Args:
        object_id: Id in the view.
        name: Colour and kind.
        box: Its box in [0, 1].
        share: Fraction of the image it covers.
    """

    object_id: int
    name: str
    box: BoxXyxy
    share: float

    @property
    def is_large(self) -> bool:
        """Whether it is large enough to be named in a caption of the whole image."""
        return self.share >= MIN_LARGE_SHARE


@dataclass(frozen=True)
class Facts:
    """Everything that captions may say about a view.

    Args:
        ground: Words for the open ground, if enough of it shows.
        condition: Words for what happened, if its traces show.
        junction: The junction of the roads with its position, if it is in the view.
        lines: Water, railway and roads with direction and position.
        named: Objects with unique names, the largest first.
        counts: Names or kinds of which several are visible, with how many.
        has_many_trees: Whether trees cover much of the image.
        has_large_building: Whether at least one building is large in the image.
        has_road: Whether any piece of road shows, or a flood may cover one.
    """

    ground: str | None
    condition: str | None
    junction: str | None
    lines: tuple[str, ...]
    named: tuple[NamedObject, ...]
    counts: tuple[tuple[str, int], ...]
    has_many_trees: bool
    has_large_building: bool
    has_road: bool


def find_facts(scene: Scene, view: View) -> Facts:
    """Collect what the pixels of a view show."""
    num_pixels = view.instance_ids.size
    shares = np.bincount(view.instance_ids.ravel(), minlength=len(scene.objects) + 1) / num_pixels
    surfaces = np.bincount(view.surfaces.ravel(), minlength=len(Surface)) / num_pixels
    marker = _CONDITION_SURFACES.get(scene.condition)
    is_marked = marker is not None and surfaces[marker] >= MIN_CONDITION_SHARE
    may_hide_road = scene.condition == "flooded" and bool(scene.network.roads)
    return Facts(
        ground=scene.ground_kind.name if surfaces[Surface.GROUND] >= MIN_GROUND_SHARE else None,
        condition=scene.condition if is_marked else None,
        junction=describe_junction(scene.network, view),
        lines=describe_lines(scene.network, view),
        named=_find_named(scene, view, shares),
        counts=_count_kinds(scene, shares),
        has_many_trees=_tree_share(scene, shares) >= MANY_TREES_SHARE,
        has_large_building=_has_large_building(scene, shares),
        has_road=may_hide_road or bool(surfaces[Surface.ROAD] > 0),
    )


def _tree_share(scene: Scene, shares: Shares) -> float:
    kinds = ("forest", *UNBOXED_KINDS)
    owners = [i + 1 for i, item in enumerate(scene.objects) if item.kind in kinds]
    return float(shares[owners].sum())


def _has_large_building(scene: Scene, shares: Shares) -> bool:
    return any(
        share >= MIN_LARGE_SHARE and item.height_m > 0 and item.kind not in VEHICLES
        for item, share in zip(scene.objects, shares[1:], strict=True)
    )


def _find_named(scene: Scene, view: View, shares: Shares) -> tuple[NamedObject, ...]:
    names = {
        index + 1: item.name
        for index, item in enumerate(scene.objects)
        if shares[index + 1] >= MIN_SEEN_SHARE
    }
    uses = Counter(names.values())
    named = [
        NamedObject(object_id, name, view.boxes_xyxy[object_id], float(shares[object_id]))
        for object_id, name in names.items()
        if uses[name] == 1 and shares[object_id] >= MIN_NAMED_SHARE and object_id in view.boxes_xyxy
    ]
    return tuple(sorted(named, key=lambda item: (-item.share, item.object_id)))


def _count_kinds(scene: Scene, shares: Shares) -> tuple[tuple[str, int], ...]:
    clear: Counter[str] = Counter()
    vague: set[str] = set()
    for item, share in zip(scene.objects, shares[1:], strict=True):
        # Too small in the image to be told apart reliably.
        if item.kind in (*UNBOXED_KINDS, *VEHICLES):
            continue
        words = {item.name, item.kind}
        if share >= MIN_COUNTED_SHARE:
            clear.update(words)
        elif share >= MIN_SEEN_SHARE:
            vague |= words
    counts = [
        (word, count)
        for word, count in clear.items()
        if 2 <= count <= MAX_COUNT and word not in vague
    ]
    return tuple(sorted(counts, key=lambda item: (-item[1], item[0])))
