"""Every environment: parameters fit their models, and every dataset has an entry."""

import functools

import pytest
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from kedro.io import DataCatalog
from kedro.validation.exceptions import ParameterValidationError
from omegaconf import OmegaConf

from project_runs import PROJECT
from remembered import remembering

bootstrap_project(PROJECT)
ROOT = "/nowhere"
ENVIRONMENTS = sorted(
    path.name for path in (PROJECT / "conf").iterdir() if path.is_dir() and path.name != "local"
)
RECIPES = (
    "two_stage",
    "two_stage_dry_run",
    "robosense",
    "inspection",
    "inspection_dry_run",
    "inspection_ablation",
    "pixel_goals",
    "system2",
    "dual_system",
    "cma",
    "navdp",
    "vla_regression",
    "vla_diffusion",
    "covt",
    "covt_predict",
)


def context(env, data_root, **params):
    runtime = {"data_root": str(data_root), **params}
    with KedroSession.create(PROJECT, env=env, runtime_params=runtime) as session:
        return session.load_context()


def check(recipe, path, value):
    """Check the test environment's parameters with one more value in a recipe's.

    It is merged as one of the command line is, into what was read once: to read takes a second.
    """
    found = context("test", ROOT)
    with remembering():
        read = found.config_loader["parameters"]
    given = functools.reduce(lambda below, key: {key: below}, reversed((recipe, *path)), value)
    found.config_loader["parameters"] = OmegaConf.to_container(OmegaConf.merge(read, given))
    return found.params


@functools.cache
def params_of(env):
    """Parameters of an environment as they stand; to read and check them takes most of a second."""
    with remembering():
        return context(env, ROOT).params


@functools.cache
def catalog_of(env):
    """The catalog of an environment below ``ROOT``, which takes seconds."""
    with remembering():
        return context(env, ROOT).catalog


def test_there_are_the_environments_that_the_docs_name():
    assert ENVIRONMENTS == [
        "airborne", "base", "elpv", "internnav", "internvl3_1b", "internvla_n1", "qwen2_5_vl_3b",
        "qwen2_5_vl_7b", "qwen2_vl_2b", "qwen2_vl_7b", "test",
    ]  # fmt: skip


@pytest.mark.parametrize("env", ENVIRONMENTS)
def test_parameters_fit_their_models(env):
    values = params_of(env)
    assert values["two_stage"]["stage2"]["train"].epochs >= 1
    assert values["run"].num_threads >= 1


@pytest.mark.parametrize("env", ENVIRONMENTS)
def test_every_dataset_has_an_entry_with_a_layer(env):
    """A name without an entry becomes an in-memory dataset, and a checkpoint is lost."""
    # One catalog for all recipes: to build it takes most of this test's time.
    catalog = catalog_of(env)
    names = {recipe: names_of(recipe) for recipe in RECIPES}
    assert all(names.values()), "the guard saw something"
    every = set.union(*names.values())
    assert {name for name in every if name not in catalog} == set()
    without_layer = {
        name
        for name in every
        if not (getattr(catalog.get(name), "metadata", None) or {})
        .get("kedro-viz", {})
        .get("layer")
    }
    assert without_layer == set()


def names_of(recipe):
    return {name for name in pipelines[recipe].datasets() if not name.startswith("params:")}


@pytest.mark.parametrize("env", ["base", "test"])
def test_every_path_lies_below_the_data_root(env):
    catalog = catalog_of(env)
    places = {
        name: str(getattr(catalog.get(name), "_filepath", ""))
        for name in pipelines["two_stage"].datasets()
        if not name.startswith("params:")
    }
    outside = {name: p for name, p in places.items() if p and not p.startswith(ROOT)}
    assert len(places) > 40
    assert outside == {}


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("stage1", "train", "learning_rat"), 0.1, "learning_rat"),
        (("stage1", "train", "epochs"), 0, "greater than 0"),
        (("stage2", "train", "opening"), [["adapters", "block_9"]], "block_9"),
        (("stage2", "train", "ramped_losses"), ["caption"], "caption"),
        (("stage2", "train", "regions_per_image"), 0, "regions_per_image above 0"),
        (("architecture", "heads", "text_pooling"), "first", "'last', 'eos' or 'mean'"),
        (("data", "ingest", "mode"), "lenient", "'strict' or 'tolerant'"),
    ],
)
def test_a_wrong_parameter_is_refused_by_name(path, value, words, tmp_path):
    nested = value
    for key in reversed(path):
        nested = {key: nested}
    with pytest.raises(ParameterValidationError, match=words):
        context("test", tmp_path, two_stage=nested).params  # noqa: B018 - validated on access


