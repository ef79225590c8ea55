"""Flights over towns as VLN-PE's trajectories are published: arrays of frames, tokens, progress."""

from __future__ import annotations

import gzip
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from aquatint.processes import map_in_processes
from aquatint.world.scenes import make_scene
from aquatint.world.town_agent import Action, AgentSpec, AgentState, camera_pose, look
from aquatint.world.town_map import TownMap
from aquatint.world.town_routes import FlightRule, Route, sample_route
from aquatint.world.whole_folders import is_written, write_whole

FORMAT_VERSION = 2
WORLD_FILE = "world.json"
SPLITS = ("train", "val_seen", "val_unseen")
EMBEDDING_WIDTH = 50
PAD, UNKNOWN = 0, 1
_CHUNK = 1000
_MAX_SCENES = 9_999
# Of the flights that fail in real recordings; those that hang keep pushing for a while.
_STUCK_EVERY, _STUCK_STEPS, _SHORT_EVERY = 17, 30, 23


@dataclass(frozen=True)
class TownRecordsSpec:
    """What to write.

    Args:
        num_scenes: Towns to train over.
        num_unseen_scenes: Further towns, for ``val_unseen``.
        flights_per_scene: Flights over each town, fewer where landmarks are rare.
        seen_flights_per_scene: Further flights over each training town, for ``val_seen``.
        size_px: Edge of the frames.
        seed: Seed of everything.
        gust_share: Share of the steps of training flights behind which a gust turns the agent.
        has_flaws: Whether some flights fail, as in real recordings, and two files are broken.
    """

    num_scenes: int
    num_unseen_scenes: int
    flights_per_scene: int
    seen_flights_per_scene: int
    size_px: int
    seed: int
    gust_share: float = 0.0
    has_flaws: bool = True

    def __post_init__(self) -> None:
        for name in ("num_scenes", "num_unseen_scenes", "flights_per_scene", "size_px"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}.")
        if self.num_scenes + self.num_unseen_scenes > _MAX_SCENES:
            raise ValueError(f"num_scenes and num_unseen_scenes must not exceed {_MAX_SCENES}.")

    @property
    def agent(self) -> AgentSpec:
        """The agent that flies."""
        return AgentSpec(size_px=self.size_px)


def records_root(folder: Path) -> Path:
    """Folder of the scan sets, ``traj_data/r2r`` as published."""
    return folder / "vln_pe" / "traj_data" / "r2r"


def raw_root(folder: Path) -> Path:
    """Folder of episodes and embeddings, ``raw_data/r2r`` as published."""
    return folder / "vln_pe" / "raw_data" / "r2r"


def write_records(folder: Path, spec: TownRecordsSpec, num_processes: int | None = None) -> None:
    """Fly, render and write everything; the folder appears under its name when it is complete.

    Args:
        folder: Folder to create. One that an earlier call wrote is replaced.
        spec: What to write.
        num_processes: Processes to render with; by default one for each available core. The result
            does not depend on it.

    Raises:
        ValueError: The folder holds something that this function did not write.
    """
    write_whole(folder, WORLD_FILE, lambda place: _write_into(place, spec, num_processes))


def _write_into(folder: Path, spec: TownRecordsSpec, num_processes: int | None) -> None:
    tasks = [(folder, spec, n) for n in range(spec.num_scenes + spec.num_unseen_scenes)]
    written = map_in_processes(_write_scene, tasks, num_processes)
    shown = tqdm(written, total=len(tasks), desc="recording flights", disable=None, leave=False)
    episodes = [episode for of_scene in shown for episode in of_scene]
    _write_episodes(raw_root(folder), episodes, spec.seed)
    flaws = _add_flaws(folder) if spec.has_flaws else []
    world = {"format_version": FORMAT_VERSION, "spec": asdict(spec), "flaws": flaws}
    (folder / WORLD_FILE).write_text(json.dumps(world, indent=1) + "\n")


def is_complete(folder: Path, spec: TownRecordsSpec) -> bool:
    """Whether a folder was written to its end, in this format and by this spec."""
    return is_written(folder, WORLD_FILE, FORMAT_VERSION, spec)


