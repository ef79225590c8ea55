"""Rules that hold for every recipe, whoever wrote it."""

import inspect
import subprocess
import sys
import typing

import pytest

from aquatint.params import Params
from aquatint.pipeline_registry import register_pipelines

PIPELINES = register_pipelines()
RECIPES = [name for name in PIPELINES if name != "__default__"]
TAGS = {
    "ingest", "split", "features", "zero_shot", "train", "merge", "eval", "report",
    "stage1", "stage2", "stage3", "stage4", "baseline", "teacher", "rollout", "gpu",
}  # fmt: skip
NODES = [(name, node) for name in RECIPES for node in PIPELINES[name].nodes]


def bare_name(node):
    return node.name.rpartition(".")[2]


def test_the_rules_see_every_recipe():
    assert set(RECIPES) == {
        "two_stage", "two_stage_dry_run", "robosense", "inspection",
        "inspection_dry_run", "inspection_ablation", "pixel_goals", "cma", "navdp",
        "system2", "dual_system",
        "vla_regression", "vla_diffusion",
        "covt", "covt_predict",
    }  # fmt: skip
    assert len(NODES) > 25


def test_the_default_pipeline_is_two_stage():
    assert PIPELINES["__default__"].nodes == PIPELINES["two_stage"].nodes


def test_node_names_are_unique_in_the_project():
    """Kedro-Viz links nodes by bare name."""
    # dual_system begins with nodes of system2, which are the same.
    names = [bare_name(node) for node in {node for _, node in NODES}]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize(("recipe", "node"), NODES, ids=[node.name for _, node in NODES])
def test_a_node_follows_the_rules(recipe, node):
    assert node.tags, "every node can be reached by a tag"
    assert node.tags <= TAGS
    assert node.namespace.count(".") == 1, "recipe.part"
    assert not bare_name(node).endswith("_node")
    assert (inspect.getdoc(node.func) or "").rstrip().endswith("."), "a docstring"
    for output in node.outputs:
        assert output.startswith(f"{node.namespace}."), "outputs belong to the node's own part"


@pytest.mark.parametrize(("recipe", "node"), NODES, ids=[node.name for _, node in NODES])
def test_parameters_are_typed_where_kedro_can_see_it(recipe, node):
    """A hint that only TYPE_CHECKING can resolve switches Kedro's validation off in silence."""
    hints = typing.get_type_hints(node.func)
    bound = inspect.signature(node.func).bind(**node._inputs)
    for argument, dataset in bound.arguments.items():
        if isinstance(dataset, str) and dataset.startswith("params:"):
            assert issubclass(hints[argument], Params), f"{argument} of {node.name}"


@pytest.mark.parametrize(
    "recipe",
    ["two_stage", "inspection", "covt", "cma", "system2", "dual_system", "vla_regression",
     "vla_diffusion"],
)  # fmt: skip
def test_a_backbone_need_not_wait_for_the_data(recipe):
    """A node that takes nothing else lets a pocket backbone be built while raw data are read."""
    given = {name for name in PIPELINES[recipe].inputs() if name.endswith("backbone")}
    assert given
    first = {frozenset(node.inputs) for node in PIPELINES[recipe].nodes}
    assert {frozenset({name}) for name in given} <= first


def test_a_training_returns_checkpoint_and_history_and_keeps_its_state():
    trainings = {node for _, node in NODES if "train" in node.tags}
    assert len(trainings) == 3 + 3 + 8 + 2 + 1 + 2 * 3 + 3 + 1 + 4
    for node in trainings:
        assert [name.rpartition(".")[2] for name in node.outputs] == ["checkpoint", "history"]
        assert any(name.endswith(".training_state") for name in node.inputs)


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("stage2", {"train_stage2", "predict_stage2", "evaluate_stage2", "merge_stage2",
                    "evaluate_robustness"}),
        ("features", {"describe_backbone_of_two_stage", "decode_images", "find_near_duplicates",
                      "encode_images", "encode_texts"}),
        ("zero_shot", {"embed_zero_shot", "evaluate_zero_shot"}),
        ("merge", {"merge_stage2"}),
        ("train", {"train_stage1", "train_stage2", "train_baseline"}),
    ],
)  # fmt: skip
def test_a_tag_selects_what_the_readme_says(tag, expected):
    nodes = PIPELINES["two_stage"].only_nodes_with_tags(tag).nodes
    assert {bare_name(node) for node in nodes} == expected


