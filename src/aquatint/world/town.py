"""Instruction-following flights over towns, written as VLN-CE's trajectories are published."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from tqdm import tqdm

from aquatint.processes import map_in_processes
from aquatint.world.arrays import FloatArray
from aquatint.world.flight_sites import Pad
from aquatint.world.pad_routes import sample_pad_route
from aquatint.world.pads import make_pad_town
from aquatint.world.scenes import Scene, make_scene
from aquatint.world.town_agent import AgentSpec, camera_pose, look
from aquatint.world.town_map import TownMap
from aquatint.world.town_routes import Route, sample_route
from aquatint.world.whole_folders import is_written, write_whole

FORMAT_VERSION = 2
WORLD_FILE = "world.json"
CLOSED_LOOP = "closed_loop"
SET_NAME = "town"
INSTRUCTION_MARK = "<INSTRUCTION_SEP>"
_JPEG_QUALITY = 90
_CHUNK = 1000
_MAX_DEPTH_MM = 65_535
_MAX_SCENES = 9_999


@dataclass(frozen=True)
class TownWorldSpec:
    """What to write.

    Args:
        num_scenes: Towns, each with flights of its own.
        flights_per_scene: Flights over each; fewer where landmarks are rare.
        size_px: Edge of the frames.
        seed: Seed of everything.
        has_flaws: Whether some flights have the faults of real data, listed in ``world.json``.
        landmarks: What flights lead to: ``houses`` of whole towns, or ``pads`` of sparse ones.
    """

    num_scenes: int
    flights_per_scene: int
    size_px: int
    seed: int
    has_flaws: bool = True
    landmarks: Literal["houses", "pads"] = "houses"

    def __post_init__(self) -> None:
        for name in ("num_scenes", "flights_per_scene", "size_px"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}.")
        if self.num_scenes > _MAX_SCENES:
            raise ValueError(f"num_scenes must not exceed {_MAX_SCENES}.")

    @property
    def agent(self) -> AgentSpec:
        """The agent that flies."""
        return AgentSpec(size_px=self.size_px)

    @property
    def token(self) -> str:
        """Name of the set, as its grammar writes height and pitches."""
        agent = self.agent
        return f"{SET_NAME}_{_height_cm(agent)}cm_{agent.pitch_deg}_{agent.look_down_deg}"


def write_town(folder: Path, spec: TownWorldSpec, num_processes: int | None = None) -> None:
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


def _write_into(folder: Path, spec: TownWorldSpec, num_processes: int | None) -> None:
    tasks = [(folder, spec, number) for number in range(spec.num_scenes)]
    written = map_in_processes(_write_scene, tasks, num_processes)
    counts = list(
        tqdm(written, total=len(tasks), desc="flying over towns", disable=None, leave=False)
    )
    flaws = _add_flaws(folder, spec, counts) if spec.has_flaws else []
    world = {"format_version": FORMAT_VERSION, "spec": asdict(spec), "flaws": flaws}
    (folder / WORLD_FILE).write_text(json.dumps(world, indent=1) + "\n")


def is_complete(folder: Path, spec: TownWorldSpec) -> bool:
    """Whether a folder was written to its end, in this format and by this spec."""
    return is_written(folder, WORLD_FILE, FORMAT_VERSION, spec)


def scene_name(number: int) -> str:
    """Name of a town, counted from 0."""
    return f"scene_{number:04d}"


def scene_seed(spec: TownWorldSpec, number: int) -> int:
    """Seed of a town; no two of any world meet."""
    return spec.seed * (_MAX_SCENES + 1) + number


def open_town(spec: TownWorldSpec, number: int) -> tuple[Scene, TownMap, tuple[Pad, ...]]:
    """Return a town counted from 0, where an agent may fly over it, and its pads if it has any."""
    agent, seed = spec.agent, scene_seed(spec, number)
    if spec.landmarks == "pads":
        return make_pad_town(seed, agent.altitude_m, agent.clearance_m, agent.radius_m)
    scene = make_scene(seed)
    return scene, TownMap(scene, agent.altitude_m, agent.clearance_m, agent.radius_m), ()


def _height_cm(agent: AgentSpec) -> int:
    return round(100 * agent.altitude_m)


def _write_scene(task: tuple[Path, TownWorldSpec, int]) -> int:
    """Write one town's flights and return how many there are."""
    folder, spec, number = task
    agent = spec.agent
    rng = np.random.default_rng([scene_seed(spec, number), 91])
    scene, town, pads = open_town(spec, number)
    drawn = (
        sample_route(scene, town, agent, rng)
        if spec.landmarks == "houses"
        else sample_pad_route(pads, town, agent, rng)
        for _ in range(spec.flights_per_scene)
    )
    routes = [route for route in drawn if route is not None]
    place = folder / "traj_data" / SET_NAME / scene_name(number)
    (place / "meta").mkdir(parents=True)
    for index, route in enumerate(routes):
        _write_frames(place, scene, route, agent, index)
        _write_table(place, route, agent, index)
    _write_meta(place / "meta", routes, agent)
    return len(routes)