def town_seed(spec: TownRecordsSpec, number: int) -> int:
    """Seed of a town; no two of any world meet, nor those of trajectories with pixel goals."""
    return 500_000_000 + spec.seed * (_MAX_SCENES + 1) + number


def words_of(text: str) -> list[str]:
    """Words of an instruction in lower case, punctuation left out."""
    return re.findall(r"[a-z]+", text.lower())


def _write_scene(task: tuple[Path, TownRecordsSpec, int]) -> list[dict[str, Any]]:
    """Write one town's flights of each split and return what an episode of them is."""
    folder, spec, number = task
    agent, seed = spec.agent, town_seed(spec, number)
    scene = make_scene(seed)
    town = TownMap(scene, agent.altitude_m, agent.clearance_m, agent.radius_m)
    rng = np.random.default_rng([seed, 92])
    plan = (
        (("train", spec.flights_per_scene), ("val_seen", spec.seen_flights_per_scene))
        if number < spec.num_scenes
        else (("val_unseen", spec.flights_per_scene),)
    )
    episodes = []
    for split, count in plan:
        rule = FlightRule(gust_share=spec.gust_share if split == "train" else 0.0)
        drawn = (sample_route(scene, town, agent, rng, rule) for _ in range(count))
        routes = [route for route in drawn if route is not None]
        if not routes:
            continue
        place = records_root(folder) / split / f"scene_{number:04d}"
        rows: list[dict[str, Any]] = []
        stats = []
        for index, route in enumerate(routes):
            status = _status(spec, split, number * 10 + index)
            states, actions = _recorded(route, status)
            _write_flight(place, index, scene, states, actions, agent)
            first = len(rows)
            rows += [
                {"task_index": first + i, "task": text, "finish_status": status,
                 "fail_reason": "" if status == "success" else f"agent {status}"}
                for i, text in enumerate(route.instructions)
            ]  # fmt: skip
            bounds = {"min": [first], "max": [len(rows) - 1]}
            stats.append({"episode_index": index, "stats": {"task_index": bounds}})
            episodes.append(_episode(split, number, index, route, status))
        (place / "meta").mkdir(parents=True, exist_ok=True)
        for name, content in (("tasks", rows), ("episodes_stats", stats)):
            text = "".join(json.dumps(row) + "\n" for row in content)
            (place / "meta" / f"{name}.jsonl").write_text(text)
    return episodes


def _status(spec: TownRecordsSpec, split: str, number: int) -> str:
    if not spec.has_flaws or split != "train":
        return "success"
    if number % _STUCK_EVERY == 5:
        return "stuck"
    return "fall" if number % _SHORT_EVERY == 7 else "success"


def _recorded(route: Route, status: str) -> tuple[tuple[AgentState, ...], tuple[Action, ...]]:
    """What a recording holds: a flight that hangs pushes on, one that falls ends early."""
    if status == "stuck":
        half = max(1, len(route.states) // 2)
        states = route.states[:half] + (route.states[half - 1],) * _STUCK_STEPS
        return states, route.actions[:half] + (Action.FORWARD,) * _STUCK_STEPS
    if status == "fall":
        return route.states[:10], route.actions[:10]
    return route.states, route.actions


def _write_flight(
    place: Path, index: int, scene: Any, states: tuple[AgentState, ...],  # noqa: ANN401 - Scene
    actions: tuple[Action, ...], agent: AgentSpec,
) -> None:  # fmt: skip
    views = [look(scene, state, agent, agent.pitch_deg) for state in states]
    chunk = f"chunk-{index // _CHUNK:03d}"
    frames: dict[str, Any] = {
        "rgb": np.stack([view.rgb for view in views]),
        "depth": np.stack([view.depth_m for view in views]).astype(np.float32)[..., None],
    }
    for kind, values in frames.items():
        folder = place / "videos" / chunk / f"observation.images.{kind}"
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / f"episode_{index:06d}.npy", values)
    poses = [camera_pose(state, agent, agent.pitch_deg) for state in states]
    size = len(states)
    columns = {
        "observation.camera_position": [pose[:3, 3].tolist() for pose in poses],
        "observation.camera_orientation": [pose[:3, :3].ravel().tolist() for pose in poses],
        "observation.camera_yaw": [state.heading_rad for state in states],
        "observation.robot_position": [[s.x_m, s.y_m, agent.altitude_m] for s in states],
        "observation.robot_orientation": [[0.0, 0.0, np.sin(s.heading_rad / 2),
                                           np.cos(s.heading_rad / 2)] for s in states],
        "observation.robot_yaw": [state.heading_rad for state in states],
        "observation.progress": [step / max(1, size - 1) for step in range(size)],
        "observation.step": list(range(size)),
        "observation.action": [int(action) for action in actions],
    }  # fmt: skip
    folder = place / "data" / chunk
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), folder / f"episode_{index:06d}.parquet")


