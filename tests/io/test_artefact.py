"""Catalog datasets: round trips, torn writes, versions, concurrent runs, provenance."""

import json

import pandas as pd
import pytest
import torch
from kedro.io.core import DatasetError, Version

from aquatint.io.checkpoints import CheckpointDataset
from aquatint.io.records import FigureDataset, PageDataset, RecordDataset
from aquatint.io.tables import TableDataset
from aquatint.storage import DamagedArtefactError
from aquatint.training.checkpoint import Checkpoint

OLD, NEW = "2026-01-01T00.00.00.000Z", "2026-01-02T00.00.00.000Z"


def checkpoint(value=1.0):
    weights = {"a.weight": torch.full((2, 3), value), "b.bias": torch.zeros(3).bfloat16()}
    return Checkpoint(weights, {"width": 3}, {"stage": "stage1"}, {"a.weight": torch.ones(1)})


def checkpoints(tmp_path, save=OLD, load=None):
    return CheckpointDataset(filepath=str(tmp_path / "checkpoint"), version=Version(load, save))


def test_a_checkpoint_round_trips_bit_for_bit(tmp_path):
    dataset, data = checkpoints(tmp_path), checkpoint()
    dataset.save(data)
    loaded = dataset.load()
    assert loaded.digest == data.digest
    assert loaded.spec == data.spec
    assert loaded.lineage == {"stage": "stage1", "version": OLD}
    assert torch.equal(loaded.last_weights["a.weight"], torch.ones(1))
    assert loaded.weights["b.bias"].dtype == torch.bfloat16


def test_the_digest_changes_with_one_bit():
    changed = checkpoint()
    changed.weights["a.weight"][0, 0] = torch.nextafter(torch.tensor(1.0), torch.tensor(2.0))
    assert changed.digest != checkpoint().digest


