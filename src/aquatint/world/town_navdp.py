"""Paths over cluttered towns as NavDP's data are published: poses, pictures, depth, obstacles."""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from tqdm import tqdm

from aquatint.data.point_cloud import OBSTACLE_COLOR, PointCloud, write_ply
from aquatint.processes import map_in_processes
from aquatint.world.arrays import FloatArray
from aquatint.world.scenes import Scene, make_scene
from aquatint.world.town_agent import AgentSpec, AgentState, camera_pose, look
from aquatint.world.town_map import CELL_M, HALF_EXTENT_M, TownMap
from aquatint.world.town_paths import PathPlanner, PathRule, TownPath, sample_path
from aquatint.world.whole_folders import is_written, write_whole

FORMAT_VERSION = 1
WORLD_FILE, EPISODES_FILE, INDEX_FILE = "world.json", "episodes.json", "navdp_dataset.json"
GROUP, UNSEEN_GROUP = "town_rgbd", "town_rgbd_unseen"
DEPTH_UNITS_PER_M = 500
_GROUND_COLOR = (0.6, 0.6, 0.6)
_JPEG_QUALITY = 90
_MAX_DEPTH = 65_535
_MAX_SCENES = 99_999
_WIDE_RADIUS_M = 2.0
_MARGIN_CELLS = 18
_FRAMES_FOLDER = "videos/chunk-000/observation.images."


@dataclass(frozen=True)
class TownPathsSpec:
    """What to write.

    Args:
        num_scenes: Towns to train over.
        num_unseen_scenes: Further towns, in a group of their own.
        paths_per_scene: Paths over each town, fewer where there is no room.
        size_px: Edge of the frames.
        seed: Seed of everything.
        min_blocked_share: Least share of a town's middle that obstacles take.
        rule: Fields of ``PathRule`` that differ over towns to train on.
        has_flaws: Whether some files have the faults of real data, listed in ``world.json``.
    """

    num_scenes: int
    num_unseen_scenes: int
    paths_per_scene: int
    size_px: int
    seed: int
    min_blocked_share: float = 0.1
    rule: dict[str, float] | None = None
    has_flaws: bool = True

    def __post_init__(self) -> None:
        for name in ("num_scenes", "num_unseen_scenes", "paths_per_scene", "size_px"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}.")
        if not 0 <= self.min_blocked_share < 0.3:
            raise ValueError(
                f"min_blocked_share must lie in [0, 0.3), not {self.min_blocked_share}: hardly "
                "any town is built so densely."
            )

    @property
    def agent(self) -> AgentSpec:
        """The agent that flies: low, so that houses and trees stand in its way."""
        return AgentSpec(altitude_m=6.0, clearance_m=2.0, radius_m=1.0, size_px=self.size_px)

    def path_rule(self, *, is_unseen: bool) -> PathRule:
        """What paths are drawn over a town."""
        # Episodes are the same, whatever one trains on.
        return PathRule() if is_unseen else PathRule(**(self.rule or {}))


def write_paths(folder: Path, spec: TownPathsSpec, num_processes: int = 2) -> None:
    """Plan, render and write everything; the folder appears under its name when it is complete.

    Args:
        folder: Folder to create. One that an earlier call wrote is replaced.
        spec: What to write.
        num_processes: Processes to render with; the result does not depend on it.

    Raises:
        ValueError: The folder holds something that this function did not write.
    """
    write_whole(folder, WORLD_FILE, lambda place: _write_into(place, spec, num_processes))


def is_complete(folder: Path, spec: TownPathsSpec) -> bool:
    """Whether a folder was written to its end, in this format and by this spec."""
    return is_written(folder, WORLD_FILE, FORMAT_VERSION, spec)


def navdp_root(folder: Path) -> Path:
    """Folder of the groups, ``vln_n1`` as published."""
    return folder / "vln_n1"


def _write_into(folder: Path, spec: TownPathsSpec, num_processes: int) -> None:
    tasks = [(folder, spec, n) for n in range(spec.num_scenes + spec.num_unseen_scenes)]
    written = map_in_processes(_write_scene, tasks, num_processes)
    episodes = [
        episode
        for found in tqdm(written, total=len(tasks), desc="planning paths", disable=None,
                          leave=False)
        for episode in found
    ]  # fmt: skip
    flaws = _add_flaws(navdp_root(folder)) if spec.has_flaws else []
    _write_index(navdp_root(folder))
    (folder / EPISODES_FILE).write_text(json.dumps(episodes))
    world = {"format_version": FORMAT_VERSION, "spec": asdict(spec), "flaws": flaws}
    (folder / WORLD_FILE).write_text(json.dumps(world, indent=1) + "\n")


