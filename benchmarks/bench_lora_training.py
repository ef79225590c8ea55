"""LoRA tuning of a Qwen2-VL, whole commands: this project against four others.

Two tasks: A, where the vision tower is a tenth of the work (112 px), and B with about the ratio of
vision to language of InternVL3-1B (224 px). Each contender is a process of its own that imports,
loads, reads the same PNG pictures and chats, trains three epochs and ends; CPU seconds of the whole
process and its children. Same model, same token ids, same batch, rate, schedule and low-rank
weights; ms-swift alone draws samples in another order. What differs: here the frozen tower runs
once (its cache is built in the measured time), and logits are computed where labels are. Answers of
one length only, so that a mean over tokens is the loss over samples everywhere.

    python benchmarks/bench_lora_training.py [--once] [--llamafactory PYTHON] [--ms-swift PYTHON]
        [A] [B]

transformers.Trainer always takes part, TRL where it is installed. LLaMA-Factory and ms-swift pin
other versions of transformers: each takes part when it is given the Python of an environment that
holds it.
"""

import argparse
import importlib.util
import json
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from lora_contenders import CONTENDERS as OTHERS
from lora_contenders import Contender, Training, train_elsewhere, trainer_arguments
from lora_samples import MODEL, PATCH_PX, TASKS, build, read_samples

TRAINING = Training(3, 8, 1e-3, {"r": 16, "lora_alpha": 32, "lora_dropout": 0.0})
ROUNDS, MAX_LOSS_DIFFERENCE = 2, 0.05


class CachedSamples:
    """Token ids with features from a cache, as the recipes' own samples."""

    sample_weights = None

    def __init__(self, task, data, cache):
        import torch

        self._reader = cache.open()
        self._places = self._reader.places([str(i) for i in range(task.num)])
        self._task = task
        self.ids, self.labels = (torch.from_numpy(data[name]) for name in ("ids", "labels"))

    def __len__(self):
        return self._task.num

    def batch(self, positions):
        """Tensors of a batch."""
        import torch

        grid = self._task.edge_px // PATCH_PX
        features = torch.from_numpy(self._reader.read(self._places[positions.numpy()]))
        return {
            "input_ids": self.ids[positions],
            "attention_mask": torch.ones_like(self.ids[positions]),
            "labels": self.labels[positions],
            "features": features.flatten(0, 1),
            "grids": torch.tensor([[1, grid, grid]] * len(positions)),
            "weights": torch.ones(len(positions)),
            "is_counted": True,
        }

    def identify(self, positions):
        """Numbers of the samples."""
        return [str(i) for i in positions.tolist()]


def train_here(task, folder):
    """Encode once, then train; return the loss of every step."""
    import torch

    from aquatint.features.cache import FeatureStore, build_cache
    from aquatint.models.answering import LORA_TARGETS, AnsweringModel
    from aquatint.models.backbone import Backbone, folder_digest
    from aquatint.models.low_rank import inject_lora
    from aquatint.models.pixels import PixelNormalizer
    from aquatint.models.qwen_vl import encode_views
    from aquatint.params import OptimizerParams, RunParams, StageParams
    from aquatint.training.answering_losses import AnswerLosses
    from aquatint.training.fit import fit
    from aquatint.training.objective import Objective, Opening
    from aquatint.training.precision import prepare_device

    run = RunParams(seed=0, device="cpu", precision="float32", num_threads=1,
                    save_state_every_steps=10_000, save_state_every_minutes=60)  # fmt: skip
    prepare_device(run)
    data = read_samples(task, folder)
    backbone = Backbone(str(folder / MODEL), folder_digest(folder / MODEL), "bench")
    model = backbone.load()
    normalize = PixelNormalizer(*backbone.image_statistics)
    images = data["images"]

    @torch.inference_mode()
    def compute(positions):
        parts = [encode_views(model, normalize(torch.from_numpy(images[positions[i : i + 32]])))
                 for i in range(0, len(positions), 32)]  # fmt: skip
        return torch.cat(parts).numpy()

    keys = [str(i) for i in range(task.num)]
    with tempfile.TemporaryDirectory() as store:
        cache = build_cache(FeatureStore(store, 1), {"bench": 1}, keys, compute)
        samples = CachedSamples(task, data, cache)
        lora = inject_lora(model, TRAINING.lora, LORA_TARGETS)
        names = [f"backbone.{name}" for name in lora]
        params = StageParams(
            epochs=TRAINING.epochs,
            batch_size=TRAINING.batch,
            optimizer=OptimizerParams(
                learning_rate=TRAINING.rate,
                weight_decay=0.0,
                betas=(0.9, 0.999),
                warmup_fraction=0.0,
            ),
            loss_weights={"answer": 1.0},
        )
        opening = Opening({"lora": names}, lambda epoch: {"lora"})
        objective = Objective(samples, AnswerLosses())
        result = fit(AnsweringModel(model), objective, opening, params, run, Path(store) / "fit")
    return [row["loss"] for row in result.history]


