"""Questions whose answers can be read off the pixels, and records in LLaVA's layout."""

import hashlib
import json

import numpy as np
import pytest

from aquatint.world.render import render
from aquatint.world.visual_questions import QUESTION_KINDS, ask_questions, find_seen
from aquatint.world.visual_records import VisualWorldSpec, write_visual_world
from aquatint.world.visual_scenes import make_visual_scene, sample_visual_camera
from aquatint.world.visual_views import ask_about_scenes

NUMBERS = ["zero", "one", "two", "three", "four", "five"]


def views(count):
    for seed in range(count):
        scene = make_visual_scene(seed)
        rng = np.random.default_rng(seed)
        view = render(scene, sample_visual_camera(rng), 64)
        yield scene, view, ask_questions(scene, view, 8, rng)


def test_answers_are_true_of_pixels_depth_and_objects():
    asked = set()
    for scene, view, questions in views(24):
        seen = {item.name: item for item in find_seen(scene, view)}
        for question in questions:
            asked.add(question.kind)
            named = [name for name in seen if f"the {name}" in question.text]
            match question.kind:
                case "count":
                    assert question.answer == NUMBERS[len(seen)]
                case "nearer":
                    assert question.answer == min(named, key=lambda name: seen[name].depth_m)
                case "order":
                    assert question.answer == max(named, key=lambda name: seen[name].depth_m)
                case "taller":
                    assert question.answer == max(named, key=lambda name: seen[name].height_m)
                case "color":
                    kind = question.text.removeprefix("What color is the ").rstrip("?")
                    assert f"{question.answer} {kind}" in seen
    assert asked >= set(QUESTION_KINDS) - {"order"}


def test_no_name_is_the_answer_because_of_its_place_in_the_question():
    first = [
        question.text.index(f"the {question.answer}") < len(question.text) / 2 + 10
        for _, _, questions in views(40)
        for question in questions
        if question.kind in ("nearer", "taller")
    ]
    assert len(first) > 15
    assert 0.2 < np.mean(first) < 0.8


def test_a_world_has_exact_anchors_of_every_image(tmp_path):
    folder = tmp_path / "world"
    write_visual_world(folder, VisualWorldSpec(10, 2, 3, 1, 48, 0))
    records = json.loads((folder / "data.json").read_text())
    world = json.loads((folder / "world.json").read_text())
    faulty = {flaw["id"] for flaw in world["flaws"]}
    sound = [record for record in records if record["id"] not in faulty]
    assert sound
    for record in sound:
        paths = record["image"] if isinstance(record["image"], list) else [record["image"]]
        for path in paths:
            content = (folder / "images" / path).read_bytes()
            truth = np.load(folder / "truth" / f"{hashlib.sha256(content).hexdigest()}.npz")
            assert truth["depth_m"].shape == truth["edges"].shape == (48, 48)
            assert float(truth["depth_m"].min()) > 20
    kinds = {flaw["kind"] for flaw in world["flaws"]}
    assert {"missing_image", "cut_image", "too_few_tags", "video", "empty_turn"} <= kinds
    with pytest.raises(ValueError, match="move it away"):
        write_visual_world(tmp_path, VisualWorldSpec(1, 1, 1, 1, 48, 0))


def test_the_same_seed_draws_the_same_and_another_one_others():
    one, same, other = (next(iter(ask_about_scenes(1, 48, seed, 2))) for seed in (3, 3, 4))
    assert np.array_equal(one.pixels, same.pixels)
    assert one.questions == same.questions
    assert not np.array_equal(one.pixels, other.pixels)