def _write_frames(place: Path, scene: Any, route: Route, agent: AgentSpec, index: int) -> None:  # noqa: ANN401 - Scene
    height = _height_cm(agent)
    for pitch in sorted({agent.pitch_deg, agent.look_down_deg}):
        folders = {
            kind: place / "videos" / f"chunk-{index // _CHUNK:03d}"
            / f"observation.images.{kind}.{height}cm_{pitch}deg"
            for kind in ("rgb", "depth")
        }  # fmt: skip
        for folder in folders.values():
            folder.mkdir(parents=True, exist_ok=True)
        for frame, state in enumerate(route.states):
            view = look(scene, state, agent, pitch)
            name = f"episode_{index:06d}_{frame}"
            Image.fromarray(view.rgb).save(folders["rgb"] / f"{name}.jpg", quality=_JPEG_QUALITY)
            depth_mm = (view.depth_m * 1000).clip(0, _MAX_DEPTH_MM).astype(np.uint16)
            Image.fromarray(depth_mm).save(folders["depth"] / f"{name}.png", compress_level=1)


def _write_table(place: Path, route: Route, agent: AgentSpec, index: int) -> None:
    """One row a frame; the action of a frame stands in the row after it, as published."""
    actions = [0, *(int(action) for action in route.actions[:-1])]
    columns: dict[str, Any] = {
        "action": pa.array(actions, pa.int64()),
        "timestamp": pa.array([float(frame) for frame in range(len(actions))], pa.float32()),
        "frame_index": pa.array(range(len(actions)), pa.int64()),
        "episode_index": pa.array([index] * len(actions), pa.int64()),
    }
    for pitch in sorted({agent.pitch_deg, agent.look_down_deg}):
        poses = [camera_pose(state, agent, pitch).tolist() for state in route.states]
        columns[f"pose.{_height_cm(agent)}cm_{pitch}deg"] = pa.array(
            poses, pa.list_(pa.list_(pa.float64()))
        )
    folder = place / "data" / f"chunk-{index // _CHUNK:03d}"
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), folder / f"episode_{index:06d}.parquet")


def _write_meta(folder: Path, routes: list[Route], agent: AgentSpec) -> None:
    episodes: list[dict[str, Any]] = [
        {"episode_index": index, "tasks": [INSTRUCTION_MARK.join(route.instructions)],
         "length": len(route.states)}
        for index, route in enumerate(routes)
    ]  # fmt: skip
    tasks = [{"task_index": row["episode_index"], "task": row["tasks"][0]} for row in episodes]
    info = {
        "codebase_version": "v2.1",
        "total_episodes": len(routes),
        "total_frames": sum(len(route.states) for route in routes),
        "chunks_size": _CHUNK,
        "horizontal_fov_deg": agent.fov_deg,
        "image_size_px": [agent.size_px, agent.size_px],
        "camera_axes": "opencv",
    }
    (folder / "info.json").write_text(json.dumps(info, indent=1))
    # What a simulator needs to let others fly the same; no part of the published layout.
    starts = [
        {"episode_index": index, "start": asdict(route.states[0]), "goal": route.goal.tolist(),
         "geodesic_m": route.geodesic_m, "landmark": route.landmark,
         "instructions": list(route.instructions),
         "reference": [state.position.tolist() for state in route.states]}
        for index, route in enumerate(routes)
    ]  # fmt: skip
    for name, rows in (("episodes", episodes), ("tasks", tasks), (CLOSED_LOOP, starts)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def _add_flaws(folder: Path, spec: TownWorldSpec, counts: list[int]) -> list[dict[str, str]]:
    """Faults of real data in three flights: depth that is lost, a frame cut off, a broken pose."""
    flights = [(scene, index) for scene, count in enumerate(counts) for index in range(count)]
    if len(flights) < 20:  # so that nothing of a tiny world is lost
        return []
    height, pitch = _height_cm(spec.agent), spec.agent.look_down_deg
    flaws = []
    for kind, (scene, index) in zip(
        ("lost depth", "cut frame", "broken pose"), flights[4 :: len(flights) // 4], strict=False
    ):
        place = folder / "traj_data" / SET_NAME / scene_name(scene)
        name = (
            f"videos/chunk-000/observation.images.{{}}.{height}cm_{pitch}deg/episode_{index:06d}_0"
        )
        if kind == "lost depth":
            (place / f"{name.format('depth')}.png").unlink()
        elif kind == "cut frame":
            path = place / f"{name.format('rgb')}.jpg"
            path.write_bytes(path.read_bytes()[:100])
        else:
            _break_pose(place / "data/chunk-000" / f"episode_{index:06d}.parquet", height, pitch)
        flaws.append({"kind": kind, "flight": f"{SET_NAME}/{scene_name(scene)}/{index:06d}"})
    return flaws


def _break_pose(path: Path, height: int, pitch: int) -> None:
    table = pq.read_table(path)
    name = f"pose.{height}cm_{pitch}deg"
    poses: FloatArray = np.array(table[name].to_pylist())
    poses[1, 0, 3] = np.nan
    column = pa.array(poses.tolist(), pa.list_(pa.list_(pa.float64())))
    pq.write_table(table.set_column(table.schema.get_field_index(name), name, column), path)