def train_there(task, folder, trainer_class, arguments_class, **arguments):
    """The same with a Trainer and peft, from normalised patches that are made once."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import Qwen2VLForConditionalGeneration

    from aquatint.models.answering import LORA_TARGETS
    from aquatint.models.backbone import read_image_statistics
    from aquatint.models.pixels import PixelNormalizer
    from aquatint.models.qwen_vl import patchify

    data = read_samples(task, folder)
    model = Qwen2VLForConditionalGeneration.from_pretrained(folder / MODEL)
    # All start from one draw of low-rank weights only roughly: Trainer seeds after this.
    model = get_peft_model(model, LoraConfig(target_modules=LORA_TARGETS, **TRAINING.lora))
    normalize = PixelNormalizer(*read_image_statistics(folder / MODEL))
    patches, grids = patchify(normalize(torch.from_numpy(data["images"])), PATCH_PX, 2)
    patches = patches.reshape(task.num, -1, patches.shape[-1])
    ids, labels = torch.from_numpy(data["ids"]), torch.from_numpy(data["labels"])
    image_token = model.base_model.model.config.image_token_id

    def collate(rows):
        chosen = torch.tensor([row["index"] for row in rows])
        return {"input_ids": ids[chosen], "attention_mask": torch.ones_like(ids[chosen]),
                "labels": labels[chosen], "pixel_values": patches[chosen].flatten(0, 1),
                "image_grid_thw": grids[chosen],
                "mm_token_type_ids": (ids[chosen] == image_token).int()}  # fmt: skip

    with tempfile.TemporaryDirectory() as output:
        settings = arguments_class(output_dir=output, remove_unused_columns=False,
                                   **trainer_arguments(TRAINING), **arguments)  # fmt: skip
        trainer = trainer_class(model, settings, collate, task.num, folder)
        trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def with_trainer(task, folder):
    """Train by transformers.Trainer."""
    from transformers import Trainer, TrainingArguments

    def make(model, settings, collate, num, _):
        rows = [{"index": i} for i in range(num)]
        return Trainer(model=model, args=settings, train_dataset=rows, data_collator=collate)

    return train_there(task, folder, make, TrainingArguments)


def with_trl(task, folder):
    """Train by TRL's SFTTrainer, given the same tensors."""
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    def make(model, settings, collate, num, where):
        rows = Dataset.from_dict({"index": list(range(num))})
        tokenizer = AutoTokenizer.from_pretrained(where / MODEL)
        return SFTTrainer(model=model, args=settings, train_dataset=rows, data_collator=collate,
                          processing_class=tokenizer)  # fmt: skip

    return train_there(
        task, folder, make, SFTConfig, dataset_kwargs={"skip_prepare_dataset": True},
        gradient_checkpointing=False, bf16=False,
    )  # fmt: skip


