"""A parameter that nothing reads is refused, wherever it stands, with the nearest name."""

import subprocess
import sys

import pytest
from pydantic import ValidationError

from aquatint.parameter_names import check_parameter_names, runtime_names
from aquatint.params import OptimizerParams
from project_runs import PROJECT, run_project

READ = {"run", "data_root", "recipe.stage1.train", "recipe.data.ingest"}


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"runn": {}}, "'runn'; did you mean 'run'\\? There are data_root, recipe, run"),
        ({"recipe": {"stage2": {}}}, "'recipe.stage2'; did you mean 'stage1'\\? Below 'recipe'"),
        ({"recipe": {"stage1": {"xyz": 1}}}, "'recipe.stage1.xyz'; Below 'recipe.stage1' there"),
        ({"recipe": {"stage1": 3}}, "'recipe.stage1' holds others .* got 3"),
    ],
)
def test_what_nothing_reads_is_named(parameters, message):
    with pytest.raises(ValueError, match=message):
        check_parameter_names(parameters, READ)


def test_what_is_read_passes_with_all_below_it():
    check_parameter_names({"run": {"any": 1}, "recipe": {"stage1": {"train": {"x": 1}}}}, READ)
    check_parameter_names({}, READ)


def test_an_unknown_field_names_its_neighbour():
    with pytest.raises(ValidationError, match="'learning_rat'; did you mean 'learning_rate'"):
        OptimizerParams(learning_rat=1.0, weight_decay=0.0, warmup_fraction=0.0)


def test_runtime_names_are_found_in_the_files(tmp_path):
    (tmp_path / "base").mkdir()
    text = "_data: ${runtime_params:data_root, ${globals:data_root}}\nx: ${runtime_params:other}"
    (tmp_path / "base" / "catalog.yml").write_text(text)
    assert runtime_names(tmp_path) == {"data_root", "other"}
    assert "data_root" in runtime_names(PROJECT / "conf")


def test_a_run_refuses_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="'two_stage.stage3'; did you mean 'stage"):
        run_project(tmp_path / "data", two_stage={"stage3": {"train": {"epochs": 1}}})
    assert not (tmp_path / "data").exists()


def test_a_typo_is_refused_before_torch_is_imported(tmp_path):
    code = (
        "import sys; sys.path.insert(0, 'tests'); from project_runs import run_project\n"
        f"try: run_project({str(tmp_path)!r}, run={{'sed': 1}})\n"
        "except Exception as error: print(error)\n"
        "sys.exit('torch' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert "did you mean 'seed'" in result.stdout
