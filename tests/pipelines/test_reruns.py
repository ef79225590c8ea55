"""What --only-missing-outputs reruns after each kind of change, and what pinning loads."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from aquatint import provenance
from aquatint.pipeline_registry import register_pipelines
from project_runs import PROJECT, find_missing, open_catalog, open_whole_catalog, run_project

pytestmark = pytest.mark.slow
ONE_EPOCH = {"two_stage": {"stage1": {"train": {"epochs": 1}}}}
TWO_STAGE = register_pipelines()["two_stage"]


def downstream(*names):
    """Bare names of the nodes and of all that depend on them."""
    full = [node.name for node in TWO_STAGE.nodes if node.name.rpartition(".")[2] in names]
    assert len(full) == len(names)
    return {node.name.rpartition(".")[2] for node in TWO_STAGE.from_nodes(*full).nodes}


@pytest.fixture
def root(finished, tmp_path):
    """A copy of the finished run that a test may change."""
    copy = tmp_path / "data"
    shutil.copytree(finished, copy, copy_function=shutil.copy2)
    return copy


def test_nothing_changed_nothing_runs(root):
    assert run_project(root, only_missing=True) == set()


def test_a_changed_split_trains_everything_again(root):
    ran = run_project(root, only_missing=True, two_stage={"data": {"split": {"seed": 1}}})
    assert ran == downstream("split_buildings")
    assert run_project(root, only_missing=True, two_stage={"data": {"split": {"seed": 1}}}) == set()


@pytest.mark.parametrize(
    ("params", "first"),
    [
        ({"two_stage": {"reporting": {"report": {"num_samples": 1}}}}, None),
        ({"two_stage": {"stage2": {"train": {"epochs": 3}}}}, ["train_stage2"]),
        ({"two_stage": {"stage2": {"robustness": {"severities": [1]}}}}, ["evaluate_robustness"]),
        ({"two_stage": {"data": {"split": {"seed": 1}}}}, ["split_buildings"]),
    ],
)
def test_a_parameter_reruns_the_nodes_it_reaches_and_no_other(params, first, root):
    ran = find_missing(root, **params)
    if first is None:
        first = [
            node.name.rpartition(".")[2]
            for node in TWO_STAGE.nodes
            if "params:two_stage.reporting.report" in node.inputs
        ]
    assert ran == downstream(*first)


def test_parameters_without_effect_on_results_rerun_nothing(root):
    run = {"save_state_every_steps": 7, "label": "other"}
    assert run_project(root, only_missing=True, run=run) == set()


def test_changed_raw_annotations_rerun_all_that_reads_them(root):
    world = next((root / "01_raw" / "geotext").glob("world_*"))
    annotations = world / "train.json"
    annotations.write_text(annotations.read_text().replace(" red ", " scarlet "))
    assert find_missing(root) == downstream("ingest_geotext", "decode_images")


def test_an_altered_artefact_is_made_again_with_all_that_depends_on_it(root):
    name = "two_stage.data.relations"
    path = Path(open_catalog(root).get(name).place)
    table = pd.read_parquet(path)
    table.assign(horizontal=1).to_parquet(path, index=False)
    ran = run_project(root, only_missing=True)
    assert "label_relations" in ran
    assert open_catalog(root).load(name).equals(table)


def test_a_lost_artefact_is_made_again(root):
    shutil.rmtree(root / "06_models" / "two_stage" / "stage2" / "merged_backbone")
    assert run_project(root, only_missing=True) == {"merge_stage2"}


@pytest.mark.parametrize("name", ["label_relations", "train_refinement", "render_report"])
def test_changed_code_reruns_the_nodes_that_reach_it(root, monkeypatch, name):
    """Which code a node reaches is tested in test_source_digest.py."""
    original = provenance.source_digest

    def digest(func):
        return original(func) + ("-changed" if func.__name__ == name else "")

    monkeypatch.setattr(provenance, "source_digest", digest)
    (node,) = [node for node in TWO_STAGE.nodes if node.func.__name__ == name]
    assert find_missing(root) == downstream(node.name.rpartition(".")[2])


def test_another_backbone_reruns_all_that_takes_it(root, tmp_path):
    conf = tmp_path / "conf"
    shutil.copytree(PROJECT / "conf", conf)
    entries = conf / "test" / "catalog_backbones.yml"
    entries.write_text(entries.read_text().replace("seed: 1", "seed: 2"))
    takers = {node.name.rpartition(".")[2] for node in TWO_STAGE.from_inputs("backbone").nodes}
    assert run_project(root, only_missing=True, conf=str(conf)) == takers
    assert "ingest_geotext" not in takers
    assert {"encode_images", "train_stage1", "merge_stage2", "render_report"} <= takers


def test_a_tag_reruns_its_nodes_from_the_newest_checkpoint(root):
    before = open_catalog(root).load("two_stage.stage1.checkpoint")
    ran = run_project(root, tags=["stage2"])
    assert ran == {
        "train_stage2", "predict_stage2", "evaluate_stage2", "merge_stage2", "evaluate_robustness",
    }  # fmt: skip
    stage2 = open_catalog(root).load("two_stage.stage2.checkpoint")
    assert stage2.lineage["parents"][0]["version"] == before.lineage["version"]


@pytest.fixture(scope="module")
def newer_stage1(finished, tmp_path_factory):
    """The finished run with one more stage 1, of another length; tests take a copy."""
    root = tmp_path_factory.mktemp("newer") / "data"
    shutil.copytree(finished, root, copy_function=shutil.copy2)
    run_project(root, tags=["stage1"], **ONE_EPOCH)
    return root


@pytest.fixture
def two_stage1s(newer_stage1, tmp_path):
    """A copy that a test may change, and the older of its two stages 1."""
    root = tmp_path / "two"
    shutil.copytree(newer_stage1, root, copy_function=shutil.copy2)
    name = "two_stage.stage1.checkpoint"
    versions = sorted(
        path.name for path in (root / "06_models/two_stage/stage1/checkpoint").glob("2*")
    )
    return root, open_catalog(root, {name: versions[0]}).load(name)


def test_a_pinned_stage1_is_the_parent_of_stage2(two_stage1s):
    root, old = two_stage1s
    new = open_catalog(root).load("two_stage.stage1.checkpoint")
    assert new.digest != old.digest
    pin = {"two_stage.stage1.checkpoint": old.lineage["version"]}
    run_project(root, tags=["stage2"], load_versions=pin)
    stage2 = open_catalog(root).load("two_stage.stage2.checkpoint")
    assert stage2.lineage["parents"][0]["digest"] == old.digest


def test_a_label_shows_in_the_version(root):
    run_project(root, tags=["merge"], run={"label": "try-1"})
    catalog = open_catalog(root)
    assert catalog.get("two_stage.stage2.merged_backbone").resolve_load_version().endswith("-try-1")


def test_a_pinned_parent_counts_as_a_change(two_stage1s):
    root, old = two_stage1s
    run_project(root, tags=["stage2"], **ONE_EPOCH)
    pin = {"two_stage.stage1.checkpoint": old.lineage["version"]}
    ran = run_project(root, tags=["stage2"], load_versions=pin, only_missing=True, **ONE_EPOCH)
    assert "train_stage2" in ran
    stage2 = open_catalog(root).load("two_stage.stage2.checkpoint")
    assert stage2.lineage["parents"][0]["digest"] == old.digest


def test_a_record_tells_what_was_loaded_and_not_what_lies_there_later(root):
    """Another run replaces an unversioned table while a training runs."""
    from aquatint.provenance import Provenance
    from project_runs import PROJECT

    assert PROJECT.exists()
    catalog = open_whole_catalog(root)
    node = next(node for node in TWO_STAGE.nodes if node.name.endswith("train_stage1"))
    provenance = Provenance(TWO_STAGE, catalog)
    inputs = [name for name in node.inputs if not name.startswith("params:")]
    loaded = {name: provenance.input_record(name) for name in inputs}
    before = provenance.record("two_stage.stage1.checkpoint", node, loaded)["fingerprint"]
    run_project(root, tags=["split"], two_stage={"data": {"split": {"seed": 1}}})
    later = Provenance(TWO_STAGE, open_whole_catalog(root))
    after = later.record("two_stage.stage1.checkpoint", node, loaded)["fingerprint"]
    assert before == after
    renewed = {name: later.input_record(name) for name in inputs}
    assert later.record("two_stage.stage1.checkpoint", node, renewed)["fingerprint"] != before
