"""Writes rendered scenes in GeoText-1652's own layout."""

import json
import logging
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from aquatint.processes import map_in_processes
from aquatint.world.captions import NUM_REGIONS, Description, describe
from aquatint.world.flaws import add_test_flaws, add_train_flaws
from aquatint.world.render import Camera, View, render
from aquatint.world.scenes import make_scene

logger = logging.getLogger(__name__)

FORMAT_VERSION = 1
WORLD_FILE = "world.json"
TRAIN_FILE = "train.json"
TEST_FILE = "test_951_version.json"
SMALL_TEST_FILE = "test_24G_version.json"
SMALL_TEST_SHARE = 0.25
MAX_BUILDINGS = 9999
JPEG_QUALITY = 90
PROGRESS_DELAY_S = 2.0
# Half of the scenes are intact, as far as their number allows.
_CONDITION_CYCLE = ("intact", "damaged", "intact", "flooded", "intact", "burnt")

Record = dict[str, Any]


@dataclass(frozen=True)
class GeoTextWorldSpec:
    """What to write.

    Args:
        num_train_buildings: Scenes of the train split.
        num_test_buildings: Scenes of the test split, all different from those of train.
        views_per_building: Images of each scene.
        size_px: Side of the images.
        seed: Seed of everything.
        has_flaws: Whether to add the faults of real data, listed in ``world.json``.
    """

    num_train_buildings: int
    num_test_buildings: int
    views_per_building: int
    size_px: int
    seed: int
    has_flaws: bool = True

    def __post_init__(self) -> None:
        for name in ("num_train_buildings", "num_test_buildings", "views_per_building", "size_px"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}.")
        if self.seed < 0:
            raise ValueError(f"seed must be at least 0, not {self.seed}.")
        total = self.num_train_buildings + self.num_test_buildings
        if total > MAX_BUILDINGS:
            raise ValueError(
                f"{total} buildings exceed the {MAX_BUILDINGS} that four digits can name."
            )


@dataclass(frozen=True)
class _Task:
    """One scene: its number counted from 1, over both splits, and where its images go."""

    building: int
    images_folder: Path
    subfolder: str
    spec: GeoTextWorldSpec