def test_published_values_of_the_source_stand_in_its_environment():
    """Source document: stage 1 is 3 epochs, 5e-5, batch 6; stage 2 is 5, 1e-5, 4."""
    values = params_of("internvl3_1b")["two_stage"]
    stages = [values[name]["train"] for name in ("stage1", "stage2")]
    assert [stage.epochs for stage in stages] == [3, 5]
    assert [stage.optimizer.learning_rate for stage in stages] == [5e-5, 1e-5]
    assert [stage.batch_size for stage in stages] == [6, 4]
    assert stages[1].loss_ramp == (0.5, 0.75, 1.0)
    assert stages[1].loss_weights == {"itc": 1.0, "itm": 1.0, "bbox": 0.1, "spatial": 0.1}


@pytest.mark.parametrize("env", ["qwen2_vl_2b", "qwen2_vl_7b"])
def test_published_values_of_the_inspection_source_stand_in_its_environment(env):
    """Source document and upstream: 3 epochs, 2e-4, 1 x 4, rank 16, alpha 32, dropout 0.1."""
    train = params_of(env)["inspection"]["finetune"]["train"]
    assert (train.epochs, train.optimizer.learning_rate) == (3, 2e-4)
    assert (train.batch_size, train.gradient_accumulation_steps) == (1, 4)
    assert train.lora.model_dump() == {"r": 16, "lora_alpha": 32, "lora_dropout": 0.1}
    assert round(train.optimizer.warmup_fraction * 849) == 50
    assert params_of(env)["run"].save_state_every_steps == 100


def test_published_values_of_covt_stand_in_its_environment():
    """Upstream: 6000 steps, then 10000 with stages at 0, 3000, 6000 and anchors until 8000."""
    values = params_of("qwen2_5_vl_7b")["covt"]
    first, second = (values[name]["train"] for name in ("stage1", "stage234"))
    assert (first.max_steps, second.max_steps) == (6000, 10000)
    assert set(first.curriculum.model_dump().values()) == {6000}
    assert list(second.curriculum.model_dump().values()) == [0, 3000, 6000, 8000]
    for train in (first, second):
        assert train.batch_size * train.gradient_accumulation_steps == 8
        assert train.optimizer.learning_rate == 5e-5
        assert train.optimizer.group_factors == {"heads": 0.2}
        assert (train.optimizer.weight_decay, train.optimizer.warmup_fraction) == (0.1, 0.05)
        assert train.lora.model_dump() == {"r": 16, "lora_alpha": 32, "lora_dropout": 0.01}
        assert train.loss_weights["depth"] == 0.005
    assert values["visual_models"].pairs == (("sam", 8), ("depth", 4), ("dino", 4))