def test_the_fixed_names_are_there():
    names = PIPELINES["two_stage"].datasets()
    parts = ("zero_shot", "stage1", "stage2", "baseline")
    fixed = {f"two_stage.{part}.{name}" for part in parts
             for name in ("metrics", "image_embeds", "text_embeds", "ranks")}  # fmt: skip
    fixed |= {f"two_stage.{p}.{n}" for p in parts[1:] for n in ("checkpoint", "history")}
    fixed |= {"two_stage.stage2.merged_backbone", "two_stage.data.ingestion_report"}
    fixed |= {"two_stage.reporting.comparison", "two_stage.reporting.report"}
    assert fixed - names == set()


def test_the_fixed_names_of_inspection_are_there():
    names = PIPELINES["inspection"].datasets()
    fixed = {"data.instances", "data.analysis", "zero_shot.metrics", "zero_shot.predictions",
             "finetune.checkpoint", "finetune.history", "finetune.metrics", "finetune.predictions",
             "finetune.merged_backbone", "reporting.comparison", "reporting.report"}  # fmt: skip
    assert {f"inspection.{name}" for name in fixed} - names == set()


def test_the_fixed_names_of_navdp_and_cma_are_there():
    fixed = {"data.report", "train.checkpoint", "train.history", "train.metrics",
             "rollout.metrics", "rollout.episodes", "reporting.report"}  # fmt: skip
    assert {f"navdp.{name}" for name in fixed} - PIPELINES["navdp"].datasets() == set()
    fixed = {f"cma.{model}.{name}" for model in ("cma", "seq2seq", "rdp")
             for name in ("checkpoint", "history", "metrics")}  # fmt: skip
    fixed |= {"cma.rollout.metrics", "cma.rollout.episodes", "cma.reporting.report"}
    assert fixed - PIPELINES["cma"].datasets() == set()


@pytest.mark.parametrize("recipe", ["vla_regression", "vla_diffusion"])
def test_the_fixed_names_of_the_vla_recipes_are_there(recipe):
    names = PIPELINES[recipe].datasets()
    fixed = {"data.episodes", "data.report", "data.normaliser", "stage2.merged_backbone",
             "rollout.metrics", "rollout.episodes", "reporting.comparison",
             "reporting.report"}  # fmt: skip
    fixed |= {f"stage{i}.{n}" for i in (1, 2) for n in ("checkpoint", "history", "metrics")}
    assert {f"{recipe}.{name}" for name in fixed} - names == set()


def test_the_fixed_names_of_covt_are_there():
    names = PIPELINES["covt"].datasets()
    fixed = {"data.conversations", "data.report", "anchors.targets", "stage1.checkpoint",
             "stage1.history", "stage1.merged_backbone", "stage234.checkpoint", "stage234.history",
             "stage234.merged_backbone", "evaluation.metrics", "evaluation.predictions",
             "reporting.report"}  # fmt: skip
    assert {f"covt.{name}" for name in fixed} - names == set()


def assert_light(code):
    """Run code in a new process, and look whether it imported a library that takes seconds."""
    code += (
        "; heavy = {'torch', 'transformers', 'peft', 'plotly'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_neither_the_registry_nor_a_look_at_all_code_imports_torch_or_transformers():
    """The look is what a rerun with nothing to do consists of."""
    assert_light(
        "import sys, aquatint.pipeline_registry as r; pipelines = r.register_pipelines();"
        "import aquatint.settings; from aquatint.source_digest import source_digest;"
        "[source_digest(node.func) for p in pipelines.values() for node in p.nodes]"
    )


def test_datasets_of_the_project_import_no_torch_and_no_transformers():
    """Every command imports all of them; weights are loaded where a node asks for them."""
    assert_light(
        "import sys, importlib, aquatint.io as io; from pkgutil import iter_modules;"
        "[importlib.import_module(f'aquatint.io.{m.name}') for m in iter_modules(io.__path__)]"
    )
