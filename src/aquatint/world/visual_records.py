"""Conversations about rendered scenes in LLaVA's layouts: JSON, JSON lines, Parquet with images."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from aquatint.world.arrays import Bytes
from aquatint.world.captions import describe
from aquatint.world.render import View, render
from aquatint.world.scenes import Scene
from aquatint.world.visual_flaws import add_flaws
from aquatint.world.visual_questions import Question, ask_questions, find_seen
from aquatint.world.visual_scenes import make_visual_scene, sample_visual_camera
from aquatint.world.whole_folders import is_written, write_whole

FORMAT_VERSION = 1
WORLD_FILE, JSON_FILE, LINES_FILE, PARQUET_FILE = (
    "world.json", "data.json", "data.jsonl", "data.parquet",
)  # fmt: skip
QUESTIONS_FILE = "questions.json"
MAX_SCENES = 9999
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


class AskedView(NamedTuple):
    """An image with all that can be asked and said about it.

    Attributes:
        pixels: RGB as uint8, shape (S, S, 3).
        questions: Questions with their answers.
        captions: Sentences about it.
    """

    pixels: Bytes
    questions: list[Question]
    captions: tuple[str, ...]


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


def ask_about_scenes(num_images: int, size_px: int, seed: int) -> Iterator[AskedView]:
    """Yield images with questions and captions; no world of another seed has one of them.

    Args:
        num_images: Images, two of each scene.
        size_px: Edge of the images.
        seed: Seed of everything.
    """
    for number in range(-(-num_images // 2)):
        scene = make_visual_scene(_scene_seed(seed, number))
        for view_number in range(min(2, num_images - 2 * number)):
            view, rng = _render(scene, view_number, size_px)
            asked = ask_questions(scene, view, 8, rng)
            captions = describe(scene, view, view_number)
            texts = (captions.captions[1], *(region.text for region in captions.regions))
            yield AskedView(view.rgb, asked, texts)


def _scene_seed(seed: int, number: int) -> int:
    return seed * (MAX_SCENES + 1) + number


def _render(scene: Scene, number: int, size_px: int) -> tuple[View, np.random.Generator]:
    rng = np.random.default_rng([scene.seed, 72, number])
    return render(scene, sample_visual_camera(rng), size_px), rng


def _write_into(folder: Path, spec: VisualWorldSpec) -> None:
    for name in ("images", "truth", "new/images"):
        (folder / name).mkdir(parents=True)
    records: dict[str, list[Record]] = {JSON_FILE: [], LINES_FILE: [], PARQUET_FILE: []}
    embedded: dict[str, bytes] = {}
    for number in range(spec.num_scenes):
        digit = number % 10
        target = {_LINES_DIGIT: LINES_FILE, _PARQUET_DIGIT: PARQUET_FILE}.get(digit, JSON_FILE)
        found, files = _write_scene(folder, spec, number, is_embedded=target == PARQUET_FILE)
        records[target] += found
        embedded |= files
    flaws = add_flaws(records[JSON_FILE], folder / "images") if spec.has_flaws else []
    (folder / JSON_FILE).write_text(json.dumps(records[JSON_FILE], indent=1))
    lines = (json.dumps(record) + "\n" for record in records[LINES_FILE])
    (folder / LINES_FILE).write_text("".join(lines))
    _write_parquet(folder / PARQUET_FILE, records[PARQUET_FILE], embedded)
    _write_new(folder / "new", spec)
    world = {"format_version": FORMAT_VERSION, "spec": asdict(spec), "flaws": flaws}
    (folder / WORLD_FILE).write_text(json.dumps(world, indent=1))


def _write_scene(
    folder: Path, spec: VisualWorldSpec, number: int, *, is_embedded: bool
) -> tuple[list[Record], dict[str, bytes]]:
    scene = make_visual_scene(_scene_seed(spec.seed, number))
    records, files, counts = [], {}, []
    for view_number in range(spec.views_per_scene):
        view, rng = _render(scene, view_number, spec.size_px)
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
        scene = make_visual_scene(_scene_seed(spec.seed, number))
        view, rng = _render(scene, 0, spec.size_px)
        name = f"new{number:04d}.jpg"
        (folder / "images" / name).write_bytes(_encode(view.rgb))
        questions = ask_questions(scene, view, 1, rng)
        asked += [{"image": name, "question": question.text} for question in questions]
    (folder / QUESTIONS_FILE).write_text(json.dumps(asked, indent=1))
