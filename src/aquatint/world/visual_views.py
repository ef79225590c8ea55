"""Views of sparse scenes, and all that can be asked and said about them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aquatint.processes import map_in_processes
from aquatint.world.arrays import Bytes, Rng
from aquatint.world.captions import describe
from aquatint.world.kinds import KIND_RULES
from aquatint.world.palette import Surface
from aquatint.world.render import View, render
from aquatint.world.scenes import Scene
from aquatint.world.visual_questions import Question, ask_questions
from aquatint.world.visual_scenes import KINDS, make_visual_scene, sample_visual_camera
from aquatint.world.word_cells import find_view_words

MAX_SCENES = 9999
_LINES = {Surface.ROAD: "road", Surface.RIVER: "river"}
CELL_WORDS = (
    *KINDS,
    *sorted({color for kind in KINDS for color in KIND_RULES[kind].colors}),
    *_LINES.values(),
)


class AskedView(NamedTuple):
    """An image with all that can be asked and said about it.

    Attributes:
        pixels: RGB as uint8, shape (S, S, 3).
        questions: Questions with their answers.
        captions: Sentences about it.
        word_cells: Which of ``CELL_WORDS`` lie in which cell, int8 of shape (cells, words).
    """

    pixels: Bytes
    questions: list[Question]
    captions: tuple[str, ...]
    word_cells: NDArray[np.int8]


def ask_about_scenes(
    num_images: int, size_px: int, seed: int, num_cells: int
) -> Iterator[AskedView]:
    """Yield images with questions and captions; no world of another seed has one of them.

    Args:
        num_images: Images, two of each scene.
        size_px: Edge of the images.
        seed: Seed of everything.
        num_cells: Cells along an edge of the images, to say which words lie in which.
    """
    tasks = [
        _Asked(scene_seed(seed, number), min(2, num_images - 2 * number), size_px, num_cells)
        for number in range(-(-num_images // 2))
    ]
    for views in map_in_processes(_ask_about_scene, tasks, is_awaited=True):
        yield from views


class _Asked(NamedTuple):
    scene_seed: int
    num_views: int
    size_px: int
    num_cells: int


def _ask_about_scene(task: _Asked) -> list[AskedView]:
    scene = make_visual_scene(task.scene_seed)
    views = []
    for number in range(task.num_views):
        view, rng = render_view(scene, number, task.size_px)
        asked = ask_questions(scene, view, 8, rng)
        captions = describe(scene, view, number)
        texts = (captions.captions[1], *(region.text for region in captions.regions))
        cells = find_view_words(view, CELL_WORDS, KINDS, _LINES, task.num_cells)
        views.append(AskedView(view.rgb, asked, texts, cells))
    return views


def scene_seed(seed: int, number: int) -> int:
    """Seed of a world's scene; no two worlds share one."""
    return seed * (MAX_SCENES + 1) + number


def render_view(scene: Scene, number: int, size_px: int) -> tuple[View, Rng]:
    """Render one view of a scene; return it with the source of what is asked about it."""
    rng = np.random.default_rng([scene.seed, 72, number])
    return render(scene, sample_visual_camera(rng), size_px), rng
