"""LoRA tuning by other projects' own commands, for ``bench_lora_training.py``.

LLaMA-Factory and ms-swift pin versions of transformers that this project does not use. So each runs
in an environment of its own, by the command that lies beside that environment's Python, from files
in the formats it documents.
"""

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lora_samples import MODEL, SAMPLES

# By name these are linears of the language model alone: a Qwen2-VL's tower has qkv and proj.
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj")


class Training(NamedTuple):
    """What every contender is told alike; ``lora`` in the words of peft."""

    epochs: int
    batch: int
    rate: float
    lora: dict[str, Any]


class Contender(NamedTuple):
    """A project with a command of its own.

    Attributes:
        name: As its authors write it.
        flag: Option that takes the Python of its environment.
        command: Script beside that Python, and the script's first argument.
        configure: Settings from the training, the folder of samples and an empty output folder.
        history: File below the output folder with a line of JSON a step.
    """

    name: str
    flag: str
    command: tuple[str, str]
    configure: Callable[[Training, Path, Path], dict[str, Any]]
    history: str


def trainer_arguments(training: Training) -> dict[str, Any]:
    """Settings of a training in the words of transformers.Trainer, which all but this one use."""
    return {
        "per_device_train_batch_size": training.batch,
        "num_train_epochs": training.epochs,
        "learning_rate": training.rate,
        "lr_scheduler_type": "cosine",
        "weight_decay": 0.0,
        # Trainer's defaults, which ms-swift replaces by 0.95 and by as many steps as make 16.
        "adam_beta2": 0.999,
        "gradient_accumulation_steps": 1,
        "max_grad_norm": 1.0,
        "use_cpu": True,
        "report_to": "none",
        "save_strategy": "no",
        "logging_steps": 1,
        "disable_tqdm": True,
        "seed": 0,
    }


def configure_llamafactory(training: Training, folder: Path, output: Path) -> dict[str, Any]:
    """Settings of ``llamafactory-cli train``; its table of data sets is written to ``output``."""
    entry = {
        "file_name": str(folder / SAMPLES),
        "formatting": "sharegpt",
        "columns": {"messages": "messages", "images": "images"},
        "tags": {
            "role_tag": "role",
            "content_tag": "content",
            "user_tag": "user",
            "assistant_tag": "assistant",
        },
    }
    (output / "dataset_info.json").write_text(json.dumps({"samples": entry}))
    return {
        "stage": "sft",
        "do_train": True,
        "model_name_or_path": str(folder / MODEL),
        "dataset_dir": str(output),
        "dataset": "samples",
        "template": "qwen2_vl",
        "default_system": "",
        "finetuning_type": "lora",
        "lora_rank": training.lora["r"],
        "lora_alpha": training.lora["lora_alpha"],
        "lora_dropout": training.lora["lora_dropout"],
        "lora_target": ",".join(TARGETS),
        # On by default: every block would run twice, which no other contender does.
        "disable_gradient_checkpointing": True,
        "output_dir": str(output),
        **trainer_arguments(training),
    }


def configure_swift(training: Training, folder: Path, output: Path) -> dict[str, Any]:
    """Settings of ``swift sft``; a plugin that names the image token is written to ``output``."""
    # Its template knows the id in the published tokenizers alone, and would fill in no image.
    token_id = json.loads((folder / MODEL / "config.json").read_text())["image_token_id"]
    plugin = output / "image_token.py"
    plugin.write_text(
        "from swift.template.templates.qwen import Qwen2VLTemplate\n"
        f"Qwen2VLTemplate.image_token_id = {token_id}\n"
    )
    return {
        "model": str(folder / MODEL),
        "model_type": "qwen2_vl",
        "template": "qwen2_vl",
        "external_plugins": [str(plugin)],
        "torch_dtype": "float32",
        "dataset": str(folder / SAMPLES),
        "system": "",
        "tuner_type": "lora",
        "lora_rank": training.lora["r"],
        "lora_alpha": training.lora["lora_alpha"],
        "lora_dropout": training.lora["lora_dropout"],
        "target_modules": list(TARGETS),
        # On by default: every block would run twice, which no other contender does.
        "gradient_checkpointing": False,
        # It would ask a hub whether the folder's files are those of a known model.
        "check_model": False,
        "dataloader_num_workers": 0,
        "add_version": False,
        "output_dir": str(output),
        **trainer_arguments(training),
    }


CONTENDERS = (
    Contender(
        "LLaMA-Factory",
        "--llamafactory",
        ("llamafactory-cli", "train"),
        configure_llamafactory,
        "trainer_log.jsonl",
    ),
    Contender("ms-swift", "--ms-swift", ("swift", "sft"), configure_swift, "logging.jsonl"),
)


def train_elsewhere(
    contender: Contender, python: Path, training: Training, folder: Path
) -> list[float]:
    """Run a contender's command to its end and return the loss of every step.

    Args:
        contender: Which project.
        python: Python of the environment that holds it.
        training: What it is told.
        folder: Holds the model and the samples.
    """
    script, verb = contender.command
    with tempfile.TemporaryDirectory() as root:
        # Of its own: ms-swift copies its configuration there and fails if it is there already.
        output = Path(root) / "output"
        output.mkdir()
        # JSON is YAML too, and YAML is the form that both commands read.
        config = Path(root) / "config.yaml"
        config.write_text(json.dumps(contender.configure(training, folder, output)))
        done = subprocess.run(
            # Not resolved: in a virtual environment Python is a link, and the script lies beside.
            [python.absolute().with_name(script), verb, config],
            capture_output=True,
            text=True,
            env=isolate(os.environ, Path(root)),
        )
        if done.returncode:
            raise SystemExit(f"{contender.name} failed:\n{done.stdout}\n{done.stderr}")
        return read_losses(output / contender.history)


def isolate(environment: Mapping[str, str], root: Path) -> dict[str, str]:
    """Environment for a command that is to find nothing of this process's packages and caches."""
    # This interpreter's packages, which would come before those that the contender pins.
    kept = {name: value for name, value in environment.items() if name != "PYTHONPATH"}
    # In its own folder, or a second round would find what the first one prepared.
    caches = {name: str(root / "cache") for name in ("HF_HOME", "MODELSCOPE_CACHE")}
    # One thread on the CPU, as the others, and nothing asked of a hub.
    settings = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
    return kept | caches | settings


def read_losses(history: Path) -> list[float]:
    """Losses of the steps in a file of JSON lines; lines without one are summaries."""
    rows = [json.loads(line) for line in history.read_text().splitlines()]
    return [row["loss"] for row in rows if "loss" in row]