@pytest.mark.parametrize("fault_at", ["weights", "manifest", "rename"])
def test_a_crash_while_writing_leaves_the_version_before(tmp_path, fault_at, monkeypatch):
    checkpoints(tmp_path, OLD).save(checkpoint(1.0))
    targets = {
        "weights": ("safetensors.torch.save_file", None),
        "manifest": ("aquatint.storage._write_bytes", None),
        "rename": ("pathlib.Path.rename", None),
    }

    def crash(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(targets[fault_at][0], crash)
        with pytest.raises(KeyboardInterrupt):
            checkpoints(tmp_path, NEW).save(checkpoint(2.0))
    fresh = checkpoints(tmp_path, save="2026-01-03T00.00.00.000Z")
    assert fresh.resolve_load_version() == OLD
    assert fresh.load().weights["a.weight"][0, 0] == 1.0
    assert fresh.list_versions(full_path=False) == [OLD]


def test_half_a_version_is_never_loaded(tmp_path):
    checkpoints(tmp_path, OLD).save(checkpoint())
    torn = tmp_path / "checkpoint" / NEW / "checkpoint"
    torn.mkdir(parents=True)
    (torn / "weights.safetensors").write_bytes(b"half")
    assert checkpoints(tmp_path, save="x").resolve_load_version() == OLD
    with pytest.raises(DatasetError, match="no complete artefact"):
        checkpoints(tmp_path, load=NEW).load()


def test_an_altered_file_is_named(tmp_path):
    dataset = checkpoints(tmp_path)
    dataset.save(checkpoint())
    spec = tmp_path / "checkpoint" / OLD / "checkpoint" / "spec.json"
    spec.write_text('{"width": 4}')
    with pytest.raises(DatasetError, match=r"spec\.json was altered"):
        dataset.load()


def test_a_missing_file_is_named(tmp_path):
    dataset = checkpoints(tmp_path)
    dataset.save(checkpoint())
    (tmp_path / "checkpoint" / OLD / "checkpoint" / "spec.json").unlink()
    with pytest.raises(DatasetError, match=r"lacks spec\.json"):
        dataset.load()


def test_a_run_loads_what_it_saved_itself_though_another_saved_later(tmp_path):
    first, second = checkpoints(tmp_path, OLD), checkpoints(tmp_path, NEW)
    first.save(checkpoint(1.0))
    second.save(checkpoint(2.0))
    first.release()
    assert first.load().weights["a.weight"][0, 0] == 1.0
    assert second.load().weights["a.weight"][0, 0] == 2.0
    assert checkpoints(tmp_path, save="later").load().weights["a.weight"][0, 0] == 2.0


def test_a_pinned_version_is_loaded(tmp_path):
    checkpoints(tmp_path, OLD).save(checkpoint(1.0))
    checkpoints(tmp_path, NEW).save(checkpoint(2.0))
    assert checkpoints(tmp_path, load=OLD).load().weights["a.weight"][0, 0] == 1.0


def test_a_version_is_never_overwritten(tmp_path):
    checkpoints(tmp_path).save(checkpoint())
    with pytest.raises(DatasetError, match="must not exist"):
        checkpoints(tmp_path).save(checkpoint())


def test_nothing_saved_yet_says_what_to_do(tmp_path):
    with pytest.raises(DatasetError, match="run the node that writes it"):
        checkpoints(tmp_path).load()
    assert not checkpoints(tmp_path).exists()


def test_a_folder_with_a_pattern_in_its_name_is_no_pattern(tmp_path):
    folder = tmp_path / "run[1]"
    folder.mkdir()
    checkpoints(folder).save(checkpoint())
    assert checkpoints(folder, save="later").load().spec == {"width": 3}


def test_a_full_disk_says_so_and_keeps_the_version_before(tmp_path, monkeypatch):
    checkpoints(tmp_path, OLD).save(checkpoint())

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("aquatint.storage._write_bytes", full)
        with pytest.raises(DatasetError, match="the disk is full"):
            checkpoints(tmp_path, NEW).save(checkpoint(2.0))
    assert checkpoints(tmp_path, save="later").resolve_load_version() == OLD
    assert not (tmp_path / "checkpoint" / NEW).exists()


def test_tables_records_and_pages_round_trip(tmp_path):
    table = pd.DataFrame({"id": ["a", None], "x": [1.5, float("nan")]})
    tables = TableDataset(filepath=str(tmp_path / "t.parquet"))
    tables.save(table)
    pd.testing.assert_frame_equal(tables.load(), table)
    pages = PageDataset(filepath=str(tmp_path / "p.html"))
    pages.save("<p>grün</p>")
    assert pages.load() == "<p>grün</p>"


def test_a_record_is_strict_json(tmp_path):
    records = RecordDataset(filepath=str(tmp_path / "r.json"))
    records.save({"a": float("nan"), "b": [float("inf"), 1], "c": (None, torch.tensor(2.5))})
    assert json.loads((tmp_path / "r.json").read_text()) == {
        "a": None,
        "b": [None, 1],
        "c": [None, 2.5],
    }


def test_figures_round_trip_and_preview(tmp_path):
    import plotly.graph_objects as go

    figures = FigureDataset(filepath=str(tmp_path / "f.json"))
    figures.save(go.Figure(go.Scatter(y=[1, 2])))
    assert figures.load().data[0].y == (1, 2)
    assert figures.preview()["data"][0]["type"] == "scatter"


def test_previews_have_types_that_kedro_viz_knows():
    """A quoted annotation shows nothing in Kedro-Viz."""
    known = {"JSONPreview", "TablePreview", "PlotlyPreview", "HTMLPreview"}
    datasets = (CheckpointDataset, RecordDataset, TableDataset, FigureDataset, PageDataset)
    for dataset in datasets:
        annotation = dataset.preview.__annotations__["return"]
        assert annotation.__name__ in known, dataset


def test_provenance_lies_with_its_version_and_notices_a_change(tmp_path):
    tables = TableDataset(filepath=str(tmp_path / "t.parquet"), version=Version(None, OLD))
    tables.save(pd.DataFrame({"a": [1]}))
    tables.write_provenance({"fingerprint": "f"})
    assert tables.read_provenance()["fingerprint"] == "f"
    assert not tables.read_provenance()["is_altered"]
    pd.DataFrame({"a": [2]}).to_parquet(tables.filepath)
    assert tables.read_provenance()["is_altered"]


def test_a_damaged_error_is_a_value_error():
    assert issubclass(DamagedArtefactError, ValueError)


def test_a_folder_from_elsewhere_is_known_as_foreign_and_followed_by_content(tmp_path):
    """docs/your_data.md: a checkpoint of another machine, put into the catalog without versions."""
    checkpoints(tmp_path).save(checkpoint())
    place = tmp_path / "checkpoint" / OLD / "checkpoint"
    foreign = CheckpointDataset(filepath=str(place))
    assert foreign.is_foreign
    assert foreign.load().digest == checkpoint().digest
    first = foreign.content_digest
    other = tmp_path / "other"
    CheckpointDataset(filepath=str(other)).save(checkpoint(2.0))
    assert CheckpointDataset(filepath=str(other)).content_digest != first
    assert not checkpoints(tmp_path).is_foreign, "a versioned entry is the project's own"


def test_no_node_overwrites_a_foreign_checkpoint(tmp_path):
    from kedro.io import DataCatalog
    from kedro.pipeline import Node, Pipeline

    from aquatint.hooks import _refuse_to_overwrite

    checkpoints(tmp_path).save(checkpoint())
    place = tmp_path / "checkpoint" / OLD / "checkpoint"
    catalog = DataCatalog({"mine": CheckpointDataset(filepath=str(place))})
    pipeline = Pipeline([Node(lambda: None, None, "mine", name="train_mine")])
    with pytest.raises(ValueError, match="train_mine would overwrite mine"):
        _refuse_to_overwrite(pipeline, catalog)