CONTENDERS = {"here": train_here, "Trainer + peft": with_trainer, "TRL": with_trl}


def compete(name: str, task_name: str, folder: Path) -> None:
    """Run one contender in this process and print its losses."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    losses = CONTENDERS[name](TASKS[task_name], folder)
    print(json.dumps(losses))


def train_in_own_process(name: str, task_name: str, folder: Path) -> list[float]:
    """Losses of a contender of this file, run in a process of its own."""
    command = [sys.executable, __file__, "--compete", name, task_name, str(folder)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(output.strip().splitlines()[-1])


def measure(train: Callable[[], list[float]]) -> tuple[float, list[float]]:
    """CPU seconds of the processes that a training starts, and its losses."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    losses = train()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, losses


def trainings(
    task_name: str, folder: Path, others: dict[Contender, Path]
) -> dict[str, Callable[[], list[float]]]:
    """How each contender that is there trains, by name; this project is the first."""
    is_there = importlib.util.find_spec("trl") is not None
    found: dict[str, Callable[[], list[float]]] = {
        name: partial(train_in_own_process, name, task_name, folder)
        for name in CONTENDERS
        if name != "TRL" or is_there
    }
    for other, python in others.items():
        found[other.name] = partial(train_elsewhere, other, python, TRAINING, folder)
    return found


def report(rounds: list[dict[str, tuple[float, list[float]]]]) -> None:
    """Print a line a contender.

    Raises:
        SystemExit: If one has learned other than this project, so that times mean nothing.
    """
    seconds = {name: statistics.median(part[name][0] for part in rounds) for name in rounds[0]}
    ends = {
        name: (float(np.mean(losses[:8])), float(np.mean(losses[-8:])))
        for name, (_, losses) in rounds[0].items()
    }
    for name, (first, last) in ends.items():
        print(
            f"{name:16s} {seconds[name]:6.1f} CPU s, {seconds['here'] / seconds[name]:.2f} of "
            f"it here, loss {first:.3f} to {last:.3f}"
        )
        if abs(last - ends["here"][1]) > MAX_LOSS_DIFFERENCE * first:
            raise SystemExit(f"{name} ends at another loss than this project.")


def main(task_names: list[str], num_rounds: int, others: dict[Contender, Path]) -> None:
    if importlib.util.find_spec("trl") is None:
        print("TRL is not installed and was not run.")
    for other in OTHERS:
        if other not in others:
            print(f"{other.name} was not run; give the Python that has it: {other.flag} PYTHON")
    for name in task_names:
        task = TASKS[name]
        print(
            f"task {name}: {task.num} pictures of {task.edge_px} px, batch {TRAINING.batch}, ",
            end="",
        )
        with tempfile.TemporaryDirectory() as root:
            build(task, Path(root))
            ways = trainings(name, Path(root), others)
            report([{n: measure(way) for n, way in ways.items()} for _ in range(num_rounds)])


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tasks", nargs="*", metavar="A, B", help="default: both")
    parser.add_argument("--once", action="store_true", help=f"one round, not {ROUNDS}")
    for other in OTHERS:
        parser.add_argument(other.flag, dest=other.name, type=Path, metavar="PYTHON",
                            help=f"of an environment that holds {other.name}")  # fmt: skip
    options = parser.parse_args(arguments)
    if unknown := set(options.tasks) - set(TASKS):
        parser.error(f"tasks are {', '.join(TASKS)}; got {', '.join(sorted(unknown))}")
    return options


if __name__ == "__main__":
    if sys.argv[1:2] == ["--compete"]:
        compete(sys.argv[2], sys.argv[3], Path(sys.argv[4]))
    else:
        options = parse(sys.argv[1:])
        given = {other: getattr(options, other.name) for other in OTHERS}
        main(options.tasks or list(TASKS), 1 if options.once else ROUNDS,
             {other: python for other, python in given.items() if python})  # fmt: skip
