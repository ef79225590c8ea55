"""Language-conditioned drone flights, written in the raw formats of real recorders."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from aquatint.data.lerobot_writer import LeRobotEpisode, LeRobotLayout, write_lerobot
from aquatint.data.robot_rows import STATE_NAMES
from aquatint.processes import map_in_processes
from aquatint.world.arrays import Rng
from aquatint.world.flight_formats import VIEW, write_bridge, write_episode, write_trajectory
from aquatint.world.flight_physics import ACTION_HZ, HEADINGS_DEG, Goal, RangeFinder, wrap_deg
from aquatint.world.flight_recording import Flight, record_flight
from aquatint.world.flight_sites import MAX_PADS, PAD_COLORS, Site, photograph_ground, sample_site
from aquatint.world.whole_folders import is_written, write_whole
from aquatint.world.wording import POSITION_WORDS, join_words, name_position, with_article

WORLD_FILE = "flights.json"
FORMAT_VERSION = 5
TRAJECTORIES, EPISODES, BRIDGE = "trajectories", "New_dataset", "bridge"
LEROBOT_V3, LEROBOT_V21, GROUNDS = "lerobot_v3", "lerobot_v21", "grounds"
_GROUND_SEED = 900_000
_NO_SENSOR_EVERY = 6


@dataclass(frozen=True)
class FlightWorldSpec:
    """What to write.

    Attributes:
        num_trajectories: Flights in the older recorder's layout; every sixth lacks the sensor.
        num_episodes: Flights in the newer recorder's layout, all with the sensor.
        num_lerobot: Flights as a LeRobot data set of version 3, without the sensor.
        num_lerobot_v21: The same of version 2.1.
        num_bridge: Flights in Bridge's raw layout: actions alone, no pose.
        num_grounds: Grounds that recorded flights share.
        num_test_grounds: Further grounds, over which policies fly and nothing was recorded.
        num_steps: Steps of a recorded flight, 10 a second.
        num_rollout_steps: Steps of a flight in closed loop.
        size_px: Edge of a frame.
        seed: Decides everything.
        has_flaws: Whether five folders break a rule, as real recordings do.
    """

    num_trajectories: int
    num_episodes: int
    num_lerobot: int
    num_lerobot_v21: int
    num_bridge: int
    num_grounds: int
    num_test_grounds: int
    num_steps: int
    num_rollout_steps: int
    size_px: int
    seed: int
    has_flaws: bool = True


def write_flights(folder: Path, spec: FlightWorldSpec) -> None:
    """Fly and write everything; the folder appears under its name when it is complete.

    Args:
        folder: Folder to create. One that an earlier call wrote is replaced.
        spec: What to write.

    Raises:
        ValueError: The folder holds something that this function did not write.
    """
    write_whole(folder, WORLD_FILE, lambda place: _write_into(place, spec))


def is_complete(folder: Path, spec: FlightWorldSpec) -> bool:
    """Whether a folder was written to its end, in this format and by this spec."""
    return is_written(folder, WORLD_FILE, FORMAT_VERSION, spec)


def sample_goal(site: Site, rng: Rng) -> Goal:
    """Draw which pad of a site to fly to, and where to face."""
    pad = site.pads[int(rng.integers(len(site.pads)))]
    return Goal(pad.color, str(rng.choice(list(HEADINGS_DEG))))


def describe_sites(
    num_views: int, size_px: int, seed: int
) -> Iterator[tuple[NDArray[np.uint8], str, list[tuple[str, str]]]]:
    """Yield views of sites, what is in them in words, and questions about them with answers.

    Args:
        num_views: How many, over grounds of no flight.
        size_px: Edge of a view.
        seed: Decides them.
    """
    from aquatint.world.flight_sites import COVERAGE, look_down

    rng = np.random.default_rng([seed, 91])
    ground = photograph_ground(_GROUND_SEED - 1 - seed)
    for number in tqdm(range(num_views), desc="viewing sites", disable=None, leave=False):
        if number % 12 == 0:
            ground = photograph_ground(_GROUND_SEED - 2 - seed - number // 12)
        site = sample_site(ground, rng)
        middle = np.mean([(pad.x_m, pad.y_m) for pad in site.pads], axis=0)
        clearance = float(rng.uniform(6, 17))
        place = np.array([*(middle + rng.uniform(-2.5, 2.5, 2)), clearance])
        edge = COVERAGE * clearance
        seen = [
            (pad.color, 0.5 + (pad.x_m - place[0]) / edge, 0.5 - (pad.y_m - place[1]) / edge)
            for pad in site.pads
        ]
        answers = [(color, name_position(x, y)) for color, x, y in seen if 0 < x < 1 and 0 < y < 1]
        if not answers:
            continue
        words = [f"{with_article(color)} pad {where}" for color, where in sorted(answers)]
        asked = [(f"Where is the {color} pad?", where) for color, where in answers]
        asked += [(f"What is {where}?", f"a {color} pad") for color, where in answers]
        empty = [words for words in POSITION_WORDS if words not in dict(answers).values()]
        asked.append((f"What is {rng.choice(empty)}?", "no pad"))
        yield look_down(site, place, size_px, rng), f"There is {join_words(words)}.", asked


def test_grounds(spec: FlightWorldSpec) -> list[int]:
    """Seeds of the grounds over which policies fly."""
    first = _GROUND_SEED + 1000 * (spec.seed + 1) + spec.num_grounds
    return [first + number for number in range(spec.num_test_grounds)]


def ground_path(folder: Path, seed: int) -> Path:
    """Picture of a test ground."""
    return folder / GROUNDS / f"{seed}.png"


def _write_into(folder: Path, spec: FlightWorldSpec) -> None:
    (folder / GROUNDS).mkdir()
    for seed in test_grounds(spec):
        Image.fromarray(photograph_ground(seed)).save(ground_path(folder, seed))
    kept: dict[str, list[Flight]] = {LEROBOT_V3: [], LEROBOT_V21: []}
    flaws: list[dict[str, Any]] = []
    seen = dict.fromkeys(_counts(spec), 0)
    for kind, flight in _fly_all(spec):
        if kind in kept:
            kept[kind].append(flight)
        else:
            place = _write_one(folder / kind, kind, flight, seen[kind])
            if spec.has_flaws:
                flaws += _break(place.relative_to(folder), folder, kind, seen[kind])
        seen[kind] += 1
    layouts: dict[str, LeRobotLayout] = {LEROBOT_V3: "v3.0", LEROBOT_V21: "v2.1"}
    for kind, flights in kept.items():
        if flights:
            write_lerobot(
                folder / kind, [_as_lerobot(item) for item in flights], layouts[kind], ACTION_HZ
            )
    world = {"format_version": FORMAT_VERSION, "spec": asdict(spec), "flaws": flaws}
    (folder / WORLD_FILE).write_text(json.dumps(world, indent=1) + "\n")


def _counts(spec: FlightWorldSpec) -> dict[str, int]:
    return {
        TRAJECTORIES: spec.num_trajectories,
        EPISODES: spec.num_episodes,
        LEROBOT_V3: spec.num_lerobot,
        LEROBOT_V21: spec.num_lerobot_v21,
        BRIDGE: spec.num_bridge,
    }


def _fly_all(spec: FlightWorldSpec) -> list[tuple[str, Flight]]:
    """Every flight and the layout it is written in, in the order of their numbers."""
    found: dict[int, tuple[str, Flight]] = {}
    # A ground costs as much to render as dozens of flights over it: they are one task.
    tasks = [(spec, ground) for ground in range(spec.num_grounds)]
    flown = map_in_processes(_fly_over, tasks)
    for flights in tqdm(flown, "flying", len(tasks), disable=None, leave=False):
        found |= flights
    return [found[number] for number in sorted(found)]


def _fly_over(task: tuple[FlightWorldSpec, int]) -> dict[int, tuple[str, Flight]]:
    """The flights over one ground, by number."""
    spec, ground_number = task
    ground = photograph_ground(_GROUND_SEED + 1000 * (spec.seed + 1) + ground_number)
    sensor = RangeFinder(spec.seed)
    order = [(kind, place) for kind, count in _counts(spec).items() for place in range(count)]
    flights = {}
    for number in range(ground_number, len(order), spec.num_grounds):
        kind, place = order[number]
        rng = np.random.default_rng([spec.seed, 72, number])
        # Every other site has one pad alone: what a pad is, before which one is meant.
        site = sample_site(ground, rng, 1 + (number // spec.num_grounds) % MAX_PADS)
        has_sensor = kind == EPISODES or (
            kind == TRAJECTORIES and place % _NO_SENSOR_EVERY != _NO_SENSOR_EVERY - 1
        )
        flight = record_flight(
            site,
            sample_goal(site, rng),
            number,
            rng,
            num_steps=spec.num_steps,
            size_px=spec.size_px,
            sensor=sensor if has_sensor else None,
        )
        flights[number] = (kind, flight)
    return flights


def _write_one(root: Path, kind: str, flight: Flight, number: int) -> Path:
    if kind == BRIDGE:
        return write_bridge(root, flight, number)
    return write_trajectory(root, flight) if kind == TRAJECTORIES else write_episode(root, flight)


def _as_lerobot(flight: Flight) -> LeRobotEpisode:
    """A flight at the rate of actions; the latest frame stands at each step."""
    steps = np.diff(flight.step_poses, axis=0)
    steps[:, 3:] = wrap_deg(steps[:, 3:])
    num = len(steps)
    reuse = -(-num // (len(flight.frames) - 1))
    state = np.concatenate([np.full((num, 6), 55.0), flight.step_poses[:num]], axis=1)
    return LeRobotEpisode(
        task=flight.goal.instruction,
        state=state.astype(np.float32),
        state_names=STATE_NAMES,
        action=np.concatenate([steps, np.ones((num, 1))], 1).astype(np.float32),
        frames={VIEW: flight.frames[np.arange(num) // reuse]},
    )


def _break(place: Path, folder: Path, kind: str, number: int) -> list[dict[str, Any]]:
    """Give a few recordings the faults of real ones."""
    fault = {
        (TRAJECTORIES, 2): "missing column",
        (TRAJECTORIES, 3): "NaN pose",
        (EPISODES, 2): "clock an hour off",
        (EPISODES, 3): "empty sensor file",
        (BRIDGE, 1): "action width",
    }.get((kind, number))
    if fault is None:
        return []
    target = folder / place
    if fault == "empty sensor file":
        (target / "sensor_data.npz").write_bytes(b"")
    elif fault == "action width":
        records = [{"actions": np.zeros(6)}] * 4
        (target / "policy_out.pkl").write_bytes(pickle_records(records))
    else:
        _break_states(next(target.glob("robot_state*.csv")), fault)
    return [{"place": place.as_posix(), "kind": fault}]


def pickle_records(records: list[dict[str, Any]]) -> bytes:
    """Return records in the way Bridge stores them."""
    import pickle

    return pickle.dumps(records)


def _break_states(path: Path, fault: str) -> None:
    lines = path.read_text().splitlines()
    if fault == "missing column":
        keep = [i for i, name in enumerate(lines[0].split(",")) if name != "pose_z"]
        lines = [",".join(line.split(",")[i] for i in keep) for line in lines]
    elif fault == "NaN pose":
        cells = lines[9].split(",")
        lines[9] = ",".join([*cells[:-1], "nan"])
    else:
        rows = [line.split(",") for line in lines[1:]]
        lines[1:] = [",".join([f"{float(row[0]) + 3600:.6f}", *row[1:]]) for row in rows]
    path.write_text("\n".join(lines) + "\n")


__all__ = ["PAD_COLORS", "FlightWorldSpec", "describe_sites", "is_complete", "write_flights"]