def write_geotext(folder: Path, spec: GeoTextWorldSpec, num_processes: int | None = None) -> None:
    """Render all scenes and write images and annotations.

    The result appears under its name only when it is complete, and does not depend on the number
    of processes. New processes import the calling script, which therefore needs
    ``if __name__ == "__main__":``.

    Args:
        folder: Folder to create. One that an earlier call wrote is replaced.
        spec: What to write.
        num_processes: Processes to render with; by default one per available core.

    Raises:
        ValueError: The folder holds something that this function did not write.
    """
    folder = Path(folder).absolute()
    _refuse_foreign(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        _write_into(partial, spec, num_processes)
        partial.chmod(0o755)
        _put_in_place(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def is_complete(folder: Path, spec: GeoTextWorldSpec | None = None) -> bool:
    """Whether a folder was written to its end, in this format and, if given, by this spec."""
    world = _read_world(Path(folder))
    if world.get("format_version") != FORMAT_VERSION:
        return False
    return spec is None or world["spec"] == asdict(spec)


def _read_world(folder: Path) -> Record:
    """Return the content of the file that is written last, empty if there is none."""
    path = folder / WORLD_FILE
    world = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return world if isinstance(world, dict) else {}


def _refuse_foreign(folder: Path) -> None:
    if not folder.exists() or {"format_version", "spec"} <= _read_world(folder).keys():
        return
    if not folder.is_dir() or any(path.name != ".gitkeep" for path in folder.iterdir()):
        raise ValueError(
            f"{folder} holds files but no {WORLD_FILE} of write_geotext; "
            "move it away or choose another folder."
        )


def _put_in_place(partial: Path, folder: Path) -> None:
    if not folder.exists():
        partial.rename(folder)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.old.", dir=folder.parent))
    folder.rename(old / folder.name)
    partial.rename(folder)
    shutil.rmtree(old)


def _write_into(folder: Path, spec: GeoTextWorldSpec, num_processes: int | None) -> None:
    tasks = _make_tasks(folder / "images", spec)
    by_building = list(_track(map_in_processes(_render_building, tasks, num_processes), len(tasks)))
    num_train = spec.num_train_buildings
    train = [record for records in by_building[:num_train] for record in _split_captions(records)]
    tests = by_building[num_train:]
    test = [record for records in tests for record in records]
    flaws: list[Record] = []
    if spec.has_flaws:
        flaws += add_train_flaws(train, folder / "images")
        flaws += add_test_flaws(test)
    num_small = max(1, round(len(tests) * SMALL_TEST_SHARE)) * spec.views_per_building
    _write_json(folder / TRAIN_FILE, train)
    _write_json(folder / TEST_FILE, test)
    _write_json(folder / SMALL_TEST_FILE, test[:num_small])
    world = {"format_version": FORMAT_VERSION, "spec": asdict(spec), "flaws": flaws}
    path = folder / WORLD_FILE
    path.write_text(json.dumps(world, indent=2) + "\n", encoding="utf-8")


def _write_json(path: Path, content: list[Record]) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def _make_tasks(images_folder: Path, spec: GeoTextWorldSpec) -> list[_Task]:
    total = spec.num_train_buildings + spec.num_test_buildings
    return [
        _Task(
            building,
            images_folder,
            "train" if building <= spec.num_train_buildings else "test/gallery_no_train",
            spec,
        )
        for building in range(1, total + 1)
    ]


def _track(results: Iterator[list[Record]], total: int) -> Iterator[list[Record]]:
    if sys.stderr.isatty():
        yield from tqdm(results, total=total, desc="rendering scenes", delay=PROGRESS_DELAY_S)
        return
    started = time.monotonic()
    step = max(1, total // 10)
    for done, result in enumerate(results, start=1):
        is_due = done % step == 0 or done == total
        if is_due and time.monotonic() - started > PROGRESS_DELAY_S:
            logger.info("rendered %d of %d scenes", done, total)
        yield result


def _render_building(task: _Task) -> list[Record]:
    spec = task.spec
    name = f"{task.building:04d}"
    folder = task.images_folder / task.subfolder / name
    folder.mkdir(parents=True)
    records = []
    views = view_building(spec.seed, task.building, spec.views_per_building, spec.size_px)
    for index, (view, description) in enumerate(views):
        file_name = f"image-{index + 1:02d}.jpeg"
        Image.fromarray(view.rgb).save(folder / file_name, quality=JPEG_QUALITY)
        path = f"{task.subfolder}/{name}/{file_name}"
        records.append(_make_record(f"{name}/{file_name}", path, description))
    return records


def view_building(
    seed: int, building: int, num_views: int, size_px: int
) -> Iterator[tuple[View, Description]]:
    """Yield views of one scene with what is said of each.

    Args:
        seed: Seed of the world.
        building: Number of the scene, counted from 1.
        num_views: How many; the first ones are the same whatever the number.
        size_px: Side of the images.
    """
    # Numbers of buildings stay below 10,000, so no two scenes of any seed meet.
    scene_seed = seed * (MAX_BUILDINGS + 1) + building
    scene = make_scene(scene_seed, _CONDITION_CYCLE[building % len(_CONDITION_CYCLE)])
    for index in range(num_views):
        rng = np.random.default_rng([scene_seed, index])
        view = render(scene, _sample_camera(rng), size_px)
        yield view, describe(scene, view, index)


def _sample_camera(rng: np.random.Generator) -> Camera:
    x, y = rng.uniform(-18, 18, 2).tolist()
    return Camera(
        altitude_m=float(rng.uniform(80, 110)),
        pitch_deg=float(rng.uniform(0, 30)),
        yaw_deg=float(rng.uniform(0, 360)),
        x_m=x,
        y_m=y,
    )


def _make_record(image_id: str, path: str, description: Description) -> Record:
    regions = description.regions
    padding = [None] * (NUM_REGIONS - len(regions))
    boxes = [[round(value, 5) for value in region.box_cxcywh] for region in regions]
    return {
        "image_id": image_id,
        "image": path,
        "caption": list(description.captions),
        "sentences": [*(region.text for region in regions), *padding],
        "bboxes": [*boxes, *padding],
    }


def _split_captions(records: list[Record]) -> list[Record]:
    """Return one record per image and caption, as the train file has them."""
    return [
        {**deepcopy(record), "caption": caption}
        for record in records
        for caption in record["caption"]
    ]