def find_town(spec: TownPathsSpec, number: int) -> tuple[Scene, TownMap]:
    """Draw towns until one is built densely enough; no two of any world meet.

    Raises:
        ValueError: If none of many is.
    """
    agent = spec.agent
    inner = slice(_MARGIN_CELLS, -_MARGIN_CELLS)
    for attempt in range(60):
        seed = 600_000_000 + (spec.seed * (_MAX_SCENES + 1) + number) * 60 + attempt
        scene = make_scene(seed)
        town = TownMap(scene, agent.altitude_m, agent.clearance_m, agent.radius_m)
        if 1 - town.is_open[inner, inner].mean() >= spec.min_blocked_share:
            return scene, town
    raise ValueError(f"No town with min_blocked_share {spec.min_blocked_share}; lower it.")


def planner_of(scene: Scene, town: TownMap, agent: AgentSpec) -> PathPlanner:
    """Return a planner that keeps twice the agent's distance."""
    wide = TownMap(scene, agent.altitude_m, agent.clearance_m, _WIDE_RADIUS_M)
    return PathPlanner(town, wide)


def _write_scene(task: tuple[Path, TownPathsSpec, int]) -> list[dict[str, Any]]:
    """Write one town's paths and return what an episode of an unseen town is."""
    folder, spec, number = task
    agent, is_unseen = spec.agent, number >= spec.num_scenes
    scene, town = find_town(spec, number)
    planner = planner_of(scene, town, agent)
    rng = np.random.default_rng([scene.seed, 94])
    rule = spec.path_rule(is_unseen=is_unseen)
    drawn = (sample_path(planner, rng, rule) for _ in range(spec.paths_per_scene))
    paths = [path for path in drawn if path is not None]
    place = navdp_root(folder) / (UNSEEN_GROUP if is_unseen else GROUP) / f"scene_{number:04d}"
    for name in ("data/chunk-000", "meta", f"{_FRAMES_FOLDER}rgb", f"{_FRAMES_FOLDER}depth"):
        (place / name).mkdir(parents=True)
    write_ply(place / "meta" / "pointcloud.ply", _cloud_of(town, agent))
    frame, stats = 0, []
    for index, path in enumerate(paths):
        _write_path(place, scene, path, agent, (index, frame))
        last = frame + len(path.states) - 1
        bounds = {"image_index": {"min": [frame], "max": [last]}}
        stats.append({"episode_index": index, "stats": bounds})
        frame = last + 1
    lines = "".join(json.dumps(row) + "\n" for row in stats)
    (place / "meta" / "episodes_stats.jsonl").write_text(lines)
    return [_episode(number, index, path) for index, path in enumerate(paths)] if is_unseen else []


def _cloud_of(town: TownMap, agent: AgentSpec) -> PointCloud:
    """Ground and what stands too high, a point for each cell."""
    heights = town.heights_m
    rows, columns = np.indices(heights.shape)
    x, y = ((cells + 0.5) * CELL_M - HALF_EXTENT_M for cells in (columns, rows))
    points = np.stack([x, y, heights], axis=-1).reshape(-1, 3)
    is_high = (heights > agent.altitude_m - agent.clearance_m).ravel()
    colors = np.where(is_high[:, None], OBSTACLE_COLOR, _GROUND_COLOR)
    return PointCloud(points, colors)


