"""Conversations about rendered scenes in LLaVA's layouts: JSON, JSON lines, Parquet with images."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from aquatint.processes import map_in_processes
from aquatint.world.arrays import Bytes
from aquatint.world.render import View
from aquatint.world.visual_flaws import add_flaws
from aquatint.world.visual_questions import Question, ask_questions, find_seen
from aquatint.world.visual_scenes import make_visual_scene
from aquatint.world.visual_views import MAX_SCENES, render_view, scene_seed
from aquatint.world.whole_folders import is_written, write_whole

FORMAT_VERSION = 1
WORLD_FILE, JSON_FILE, LINES_FILE, PARQUET_FILE = (
    "world.json", "data.json", "data.jsonl", "data.parquet",
)  # fmt: skip
QUESTIONS_FILE = "questions.json"
_QUALITY = 92
# Of every ten scenes, the last digit decides where its records stand.
_LINES_DIGIT, _PARQUET_DIGIT, _PAIR_DIGIT = 8, 9, 5
_MAX_SEGMENTS = 255

Record = dict[str, Any]


@dataclass(frozen=True)
class VisualWorldSpec:
    """What to write.

    Args:
        num_scenes: Scenes with conversations.
        views_per_scene: Images of each.
        questions_per_image: Most question-answer turns of a conversation.
        num_new_images: Images with questions and no answers, to predict on.
        size_px: Edge of the images.
        seed: Seed of everything.
        has_flaws: Whether to add the faults of real data, listed in ``world.json``.
    """

    num_scenes: int
    views_per_scene: int
    questions_per_image: int
    num_new_images: int
    size_px: int
    seed: int
    has_flaws: bool = True

    def __post_init__(self) -> None:
        for name in ("num_scenes", "views_per_scene", "questions_per_image", "size_px"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}.")
        if self.num_scenes + self.num_new_images > MAX_SCENES:
            raise ValueError(f"num_scenes and num_new_images must not exceed {MAX_SCENES}.")


def write_visual_world(folder: Path, spec: VisualWorldSpec) -> None:
    """Render all scenes and write images, conversations and exact anchors.

    Beside ``images`` lies ``truth``: for each image an ``.npz`` named by the sha256 of its file,
    with ``depth_m``, ``instance_ids`` and ``edges`` as rendered.

    Args:
        folder: Folder to create. One that an earlier call wrote is replaced.
        spec: What to write.

    Raises:
        ValueError: The folder holds something that this function did not write.
    """
    write_whole(folder, WORLD_FILE, lambda place: _write_into(place, spec))


def is_complete(folder: Path, spec: VisualWorldSpec) -> bool:
    """Whether a folder was written to its end, in this format and by this spec."""
    return is_written(folder, WORLD_FILE, FORMAT_VERSION, spec)


def _write_into(folder: Path, spec: VisualWorldSpec) -> None:
    for name in ("images", "truth", "new/images"):
        (folder / name).mkdir(parents=True)
    records: dict[str, list[Record]] = {JSON_FILE: [], LINES_FILE: [], PARQUET_FILE: []}
    embedded: dict[str, bytes] = {}
    tasks = [_Written(folder, spec, number) for number in range(spec.num_scenes)]
    for task, (found, files) in zip(tasks, map_in_processes(_write_scene, tasks), strict=True):
        records[task.file] += found
        embedded |= files
    flaws = add_flaws(records[JSON_FILE], folder / "images") if spec.has_flaws else []
    (folder / JSON_FILE).write_text(json.dumps(records[JSON_FILE], indent=1))
    lines = (json.dumps(record) + "\n" for record in records[LINES_FILE])
    (folder / LINES_FILE).write_text("".join(lines))
    _write_parquet(folder / PARQUET_FILE, records[PARQUET_FILE], embedded)
    _write_new(folder / "new", spec)
    world = {"format_version": FORMAT_VERSION, "spec": asdict(spec), "flaws": flaws}
    (folder / WORLD_FILE).write_text(json.dumps(world, indent=1))


class _Written(NamedTuple):
    folder: Path
    spec: VisualWorldSpec
    number: int

    @property
    def file(self) -> str:
        """Where the scene's records stand."""
        digit = self.number % 10
        return {_LINES_DIGIT: LINES_FILE, _PARQUET_DIGIT: PARQUET_FILE}.get(digit, JSON_FILE)


