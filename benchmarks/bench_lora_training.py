"""LoRA tuning of a Qwen2-VL, whole commands: this project against transformers.Trainer and TRL.

Two tasks: A, where the vision tower is a tenth of the work (112 px), and B with about the ratio of
vision to language of InternVL3-1B (224 px). Each contender is a process of its own that imports,
loads, trains three epochs and ends; CPU seconds of the whole process. Same model, same pictures
and answers, same batch, rate and schedule. What differs: here the frozen tower runs once (its cache
is built in the measured time), and logits are computed where labels are. Answers of one length
only, so that a mean over tokens is the loss over samples everywhere.

    python benchmarks/bench_lora_training.py [--once] [A] [B]

TRL takes part where it is installed; LLaMA-Factory and ms-swift pin other versions of transformers
and are not run.
"""

import importlib.util
import json
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

EPOCHS, BATCH, RATE, VOCAB, PATCH_PX, ROUNDS = 3, 8, 1e-3, 8000, 14, 2
LORA = {"r": 16, "lora_alpha": 32, "lora_dropout": 0.0}
NUM_LABELS, PROMPT_TOKENS, ANSWER_TOKENS = 8, 16, 32
MAX_LOSS_DIFFERENCE = 0.05


class Task(NamedTuple):
    """Sizes of a task: samples, edge in px, width, blocks of each tower."""

    num: int
    edge_px: int
    width: int
    vision_blocks: int
    language_blocks: int

    @property
    def num_image_tokens(self) -> int:
        """Image tokens, after two by two patches became one."""
        return (self.edge_px // PATCH_PX // 2) ** 2


TASKS = {"A": Task(512, 112, 192, 3, 4), "B": Task(256, 224, 256, 8, 4)}


def build(task: Task, folder: Path) -> None:
    """Write the model and the samples."""
    import torch

    from aquatint.models.architectures import ARCHITECTURES
    from aquatint.models.pocket import qwen_config, random_qwen, train_tokenizer

    kind = ARCHITECTURES["qwen2_vl"]
    tokenizer = train_tokenizer(["a picture of a field"] * 9, 400, kind)
    config = qwen_config(kind, width=task.width, num_blocks=task.language_blocks,
                         image_size_px=task.edge_px, patch_size_px=PATCH_PX,
                         tokenizer=tokenizer)  # fmt: skip
    config.vision_config.depth = task.vision_blocks
    config.text_config.vocab_size = VOCAB
    model = random_qwen(kind, config, seed=0)
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    parts = (sum(p.numel() for p in part.parameters()) for part in (model, model.model.visual))
    print("{:.1f} M weights, {:.1f} M of them vision".format(*(1e-6 * part for part in parts)))
    rng = np.random.default_rng(0)
    labels = rng.integers(0, NUM_LABELS, task.num)
    images = rng.integers(90, 120, (task.num, task.edge_px, task.edge_px, 3), dtype=np.uint8)
    colors = rng.integers(0, 255, (NUM_LABELS, 3), np.uint8)
    images[:, 30:66, 30:66] = colors[labels][:, None, None]
    words = rng.integers(400, VOCAB, (NUM_LABELS, ANSWER_TOKENS))
    prompt = rng.integers(300, 390, PROMPT_TOKENS)
    start, image, end = (
        tokenizer.convert_tokens_to_ids(token)
        for token in (kind.image_start, kind.image_token, kind.image_end)
    )
    prefix = [start, *[image] * task.num_image_tokens, end, *prompt]
    ids = np.array([[*prefix, *words[label]] for label in labels])
    wanted = ids.copy()
    wanted[:, : len(prefix)] = -100
    np.savez(folder / "data.npz", images=images, ids=ids, labels=wanted)
    torch.manual_seed(0)


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
    from aquatint.models.answering import AnsweringModel, add_lora
    from aquatint.models.backbone import Backbone, folder_digest
    from aquatint.models.pixels import PixelNormalizer
    from aquatint.models.qwen_vl import encode_views
    from aquatint.params import OptimizerParams, RunParams, StageParams
    from aquatint.training.answering_losses import AnswerLosses
    from aquatint.training.fit import fit
    from aquatint.training.objective import Objective, Opening

    data = np.load(folder / "data.npz")
    backbone = Backbone(str(folder / "model"), folder_digest(folder / "model"), "bench")
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
        names = [f"backbone.{name}" for name in add_lora(model, LORA)]
        params = StageParams(
            epochs=EPOCHS,
            batch_size=BATCH,
            optimizer=OptimizerParams(
                learning_rate=RATE, weight_decay=0.0, betas=(0.9, 0.999), warmup_fraction=0.0
            ),
            loss_weights={"answer": 1.0},
        )
        run = RunParams(seed=0, device="cpu", precision="float32", num_threads=1,
                        save_state_every_steps=10_000, save_state_every_minutes=60)  # fmt: skip
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

    data = np.load(folder / "data.npz")
    model = Qwen2VLForConditionalGeneration.from_pretrained(folder / "model")
    # All start from one draw of low-rank weights only roughly: Trainer seeds after this.
    model = get_peft_model(model, LoraConfig(target_modules=LORA_TARGETS, bias="none", **LORA))
    normalize = PixelNormalizer(*read_image_statistics(folder / "model"))
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
        settings = arguments_class(
            output_dir=output, per_device_train_batch_size=BATCH, num_train_epochs=EPOCHS,
            learning_rate=RATE, lr_scheduler_type="cosine", weight_decay=0.0, max_grad_norm=1.0,
            use_cpu=True, report_to="none", remove_unused_columns=False, save_strategy="no",
            logging_steps=1, disable_tqdm=True, seed=0, **arguments,
        )  # fmt: skip
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
        tokenizer = AutoTokenizer.from_pretrained(where / "model")
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


def measure(name: str, task_name: str, folder: Path) -> tuple[float, list[float]]:
    """CPU seconds of a contender's whole process, and its losses."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, __file__, "--compete", name, task_name, str(folder)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return used, json.loads(output.strip().splitlines()[-1])


def main(task_names: list[str], num_rounds: int) -> None:
    is_there = importlib.util.find_spec("trl") is not None
    names = [name for name in CONTENDERS if name != "TRL" or is_there]
    if not is_there:
        print("TRL is not installed and was not run.")
    for task_name in task_names:
        task = TASKS[task_name]
        print(
            f"task {task_name}: {task.num} pictures of {task.edge_px} px, batch {BATCH}, ", end=""
        )
        with tempfile.TemporaryDirectory() as root:
            build(task, Path(root))
            rounds = [
                {n: measure(n, task_name, Path(root)) for n in names} for _ in range(num_rounds)
            ]
        seconds = {name: statistics.median(part[name][0] for part in rounds) for name in names}
        last = {name: float(np.mean(rounds[0][name][1][-8:])) for name in names}
        for name in names:
            first = float(np.mean(rounds[0][name][1][:8]))
            print(
                f"{name:16s} {seconds[name]:6.1f} CPU s, {seconds['here'] / seconds[name]:.2f} of "
                f"it here, loss {first:.3f} to {last[name]:.3f}"
            )
            if abs(last[name] - last["here"]) > MAX_LOSS_DIFFERENCE * first:
                raise SystemExit(f"{name} ends at another loss than this project.")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--compete"]:
        compete(sys.argv[2], sys.argv[3], Path(sys.argv[4]))
    else:
        names = [name for name in sys.argv[1:] if name != "--once"]
        main(names or list(TASKS), 1 if "--once" in sys.argv else ROUNDS)
