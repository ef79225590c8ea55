"""Names of trajectory sets: which trajectories, from which height, at which pitch, how many."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection
from dataclasses import dataclass

# Published combinations, by set; heights in cm, pitches in degrees below the horizon.
PUBLISHED_NAMES = (
    "r2r_125cm_0_30",
    "r2r_125cm_0_45",
    "r2r_60cm_15_15",
    "r2r_60cm_30_30",
    "rxr_125cm_0_30",
    "rxr_125cm_0_45",
    "rxr_60cm_15_15",
    "rxr_60cm_30_30",
    "scalevln_125cm_0_30",
    "scalevln_125cm_0_45",
    "scalevln_60cm_30_30",
)
_PATTERN = re.compile(
    r"(?P<set>[a-z][a-z0-9]*)_(?P<height>[1-9]\d*)cm_(?P<pitch1>\d+)_(?P<pitch2>\d+)"
    r"(%(?P<percent>\d{1,3}))?"
)


@dataclass(frozen=True)
class TrajectorySet:
    """A set of trajectories as one camera saw it.

    Attributes:
        name: Set: the folder below the data's root.
        height_cm: Height of the camera over the ground.
        pitch_deg: Pitch of frames in general, below the horizon.
        look_down_deg: Pitch of the frames in which goals are pointed at.
        percent: Share of the samples that is used, 1 to 100.
    """

    name: str
    height_cm: int
    pitch_deg: int
    look_down_deg: int
    percent: int = 100

    @property
    def token(self) -> str:
        """The name without its share, as the registry lists it."""
        return f"{self.name}_{self.height_cm}cm_{self.pitch_deg}_{self.look_down_deg}"

    @property
    def view(self) -> str:
        """Height and pitch of frames in general, as columns and folders are named."""
        return f"{self.height_cm}cm_{self.pitch_deg}deg"

    @property
    def look_down_view(self) -> str:
        """Height and pitch of the frames in which goals are pointed at."""
        return f"{self.height_cm}cm_{self.look_down_deg}deg"


def parse_trajectory_name(name: str, known: Collection[str]) -> TrajectorySet:
    """Read ``<set>_<height>cm_<pitch1>_<pitch2>[%<percent>]``.

    Args:
        name: As written in the parameters.
        known: Names that exist, without shares.

    Raises:
        ValueError: If the name does not follow the grammar, or is not among the known ones.
    """
    match = _PATTERN.fullmatch(name)
    if match is None:
        raise ValueError(
            f"{name!r} is no trajectory set; a name is <set>_<height>cm_<pitch>_<pitch after "
            f"looking down>[%<percent>], like {sorted(known)[0]}%30."
        )
    found = TrajectorySet(
        match["set"],
        int(match["height"]),
        int(match["pitch1"]),
        int(match["pitch2"]),
        int(match["percent"] or 100),
    )
    if max(found.pitch_deg, found.look_down_deg) > 90:
        raise ValueError(f"{name!r}: a pitch lies between 0 and 90 degrees below the horizon.")
    if not 1 <= found.percent <= 100:
        raise ValueError(f"{name!r}: the share must lie between 1 and 100, got {found.percent}.")
    if found.token not in known:
        raise ValueError(f"{name!r} is not known; there are {', '.join(sorted(known))}.")
    return found


def is_sampled(sample_id: str, percent: int, seed: int) -> bool:
    """Whether a sample belongs to the share of a set: a function of its id and the seed alone.

    So every process draws the same samples, and a larger share holds the smaller one.

    Args:
        sample_id: Id of the sample, unique over all sets.
        percent: Share that is used, 1 to 100.
        seed: Seed of the draw.
    """
    digest = hashlib.sha256(f"{seed} {sample_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < percent * 2**64 // 100