def _write_scene(task: _Written) -> tuple[list[Record], dict[str, bytes]]:
    """Write a scene's images and truth; return its records and the images that stand in them."""
    folder, spec, number = task
    is_embedded = task.file == PARQUET_FILE
    scene = make_visual_scene(scene_seed(spec.seed, number))
    records: list[Record] = []
    files: dict[str, bytes] = {}
    counts = []
    for view_number in range(spec.views_per_scene):
        view, rng = render_view(scene, view_number, spec.size_px)
        path = f"scene{number:04d}/view{view_number}.jpg"
        content = _encode(view.rgb)
        if is_embedded:
            files[path] = content
        else:
            (folder / "images" / path).parent.mkdir(exist_ok=True)
            (folder / "images" / path).write_bytes(content)
        _write_truth(folder / "truth", content, view)
        counts.append(len(find_seen(scene, view)))
        questions = ask_questions(scene, view, spec.questions_per_image, rng)
        records.append(_record(path, questions))
    if number % 10 == _PAIR_DIGIT and spec.views_per_scene > 1 and counts[0] != counts[1]:
        records.append(_pair_record(number, counts))
    return records, files


def _encode(pixels: Bytes) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="JPEG", quality=_QUALITY)
    return buffer.getvalue()


def _write_truth(folder: Path, content: bytes, view: View) -> None:
    ids = np.minimum(view.instance_ids, _MAX_SEGMENTS).astype(np.uint8)
    np.savez_compressed(
        folder / f"{hashlib.sha256(content).hexdigest()}.npz",
        depth_m=view.depth_m.astype(np.float16),
        instance_ids=ids,
        edges=view.edges,
    )


def _record(path: str, questions: list[Question]) -> Record:
    turns = []
    for index, question in enumerate(questions):
        tag = "<image>\n" if index == 0 else ""
        turns.append({"from": "human", "value": f"{tag}{question.text}"})
        turns.append({"from": "gpt", "value": question.answer})
    return {
        "id": path.removesuffix(".jpg").replace("/", "_"),
        "image": path,
        "conversations": turns,
        # Not of LLaVA's format; readers that do not know it pass it over.
        "kinds": [question.kind for question in questions],
    }


def _pair_record(number: int, counts: list[int]) -> Record:
    """Two images in one conversation."""
    text = "<image>\n<image>\nWhich picture shows more buildings, the first or the second?"
    return {
        "id": f"scene{number:04d}_pair",
        "image": [f"scene{number:04d}/view{view}.jpg" for view in range(2)],
        "conversations": [
            {"from": "human", "value": text},
            {"from": "gpt", "value": "first" if counts[0] > counts[1] else "second"},
        ],
        "kinds": ["compare"],
    }


def _write_parquet(path: Path, records: list[Record], files: dict[str, bytes]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        {
            "id": record["id"],
            "image": {"path": record["image"], "bytes": files[record["image"]]},
            "image_relpath": record["image"],
            "conversations": record["conversations"],
            "kinds": record["kinds"],
        }
        for record in records
    ]
    turn = pa.struct([("from", pa.string()), ("value", pa.string())])
    image = pa.struct([("path", pa.string()), ("bytes", pa.binary())])
    schema = pa.schema(
        [
            ("id", pa.string()),
            ("image", image),
            ("image_relpath", pa.string()),
            ("conversations", pa.list_(turn)),
            ("kinds", pa.list_(pa.string())),
        ]
    )
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)


def _write_new(folder: Path, spec: VisualWorldSpec) -> None:
    asked = []
    for number in range(spec.num_scenes, spec.num_scenes + spec.num_new_images):
        scene = make_visual_scene(scene_seed(spec.seed, number))
        view, rng = render_view(scene, 0, spec.size_px)
        name = f"new{number:04d}.jpg"
        (folder / "images" / name).write_bytes(_encode(view.rgb))
        questions = ask_questions(scene, view, 1, rng)
        asked += [{"image": name, "question": question.text} for question in questions]
    (folder / QUESTIONS_FILE).write_text(json.dumps(asked, indent=1))