def test_base_keeps_the_published_shares_of_steps():
    values = params_of("base")["covt"]
    first, second = (values[name]["train"] for name in ("stage1", "stage234"))
    shares = [value / second.max_steps for value in second.curriculum.model_dump().values()]
    assert shares == pytest.approx([0, 0.3, 0.6, 0.8])
    assert first.max_steps / second.max_steps == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("visual_models", "names"), "sam+sd", "'sam', 'depth'"),
        (("visual_models", "names"), "sam+sam", "must be different ones"),
        (("stage234", "train", "curriculum", "generation_until"), 3, "must ascend"),
        (("stage234", "train", "lora", "rank"), 8, "rank"),
        (("data", "split", "test"), 1.0, "less than 1"),
    ],
)
def test_a_wrong_parameter_of_covt_is_refused_by_name(path, value, words):
    with pytest.raises(ParameterValidationError, match=words):
        check("covt", path, value)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("finetune", "balance", "oversampling"), True, "counts rare classes twice"),
        (("data", "prompts", "discloses_type"), False, "needs allowed: all"),
        (("data", "split", "train"), 0.5, "must add up to 1"),
        (("features", "views", "kind"), "photo", "'crop', 'image' or 'image_with_box'"),
        (("finetune", "train", "lora", "rank"), 8, "rank"),
    ],
)
def test_a_wrong_parameter_of_inspection_is_refused_by_name(path, value, words):
    with pytest.raises(ParameterValidationError, match=words):
        check("inspection", path, value)


@pytest.mark.parametrize("recipe", ["covt", "inspection", "vla_diffusion"])
def test_parameters_into_which_nothing_is_merged_pass(recipe):
    assert check(recipe, (), {})[recipe]


@pytest.mark.parametrize("env", ENVIRONMENTS)
def test_a_custom_test_file_reaches_every_environment(env, tmp_path):
    runtime = {"data_root": str(tmp_path), "test_file": "mine.json"}
    with KedroSession.create(PROJECT, env=env, runtime_params=runtime) as session:
        config = session._get_config_loader()["catalog"]
    dataset = DataCatalog.from_config(config).get("two_stage.data.raw")
    assert dataset._names["test_file"] == "mine.json"


@pytest.mark.parametrize("recipe", ["vla_regression", "vla_diffusion"])
def test_published_values_of_the_vla_source_stand_in_its_environment(recipe):
    """Source document and upstream: 20 and 10 epochs, 1e-4, 5e-4, 1e-5, 4 x 8 on 4 GPUs."""
    values = params_of("qwen2_5_vl_3b")[recipe]
    stages = [values[name]["train"] for name in ("stage1", "stage2")]
    assert [stage.epochs for stage in stages] == [20, 10]
    assert [stage.batch_size * stage.gradient_accumulation_steps for stage in stages] == [128] * 2
    for stage in stages:
        assert stage.optimizer.learning_rate == 1e-4
        assert (stage.sensor_learning_rate, stage.vl_learning_rate) == (5e-4, 1e-5)
        assert stage.lora.model_dump() == {"r": 16, "lora_alpha": 32, "lora_dropout": 0.05}
        assert stage.stage(("sensor", "vl")).optimizer.group_factors == pytest.approx(
            {"sensor": 5.0, "vl": 0.1}
        )
        assert (stage.optimizer.warmup_fraction, stage.optimizer.hold_fraction) == (0.03, 0.02)
        assert stage.optimizer.min_learning_rate == 1e-6
    assert [stage.finetune_vl for stage in stages] == ["none", "lora"]
    architecture = values["policy"]["architecture"]
    assert architecture.kind == recipe.removeprefix("vla_")
    assert architecture.diffusion.num_train_timesteps == 100
    assert values["policy"]["samples"].sensor_loss_weight == 2.0
    assert architecture.policy(2048, 7, 15, (92, 28))["sensor"]["out_width"] == 3072


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("stage2", "train", "finetune_vl"), "adapter", "'none', 'lora' or 'full'"),
        (("stage2", "train", "lora", "rank"), 8, "rank"),
        (("policy", "architecture", "sensor_enabled"), False, "needs fusion: none"),
        (("policy", "architecture", "expert", "num_heads"), 3, "must divide expert.width"),
        (("policy", "architecture", "diffusion", "num_inference_steps"), 500, "exceeds"),
        (("data", "split", "val"), 0.9, "leave nothing to train on"),
        (("data", "ingest", "instruction_template"), "insert", "pattern"),
        (("stage1", "train", "optimizer", "hold_fraction"), 0.98, "must leave steps"),
    ],
)
def test_a_wrong_parameter_of_vla_is_refused_by_name(path, value, words):
    with pytest.raises(ParameterValidationError, match=words):
        check("vla_diffusion", path, value)
