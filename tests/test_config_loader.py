"""Environments are merged as Kedro merges them."""

import pytest
from kedro.config import OmegaConfigLoader
from omegaconf import OmegaConf

from aquatint.config_loader import ConfigLoader, merge
from aquatint.settings import CONFIG_LOADER_ARGS, CONFIG_LOADER_CLASS
from project_runs import PROJECT


@pytest.mark.parametrize(
    ("below", "above"),
    [
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}}),
        ({"a": {"b": 1}}, {"a": {"d": {"e": 1}}, "f": None}),
        ({"a": [1, 2]}, {"a": [3]}),
        ({"a": {"b": 1}}, {"a": 2}),
        ({"a": 1}, {"a": {"b": 1}}),
        ({"a": {"b": 1}}, {"a": None}),
        ({"a": {"b": 1}}, {"a": {}}),
        ({}, {"a": 1}),
        ({"a": 1}, {}),
        ({"z": 1, "a": 1}, {"b": 1, "z": 2}),
    ],
)
def test_values_are_merged_as_omegaconf_merges_them(below, above):
    expected = OmegaConf.to_container(OmegaConf.unsafe_merge(below, above))
    assert merge(below, above) == expected
    assert list(merge(below, above)) == list(expected)


def test_what_is_merged_stays_as_it_was():
    below = {"a": {"b": 1}}
    merge(below, {"a": {"b": 2}})["a"]["c"] = 3
    assert below == {"a": {"b": 1}}


@pytest.mark.parametrize("env", ["test", "internvla_n1"])
def test_parameters_of_an_environment_are_kedros(env):
    arguments = {"conf_source": str(PROJECT / "conf"), "env": env, **CONFIG_LOADER_ARGS}
    assert ConfigLoader(**arguments)["parameters"] == OmegaConfigLoader(**arguments)["parameters"]


def test_kedro_merges_by_this_loader(monkeypatch):
    """It is told so by a method that Kedro may rename."""
    assert CONFIG_LOADER_CLASS is ConfigLoader
    asked = []
    monkeypatch.setattr("aquatint.config_loader.merge", lambda *both: asked.append(both) or {})
    loader = ConfigLoader(str(PROJECT / "conf"), "test", **CONFIG_LOADER_ARGS)
    assert loader["parameters"] == {}
    assert len(asked) == 1
