"""Every parameter that a YAML may state is read somewhere in the library."""

import ast
import functools
import importlib
import pkgutil
from pathlib import Path

import pytest

import aquatint
from aquatint.params import Params

# Handed on as a whole to a constructor of the same argument names.
HANDED_ON = {
    "ModelParams",
    "LoraParams",
    "ExpertParams",
    "SensorParams",
    "StateParams",
    "DiffusionParams",
    "CriticParams",
    "EncoderParams",
    "DecoderParams",
    "IncrementParams",
}


def param_models():
    for module in pkgutil.walk_packages(aquatint.__path__, "aquatint."):
        is_light = module.name.endswith("params") or ".nodes." in module.name
        if is_light or module.name == "aquatint.params":
            importlib.import_module(module.name)

    def below(model):
        for child in model.__subclasses__():
            yield child
            yield from below(child)

    return sorted(set(below(Params)), key=lambda model: model.__name__)


@functools.cache
def attributes_read():
    names = set()
    for module in pkgutil.walk_packages(aquatint.__path__, "aquatint."):
        if module.ispkg:
            continue
        path = Path(importlib.util.find_spec(module.name).origin)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                names.add(node.attr)
            if isinstance(node, ast.keyword) and node.arg:
                names.add(node.arg)
    return names


def test_the_guard_sees_the_models():
    names = {model.__name__ for model in param_models()}
    assert {"RunParams", "StageParams", "RefinementParams", "FeatureParams"} <= names


@pytest.mark.parametrize("model", param_models(), ids=lambda model: model.__name__)
def test_every_field_is_read(model):
    if model.__name__ in HANDED_ON:
        return
    unread = set(model.model_fields) - attributes_read()
    if model.__name__ == "RunParams":
        unread -= {"dry_run", "label"}  # read by the session, before there is a model
    assert unread == set()


def test_handed_on_models_fit_their_constructors():
    import inspect

    from peft import LoraConfig

    from aquatint.models.action_expert import DiffusionExpert, RegressionExpert
    from aquatint.models.dual_encoder import DualEncoder
    from aquatint.models.sensor_encoder import SensorEncoder, StateEncoder
    from aquatint.pipelines.two_stage.params import LoraParams, ModelParams
    from aquatint.pipelines.vla.params import ExpertParams, SensorParams, StateParams

    for model, built in (
        (ExpertParams, RegressionExpert),
        (ExpertParams, DiffusionExpert),
        (SensorParams, SensorEncoder),
        (StateParams, StateEncoder),
    ):
        assert set(model.model_fields) <= set(inspect.signature(built).parameters), built
    assert set(ModelParams.model_fields) <= set(inspect.signature(DualEncoder).parameters)
    assert set(LoraParams.model_fields) <= set(inspect.signature(LoraConfig).parameters)


def test_fields_without_effect_exist():
    for model in param_models():
        assert set(model.without_effect) <= set(model.model_fields), model
