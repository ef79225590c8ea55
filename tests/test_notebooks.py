"""The notebooks run on a finished test run, through the catalog alone."""

import nbformat
import pytest
from nbclient import NotebookClient

from project_runs import PROJECT

pytestmark = pytest.mark.slow
NOTEBOOKS = sorted((PROJECT / "notebooks").glob("*.ipynb"))


def test_there_are_the_notebooks_that_the_readme_names():
    assert [path.stem for path in NOTEBOOKS] == ["compare_stages", "inspect_recipe"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_a_notebook_executes_and_has_no_outputs_in_git(path, finished):
    notebook = nbformat.read(path, as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells)
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    assert first.source.startswith("ENV, PARAMS")
    first.source = f"ENV, PARAMS = 'test', {{'data_root': {str(finished)!r}}}"
    resources = {"metadata": {"path": str(PROJECT / "notebooks")}}
    NotebookClient(notebook, timeout=120, resources=resources).execute()
    outputs = [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]
    assert all(outputs[2:]), "every cell after the set-up shows something"
