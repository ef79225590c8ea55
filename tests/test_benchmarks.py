"""The benchmarks' own logic: of accelerators as far as a machine without one can run it."""

import gc
import json
import logging
import sys
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import bench_accelerator

    return bench_accelerator


@pytest.fixture
def measuring(bench):
    import accelerator_measuring

    return accelerator_measuring


def test_configurations_have_the_published_numbers_of_parameters(bench):
    (internvl,) = bench.SIZES["internvl3_1b"]
    counts = bench.count_parameters(internvl)
    assert counts == {
        "total": 938_193_024,
        "vision": 304_012_288,
        "language": 493_798_016,
        "head": 135_899_904,
    }
    (qwen,) = bench.SIZES["qwen2_vl_2b"]
    # With the head, which is the embeddings again, counted once.
    assert bench.count_parameters(qwen)["total"] == 2_208_985_600


def test_without_an_accelerator_nothing_is_measured(bench, monkeypatch, capsys):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    bench.main([])
    assert capsys.readouterr().out.strip() == "no accelerator here; nothing measured"
    with pytest.raises(SystemExit):
        bench.main(["--device", "cpu"])


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H200", 989.5),
        ("NVIDIA H100 80GB HBM3", 989.5),
        ("NVIDIA H100 PCIe", 756.5),
        ("NVIDIA A100-SXM4-80GB", 312.0),
        ("NVIDIA L40S", 362.05),
        ("NVIDIA H200 NVL", None),
        ("NVIDIA GeForce RTX 4090", 165.2),
        ("NVIDIA GeForce RTX 4090 D", None),
        ("NVIDIA GeForce GTX 1080", None),
    ],
)
def test_a_peak_is_known_or_not_guessed(bench, monkeypatch, name, peak):
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: name)
    assert bench.find_peak_tflops("cuda") == peak
    assert bench.find_peak_tflops("cpu") is None


def test_a_way_that_fails_is_reported_and_not_tried_again(bench, measuring, capsys):
    tries = []

    def fail():
        tries.append(1)
        raise RuntimeError("out of luck\nand more")

    run = measuring.Run(4.0, 100.0, 2e12)
    ways = [measuring.Way("one", lambda: run, "other"), measuring.Way("other", fail)]
    results = measuring.measure(ways, 3)
    rows = [bench.report(result, results, 100.0) for result in results.values()]
    assert len(tries) == 1
    assert rows[0]["mfu"] == pytest.approx(0.08)
    assert rows[0]["ratio_to_trainer"] is None
    assert rows[1]["error"] == "RuntimeError: out of luck"
    assert "failed: RuntimeError: out of luck" in capsys.readouterr().out


def test_losses_that_differ_or_are_no_numbers_are_found(bench, measuring):
    def result(name, *losses):
        way = measuring.Way(name, lambda: None)
        return measuring.Result(way, (measuring.Run(1.0, 1.0, 1.0, losses),))

    names = {"a": (2.0, 1.0), "b": (2.0, 1.002), "c": (2.0, 1.2), "d": (2.0, float("nan"))}
    checks = bench.compare({name: result(name, *losses) for name, losses in names.items()}, 2e-3)
    assert [check["is_equal"] for check in checks] == [True, False, False]


@pytest.mark.slow
def test_every_row_runs_at_pocket_size_on_a_cpu(bench, capsys, tmp_path):
    found = tmp_path / "found.json"
    num_threads = torch.get_num_threads()
    gc.freeze()  # else each row's collection goes through all that tests have imported
    try:
        bench.main(["--size=pocket", "--device=cpu", "--steps=1", "--no-variants",
                    f"--json={found}"])  # fmt: skip
    finally:
        gc.unfreeze()
        logging.disable(logging.NOTSET)
        torch.set_num_threads(num_threads)
    output = capsys.readouterr().out
    assert "failed" not in output
    retrieval, answering = json.loads(found.read_text())["models"]
    stages = ("stage 1", "stage 2, LoRA in the last two")
    names = [row["name"] for row in retrieval["rows"]]
    assert names == [
        "features of images",
        "features of texts",
        *(f"stage 1, {way}" for way in ("cached", "from pixels", "Trainer")),
        *(f"stage 2, LoRA in all blocks, {way}" for way in ("from pixels", "Trainer")),
        *(f"{stages[1]}, {way}" for way in ("cached", "from pixels", "Trainer")),
        *(f"stage 2, all blocks in full, {way}" for way in ("from pixels", "Trainer")),
    ]
    assert len(answering["rows"]) == 5
    for model in (retrieval, answering):
        assert all(check["is_equal"] for check in model["checks"])
        for row in model["rows"]:
            assert row["name"] in output
            assert row["samples_per_second"] > 0
            assert row["gflop_per_sample"] > 0
    by_name = {row["name"]: row["gflop_per_sample"] for row in retrieval["rows"]}
    # The same operations by either loop, and fewer where frozen blocks are cached.
    for stage in (*stages, "stage 2, LoRA in all blocks", "stage 2, all blocks in full"):
        assert by_name[f"{stage}, from pixels"] == pytest.approx(by_name[f"{stage}, Trainer"])
    for stage in stages:
        assert by_name[f"{stage}, cached"] < by_name[f"{stage}, from pixels"]


