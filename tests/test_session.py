"""The project's session: what a run does once."""

import pytest
from kedro.framework.startup import bootstrap_project

from aquatint import pipeline_registry
from aquatint.pipeline_registry import register_pipelines
from aquatint.session import LabelledSession
from project_runs import PROJECT


def test_a_run_makes_the_pipelines_once(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(
        pipeline_registry, "register_pipelines", lambda: made.append(1) or register_pipelines()
    )
    bootstrap_project(PROJECT)
    given = {"env": "test", "runtime_params": {"data_root": str(tmp_path)}}
    with (
        LabelledSession.create(PROJECT, **given) as session,
        pytest.raises(ValueError, match="contains no nodes"),
    ):
        session.run(pipeline_names=["two_stage"], tags=["no such tag"])
    assert len(made) == 1
