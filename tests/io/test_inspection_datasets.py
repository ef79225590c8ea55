import importlib.util
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from kedro.io.core import DatasetError
from PIL import Image

from aquatint.data.detections import read_detections, read_photos
from aquatint.data.yolo_export import read_export
from aquatint.io.elpv import ElpvExportDataset, ElpvPhotosDataset
from aquatint.io.inspection import (
    DetectedPhotosDataset,
    InspectionPhotosDataset,
    InspectionWorldDataset,
    YoloExportDataset,
)

WORLD = {"num_photos": 3, "max_exports": 1, "num_new_photos": 1, "size_px": 32, "seed": 1}


def test_the_world_paints_itself_once_and_serves_both_entries(tmp_path):
    export = InspectionWorldDataset(filepath=str(tmp_path), world=WORLD).load()
    before = sorted(path.stat().st_mtime_ns for path in tmp_path.rglob("*.jpg"))
    photos = InspectionPhotosDataset(filepath=str(tmp_path), world=WORLD).load()
    assert sorted(path.stat().st_mtime_ns for path in tmp_path.rglob("*.jpg")) == before
    assert photos.image_root.startswith(export.root)
    assert len(read_photos(tmp_path / photos.image_root, 10_000)) == 1
    other = InspectionWorldDataset(filepath=str(tmp_path), world={**WORLD, "seed": 2})
    assert str(other.folder) != export.root


def test_a_folder_without_data_file_names_the_way_out(tmp_path):
    with pytest.raises(DatasetError, match=r"data\.yaml, which is missing.*inspection\.md"):
        YoloExportDataset(filepath=str(tmp_path)).load()
    with pytest.raises(DatasetError, match=r"missing: .*images.*detections\.json"):
        DetectedPhotosDataset(filepath=str(tmp_path)).load()


def test_photographs_to_predict_on_may_be_left_out_where_the_catalog_says_so(tmp_path):
    from aquatint.pipelines.inspection import predict as nodes
    from aquatint.pipelines.inspection.params import ClassParams, PredictParams
    from aquatint.training.inspection_predict import predict_detections
    from inspection_fixture import CLASS_MAP

    dataset = DetectedPhotosDataset(filepath=str(tmp_path / "none"), is_optional=True)
    classes = ClassParams(names=CLASS_MAP)
    params = PredictParams(min_confidence=0.25, min_iou=0.3, needs_equal_type=False,
                           max_pixels=100, num_shown=2)  # fmt: skip
    folder = dataset.load()
    photos, detections = nodes.read_detections(folder, classes, params)
    assert photos.empty
    assert detections.empty
    found = predict_detections((None, None), tmp_path, (photos, detections), None, None, None)
    assert found.empty
    metrics = nodes.evaluate_detections(folder, photos, found, pd.DataFrame(), classes, params)
    assert metrics == {"num_detections": 0, "num_annotated": None}
    page = nodes.render_predictions(folder, photos, found, metrics, params)
    assert "0 detected objects in 0 photographs" in page


def test_content_changes_with_a_label_and_with_an_image(tmp_path):
    InspectionWorldDataset(filepath=str(tmp_path), world=WORLD).load()
    folder = next(tmp_path.glob("world_*"))
    dataset = YoloExportDataset(filepath=str(folder))
    digests = {dataset.content_digest, dataset.content_digest}
    label = next(folder.glob("*/labels/*.txt"))
    label.write_text(label.read_text() + "8 0.5 0.5 0.2 0.2\n")
    digests.add(dataset.content_digest)
    image = next(folder.glob("train/images/*.jpg"))
    image.write_bytes(image.read_bytes() + b"\0")
    digests.add(dataset.content_digest)
    (folder / "data.yaml").write_text((folder / "data.yaml").read_text() + "\n")
    digests.add(dataset.content_digest)
    assert len(digests) == 4


@pytest.fixture
def cells(tmp_path, monkeypatch):
    """A stand-in for the package: forty small pictures with the labels file of its format."""
    data = tmp_path / "package" / "data"
    (data / "images").mkdir(parents=True)
    lines = []
    for number in range(40):
        name = f"images/cell{number:04d}.png"
        Image.fromarray(np.full((300, 300), number, np.uint8)).save(data / name)
        probability = ("0.0", "0.3333333333333333", "0.6666666666666666", "1.0")[number % 4]
        lines.append(f"{name}  {probability}   {'mono' if number % 2 else 'poly'}")
    (data / "labels.csv").write_text("\n".join(lines) + "\n")
    found = SimpleNamespace(submodule_search_locations=[str(tmp_path / "package")])
    original = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: found if name == "elpv_dataset" else original(name),
    )
    return tmp_path


def test_solar_cells_become_an_export_of_one_object_each(cells):
    export = ElpvExportDataset(filepath=str(cells / "data")).load()
    names, photos, shapes, rejects = read_export(cells / export.data_file, "strict", 0, 100_000)
    assert names == ["mono cell", "mono cell damaged", "poly cell", "poly cell damaged"]
    assert len(photos) == len(shapes) == 8
    assert rejects.empty
    assert shapes["class_id"].tolist() == [2, 0, 3, 1] * 2
    handle = ElpvPhotosDataset(filepath=str(cells / "data")).load()
    photos = read_photos(cells / handle.image_root, 100_000)
    types = {"mono_cell", "poly_cell"}
    found = read_detections(cells / handle.detections_file, photos, types, 0.25)
    assert len(found) == len(photos) == 32


def test_without_the_package_the_way_out_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DatasetError, match=r"non-commercial.*elpv-dataset==1\.0\.0\.post1"):
        ElpvExportDataset(filepath=str(tmp_path)).load()
