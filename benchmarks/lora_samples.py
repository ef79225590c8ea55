"""The model and the samples of ``bench_lora_training.py``: files that every contender can read."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

MODEL, PICTURES, SAMPLES = "model", "pictures", "samples.json"
VOCAB, PATCH_PX = 8000, 14
# A word is a token, but for the first; the marks of a dialogue add 8 tokens to a prompt, 2 to an
# answer: 16 and 32 in all.
NUM_LABELS, PROMPT_WORDS, ANSWER_WORDS = 8, 7, 29


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


def invent_words() -> list[str]:
    """Words of two syllables, each of them a token of the tokenizer that learns from them."""
    syllables = [a + b for a in "bcdfghjklmnprstv" for b in "aeiou"]
    return [first + second for first in syllables for second in syllables]


def build(task: Task, folder: Path) -> None:
    """Write the model and the samples."""
    from aquatint.models.architectures import ARCHITECTURES
    from aquatint.models.pocket import qwen_config, random_qwen, train_tokenizer

    kind = ARCHITECTURES["qwen2_vl"]
    words = invent_words()
    # Often, so that each of the two is a token; every word once is enough for the others.
    corpus = ["user", "assistant"] * 999 + [" " + " ".join(words)]
    tokenizer = train_tokenizer(corpus, VOCAB, kind)
    tokenizer.add_tokens(["<|im_start|>"], special_tokens=True)
    config = qwen_config(kind, width=task.width, num_blocks=task.language_blocks,
                         image_size_px=task.edge_px, patch_size_px=PATCH_PX,
                         tokenizer=tokenizer)  # fmt: skip
    config.vision_config.depth = task.vision_blocks
    config.text_config.vocab_size = VOCAB
    model = random_qwen(kind, config, seed=0)
    model.save_pretrained(folder / MODEL)
    tokenizer.save_pretrained(folder / MODEL)
    mean, std = kind.image_statistics
    settings = {"image_processor_type": "Qwen2VLImageProcessor", "image_mean": mean,
                "image_std": std, "patch_size": PATCH_PX, "temporal_patch_size": 2,
                "merge_size": 2, "min_pixels": 56**2, "max_pixels": 1280 * 28**2}  # fmt: skip
    (folder / MODEL / "preprocessor_config.json").write_text(json.dumps(settings))
    parts = (sum(p.numel() for p in part.parameters()) for part in (model, model.model.visual))
    print("{:.1f} M weights, {:.1f} M of them vision".format(*(1e-6 * part for part in parts)))
    write_samples(task, words, folder)


def write_samples(task: Task, words: list[str], folder: Path) -> None:
    """Write a PNG and a dialogue for each sample: the colour of a square decides the answer."""
    from PIL import Image

    rng = np.random.default_rng(0)
    labels = rng.integers(0, NUM_LABELS, task.num)
    images = rng.integers(90, 120, (task.num, task.edge_px, task.edge_px, 3), dtype=np.uint8)
    colors = rng.integers(0, 255, (NUM_LABELS, 3), np.uint8)
    images[:, 30:66, 30:66] = colors[labels][:, None, None]
    prompt = " ".join(rng.choice(words, PROMPT_WORDS))
    answers = [" ".join(row) for row in rng.choice(words, (NUM_LABELS, ANSWER_WORDS))]
    (folder / PICTURES).mkdir()
    samples = []
    for i, label in enumerate(labels):
        path = folder / PICTURES / f"{i}.png"
        Image.fromarray(images[i]).save(path)
        turns = {"user": f"<image>{prompt}", "assistant": answers[label]}
        messages = [{"role": role, "content": content} for role, content in turns.items()]
        samples.append({"messages": messages, "images": [str(path)]})
    (folder / SAMPLES).write_text(json.dumps(samples))


def read_samples(task: Task, folder: Path) -> dict[str, np.ndarray]:
    """Pictures (N, S, S, 3) uint8, token ids and labels (N, T), as Qwen2-VL's dialogues are."""
    from PIL import Image
    from transformers import AutoTokenizer

    from aquatint.models.architectures import ARCHITECTURES

    kind = ARCHITECTURES["qwen2_vl"]
    samples = json.loads((folder / SAMPLES).read_text())
    image = kind.image_start + kind.image_token * task.num_image_tokens + kind.image_end
    questions, answers = ([row["messages"][i]["content"] for row in samples] for i in (0, 1))
    start, middle, end = "<|im_start|>user\n", "<|im_start|>assistant\n", "<|im_end|>\n"
    tokenizer = AutoTokenizer.from_pretrained(folder / MODEL)
    read = [start + text.replace("<image>", image) + end + middle for text in questions]
    given = np.array(tokenizer(read)["input_ids"])
    wanted = np.array(tokenizer([text + end for text in answers])["input_ids"])
    pictures = []
    for row in samples:
        with Image.open(row["images"][0]) as picture:
            pictures.append(np.array(picture))
    return {
        "images": np.stack(pictures),
        "ids": np.concatenate([given, wanted], axis=1),
        "labels": np.concatenate([np.full_like(given, -100), wanted], axis=1),
    }
