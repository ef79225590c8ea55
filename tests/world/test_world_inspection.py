import hashlib
from collections import Counter

import numpy as np
import pytest

from aquatint.data.yolo_export import read_export
from aquatint.world.inspection import (
    InspectionWorldSpec,
    describe_structures,
    is_complete,
    write_inspection,
)
from aquatint.world.inspection_paint import paint_inspection
from aquatint.world.inspection_scenes import CLASSES, make_inspection_scene

SPEC = InspectionWorldSpec(num_photos=16, max_exports=3, num_new_photos=2, size_px=64, seed=3)


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world") / "export"
    write_inspection(folder, SPEC)
    return folder


def test_classes_come_as_often_as_published_and_a_little_where_they_stand_most():
    found = [item for seed in range(300) for item in make_inspection_scene(seed).structures]
    counts = Counter(item.class_id for item in found)
    total = sum(item.frequency for item in CLASSES)
    for class_id, item in enumerate(CLASSES):
        assert counts[class_id] / len(found) == pytest.approx(item.frequency / total, abs=0.06)
    heights = {c: np.mean([i.y for i in found if i.class_id == c]) for c in counts}
    assert heights[5] < heights[3] < heights[1], "slope drain, rock toe, blocked toe drain"
    sizes = Counter(len(make_inspection_scene(seed).structures) for seed in range(300))
    assert 1 <= min(sizes) < max(sizes) <= 18


def test_a_scene_is_a_function_of_its_seed():
    first, second = make_inspection_scene(5), make_inspection_scene(5)
    assert first == second
    assert (paint_inspection(first, 64) == paint_inspection(second, 64)).all()
    assert make_inspection_scene(6) != first
    with pytest.raises(ValueError, match="at least 0"):
        make_inspection_scene(-1)


@pytest.mark.parametrize("object_type", ["toe_drain", "slope_drain", "rock_toe"])
def test_a_condition_changes_the_pixels_of_its_object_and_no_others(object_type):
    from dataclasses import replace

    classes = [i for i, item in enumerate(CLASSES) if item.object_type == object_type]
    scene = next(
        scene
        for scene in map(make_inspection_scene, range(200))
        if len(scene.structures) == 1 and scene.structures[0].label.object_type == object_type
    )
    item = scene.structures[0]
    pictures = [
        paint_inspection(replace(scene, structures=(replace(item, class_id=c),)), 96)
        for c in classes
    ]
    x1, y1, x2, y2 = (np.array(item.box_xyxy) * 96).round().astype(int)
    for other in pictures[1:]:
        changed = np.abs(other.astype(int) - pictures[0]).max(-1) > 12
        inside = changed[y1:y2, x1:x2]
        assert inside.mean() > 0.08
        assert changed.sum() - inside.sum() < 0.5 * inside.sum()


def test_descriptions_use_no_word_of_a_class():
    words = {word for item in CLASSES for word in item.name.lower().replace("-", " ").split()}
    views = list(describe_structures(20, 32, seed=9))
    assert len(views) > 40
    for view in views:
        assert view.pixels.shape == (32, 32, 3)
        assert not words & set(view.caption.lower().rstrip(".").split())
        assert not words & set(view.look.split())
        assert view.look in view.looks


def test_the_export_is_read_with_its_planted_faults_and_leaks(export):
    names, photos, shapes, rejects = read_export(export / "data.yaml", "tolerant", 0.5, 10_000)
    assert names == [item.name for item in CLASSES]
    assert len(rejects) == 3
    assert set(photos["split"]) >= {"train"}
    assert photos["source_group"].nunique() == SPEC.num_photos
    assert len(photos) > SPEC.num_photos
    assert 0 < shapes["is_box"].mean() < 0.5
    assert (photos["n_objects"] == 0).any()
    labels = list(export.glob("*/labels/*.txt"))
    assert any(b"\r\n" in path.read_bytes() for path in labels)
    with pytest.raises(ValueError, match=r"\.txt:\d+: line must"):
        read_export(export / "data.yaml", "strict", 0.5, 10_000)


def test_the_world_is_complete_or_absent_and_always_the_same(export, tmp_path):
    assert is_complete(export, SPEC)
    assert not is_complete(export, InspectionWorldSpec(16, 3, 2, 64, seed=4))
    assert not is_complete(tmp_path, SPEC)
    write_inspection(tmp_path / "again", SPEC)
    digests = [
        {
            path.relative_to(root): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in root.rglob("*")
            if path.is_file()
        }
        for root in (export, tmp_path / "again")
    ]
    assert digests[0] == digests[1]
    (tmp_path / "mine").mkdir()
    with pytest.raises(ValueError, match="move it away"):
        write_inspection(tmp_path / "mine", SPEC)


@pytest.mark.parametrize("name", ["num_photos", "max_exports", "num_new_photos", "size_px"])
def test_a_world_of_nothing_is_refused(name):
    values = {"num_photos": 2, "max_exports": 1, "num_new_photos": 1, "size_px": 32, "seed": 0}
    with pytest.raises(ValueError, match=f"{name} must be at least 1"):
        InspectionWorldSpec(**{**values, name: 0})
