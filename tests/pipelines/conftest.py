"""One whole run of two_stage in the test environment, shared by the tests that look at it."""

import pytest

from project_runs import run_project


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """Data root of a finished run of the whole recipe; tests that change it take a copy."""
    root = tmp_path_factory.mktemp("finished")
    run_project(root)
    return root