@pytest.mark.slow
def test_variants_learn_the_same(bench, tmp_path):
    settings = bench.Settings("cpu", "float32", 2, 1, 1)
    _, size = bench.SIZES["pocket"]
    subject = bench.Answering(size, tmp_path, settings)
    plain = subject.train_variant(bench.Variant("float32")).losses
    for changed in ({"attention": "eager"}, {"compile_backend": "eager"}):
        losses = subject.train_variant(bench.Variant("float32", **changed)).losses
        assert losses == pytest.approx(plain, rel=1e-5)


@pytest.fixture
def contenders(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import lora_contenders

    return lora_contenders


@pytest.fixture
def model_folder(contenders, tmp_path):
    model = tmp_path / contenders.MODEL
    model.mkdir()
    (model / "config.json").write_text(json.dumps({"image_token_id": 5}))
    return tmp_path


COMMAND = """#!{python}
import json, os, sys
from pathlib import Path
given = json.loads(Path(sys.argv[2]).read_text())
rows = [{{"loss": given["learning_rate"]}}, {{"loss": 2.0}}, {{"train_loss": 3.0}}]
history = Path(given["output_dir"], "{history}")
history.write_text("\\n".join(map(json.dumps, rows)))
sys.exit("bad news" if given["num_train_epochs"] == 0 or "PYTHONPATH" in os.environ else 0)
"""


def put_command(contender, folder):
    script, verb = contender.command
    path = folder / script
    path.write_text(COMMAND.format(python=sys.executable, history=contender.history))
    path.chmod(0o755)
    return folder / "python"


def test_other_projects_train_as_they_are_told_with_nothing_of_this_environment(
    contenders, model_folder, monkeypatch
):
    monkeypatch.setenv("PYTHONPATH", "/of/this/interpreter")
    lora = {"r": 16, "lora_alpha": 32, "lora_dropout": 0.0}
    for contender in contenders.CONTENDERS:
        python = put_command(contender, model_folder)
        training = contenders.Training(3, 8, 1e-3, lora)
        losses = contenders.train_elsewhere(contender, python, training, model_folder)
        assert losses == [1e-3, 2.0]
        with pytest.raises(SystemExit, match=f"{contender.name} failed:(.|\n)*bad news"):
            contenders.train_elsewhere(contender, python, training._replace(epochs=0), model_folder)


def test_other_projects_are_told_what_trainer_is(contenders, model_folder):
    training = contenders.Training(3, 8, 1e-3, {"r": 4, "lora_alpha": 9, "lora_dropout": 0.5})
    for contender in contenders.CONTENDERS:
        told = contender.configure(training, model_folder, model_folder)
        assert told.items() >= contenders.trainer_arguments(training).items()
        assert [told[f"lora_{name}"] for name in ("rank", "alpha", "dropout")] == [4, 9, 0.5]


@pytest.mark.slow
def test_all_contenders_read_samples_of_one_length(contenders, tmp_path):
    import lora_samples

    task = lora_samples.Task(16, 112, 96, 1, 1)
    lora_samples.build(task, tmp_path)
    samples = lora_samples.read_samples(task, tmp_path)
    assert samples["images"].shape == (16, 112, 112, 3)
    image_token = json.loads((tmp_path / "model" / "config.json").read_text())["image_token_id"]
    assert ((samples["ids"] == image_token).sum(axis=1) == task.num_image_tokens).all()
    # The marks of a dialogue are a token each: 16 of the prompt and 32 of the answer.
    assert samples["ids"].shape == (16, 2 + task.num_image_tokens + 16 + 32)
    assert ((samples["labels"] != -100).sum(axis=1) == 32).all()