def _write_path(
    place: Path, scene: Scene, path: TownPath, agent: AgentSpec, numbers: tuple[int, int]
) -> None:
    index, first = numbers
    states = [AgentState(*map(float, state)) for state in path.states]
    for frame, state in enumerate(states, start=first):
        view = look(scene, state, agent, agent.pitch_deg)
        Image.fromarray(view.rgb).save(
            place / f"{_FRAMES_FOLDER}rgb" / f"{frame}.jpg", quality=_JPEG_QUALITY
        )
        depth = (view.depth_m * DEPTH_UNITS_PER_M).clip(0, _MAX_DEPTH).astype(np.uint16)
        Image.fromarray(depth).save(
            place / f"{_FRAMES_FOLDER}depth" / f"{frame}.png", compress_level=1
        )
    matrix = pa.list_(pa.list_(pa.float64()))
    poses = [camera_pose(state, agent, agent.pitch_deg).tolist() for state in states]
    columns = {
        "observation.camera_intrinsic": pa.array([agent.intrinsics.tolist()] * len(poses), matrix),
        "observation.camera_extrinsic": pa.array([mount_of(agent).tolist()] * len(poses), matrix),
        "action": pa.array(poses, matrix),
    }
    pq.write_table(pa.table(columns), place / "data/chunk-000" / f"episode_{index:06d}.parquet")


def mount_of(agent: AgentSpec) -> FloatArray:
    """Camera to the agent's own frame: x ahead, z up, its origin on the ground, shape (4, 4)."""
    return camera_pose(AgentState(0.0, 0.0, 0.0), agent, agent.pitch_deg)


def _episode(number: int, index: int, path: TownPath) -> dict[str, Any]:
    return {
        "episode_id": f"scene_{number:04d}/{index:06d}",
        "scene_number": number,
        "start": path.states[0].tolist(),
        "goal": path.goal.tolist(),
        "reference": path.states[:, :2].tolist(),
        "geodesic_m": path.length_m,
        "is_detour": path.is_detour,
    }


def _write_index(root: Path) -> None:
    """The four lists of paths that the published loader keeps, relative to the root."""
    lists: dict[str, list[Any]] = {
        name: [] for name in ("trajectory_data_dir", "trajectory_rgb_path",
                              "trajectory_depth_path", "trajectory_afford_path")
    }  # fmt: skip
    for scene in sorted(path for path in root.glob("*/*") if path.is_dir()):
        inside = scene.relative_to(root).as_posix()
        for line in (scene / "meta/episodes_stats.jsonl").read_text().splitlines():
            stats = json.loads(line)
            bounds = stats["stats"]["image_index"]
            frames = range(bounds["min"][0], bounds["max"][0] + 1)
            name = f"data/chunk-000/episode_{stats['episode_index']:06d}.parquet"
            lists["trajectory_data_dir"].append(f"{inside}/{name}")
            for kind, suffix in (("rgb", "jpg"), ("depth", "png")):
                paths = [f"{inside}/{_FRAMES_FOLDER}{kind}/{i}.{suffix}" for i in frames]
                lists[f"trajectory_{kind}_path"].append(paths)
            lists["trajectory_afford_path"].append(f"{inside}/meta/pointcloud.ply")
    (root / INDEX_FILE).write_text(json.dumps(lists))


def _add_flaws(root: Path) -> list[dict[str, str]]:
    """Faults of real data in a few scenes: no obstacles, no depth, a cut picture, a broken pose."""
    scenes = sorted((root / GROUP).iterdir())
    if len(scenes) < 12:  # so that nothing of a tiny world is lost
        return []
    flaws = []
    kinds = ("no obstacles", "no depth", "cut picture", "broken pose")
    for kind, scene in zip(kinds, itertools.islice(scenes, 1, None, 2), strict=False):
        if kind == "no obstacles":
            path = scene / "meta/pointcloud.ply"
            ground = PointCloud(np.zeros((4, 3)), np.full((4, 3), 0.6))
            write_ply(path, ground)
        elif kind == "no depth":
            path = scene / f"{_FRAMES_FOLDER}depth/0.png"
            Image.fromarray(np.zeros_like(np.asarray(Image.open(path)))).save(path)
        elif kind == "cut picture":
            path = scene / f"{_FRAMES_FOLDER}rgb/0.jpg"
            path.write_bytes(path.read_bytes()[:100])
        else:
            path = scene / "data/chunk-000/episode_000000.parquet"
            _break_pose(path)
        flaws.append({"kind": kind, "file": path.relative_to(root).as_posix()})
    return flaws


def _break_pose(path: Path) -> None:
    table = pq.read_table(path)
    poses: FloatArray = np.array(table["action"].to_pylist())
    poses[1, 0, 3] = np.nan
    column = pa.array(poses.tolist(), pa.list_(pa.list_(pa.float64())))
    pq.write_table(table.set_column(table.schema.get_field_index("action"), "action", column), path)
