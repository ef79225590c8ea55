"""What every run in a process reads anew although it cannot have changed, read once.

A run of which every output is there takes seconds, most of them for the parameters and catalogs of
all recipes. Only for runs in the process of a test; commands that tests start read everything.
"""

import contextlib
import copy
import functools
import json
from pathlib import Path

import pytest
from kedro.config import OmegaConfigLoader

from aquatint import pipeline_registry
from aquatint.models import backbone

READ = OmegaConfigLoader.__getitem__
KEYS = ("parameters", "catalog")
# Stands for the data root, which is another one in each test and nothing but text in paths.
ANY_ROOT = "/any-data-root"
_remembered = {}
LOAD = backbone.load_model
MOST_MODELS = 16
_models = {}


@contextlib.contextmanager
def remembering():
    """Read configuration and pipelines only where none was read from the same files before."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OmegaConfigLoader, "__getitem__", read_once)
        patch.setattr(pipeline_registry, "register_pipelines", _register_once)
        yield


def load_once(folder, device, dtype, quantization="none"):
    """As ``load_model``; a copy of the model where the same files were loaded before."""
    if device != "cpu" or quantization != "none":
        return LOAD(folder, device, dtype, quantization)
    known = (str(folder), dtype, _state(Path(folder)))
    if known not in _models:
        if len(_models) == MOST_MODELS:
            _models.clear()
        _models[known] = LOAD(folder, device, dtype)
    return copy.deepcopy(_models[known])


def read_once(loader, key):
    """What the loader gives for a key: parsed, merged and resolved the first time only."""
    runtime = dict(loader.runtime_params or {})
    root = runtime.get("data_root")
    if key not in KEYS or key in loader or not isinstance(root, str):
        return READ(loader, key)
    runtime["data_root"] = ANY_ROOT
    known = (key, loader.env, json.dumps(runtime), _state(Path(loader.conf_source)))
    if known not in _remembered:
        _remembered[known] = READ(_with_runtime(loader, runtime), key)
    return _with_root(_remembered[known], root)


def _state(folder):
    """Tells whether a file of a folder was added, changed or removed."""
    found = ((path, path.stat()) for path in sorted(folder.rglob("*")))
    return tuple((str(path), stat.st_mtime_ns, stat.st_size) for path, stat in found)


def _with_runtime(loader, runtime):
    return type(loader)(
        loader.conf_source,
        loader.env,
        runtime,
        base_env=loader.base_env,
        default_run_env=loader.default_run_env,
        merge_strategy=loader.merge_strategy,
    )


def _with_root(value, root):
    """A copy that its reader may change, with the data root of this run."""
    if isinstance(value, dict):
        return {name: _with_root(below, root) for name, below in value.items()}
    if isinstance(value, list):
        return [_with_root(below, root) for below in value]
    return value.replace(ANY_ROOT, root) if isinstance(value, str) else value


@functools.cache
def _pipelines():
    return _REGISTER()


_REGISTER = pipeline_registry.register_pipelines


def _register_once():
    return dict(_pipelines())