def _episode(split: str, number: int, index: int, route: Route, status: str) -> dict[str, Any]:
    start = route.states[0]
    return {
        "split": split,
        "episode_id": f"{split}/scene_{number:04d}/{index:06d}",
        "scene_number": number,
        "start_position": [start.x_m, start.y_m],
        "start_heading_rad": start.heading_rad,
        "goals": [{"position": route.goal.tolist()}],
        "reference_path": [state.position.tolist() for state in route.states],
        "info": {"geodesic_distance": route.geodesic_m},
        "instructions": list(route.instructions),
        "landmark": route.landmark,
        "finish_status": status,
    }


def _write_episodes(folder: Path, episodes: list[dict[str, Any]], seed: int) -> None:
    """Episodes by split with their tokens, the words, and a frozen vector for each of them."""
    used = {word for episode in episodes for text in episode["instructions"]
            for word in words_of(text)}  # fmt: skip
    words = ["<pad>", "<unk>", *sorted(used)]
    folder.mkdir(parents=True)
    numbers = {word: number for number, word in enumerate(words)}
    for path in sorted(folder.parents[1].glob("traj_data/r2r/*/*/meta/tasks.jsonl")):
        _add_tokens(path, numbers)
    for split in SPLITS:
        content = {
            "episodes": [episode for episode in episodes if episode["split"] == split],
            "instruction_vocab": {"word_list": words},
        }
        (folder / split).mkdir()
        _write_gzip(folder / split / f"{split}.json.gz", content)
    vectors = np.random.default_rng([seed, 93]).standard_normal((len(words), EMBEDDING_WIDTH))
    vectors[PAD] = 0
    _write_gzip(folder / "embeddings.json.gz", vectors.round(5).tolist())


def _add_tokens(path: Path, numbers: dict[str, int]) -> None:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        row["instruction_tokens"] = [numbers[word] for word in words_of(row["task"])]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _write_gzip(path: Path, content: Any) -> None:  # noqa: ANN401 - any JSON value
    # Without a time of writing: the same world has the same bytes.
    with path.open("wb") as file, gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed:
        packed.write(json.dumps(content).encode())


def _add_flaws(folder: Path) -> list[dict[str, str]]:
    """One array cut off and one position that is no number, where there are flights to spare."""
    tables = sorted((records_root(folder) / "train").rglob("*.parquet"))
    if len(tables) < 20:
        return []
    scene, stem = tables[3].parents[2], tables[3].stem
    frames = scene / "videos" / "chunk-000" / "observation.images.rgb" / f"{stem}.npy"
    frames.write_bytes(frames.read_bytes()[: frames.stat().st_size // 2])
    table = pq.read_table(tables[9])
    name = "observation.robot_position"
    positions = table[name].to_pylist()
    positions[1][0] = float("nan")
    column = table.schema.get_field_index(name)
    pq.write_table(table.set_column(column, name, pa.array(positions)), tables[9])
    kinds = zip(("cut array", "broken position"), (tables[3], tables[9]), strict=True)
    return [{"kind": kind, "file": path.relative_to(folder).as_posix()} for kind, path in kinds]
