"""Time to choose one of nine answers: one packed pass against its alternatives, in one process.

The alternatives read the whole prompt once for every candidate, through the vision tower or from
cached features, or write an answer token by token and parse it. Ratios of CPU seconds; all three
scorings must agree on every likelihood.
"""

import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from aquatint.data.inspection_prompts import SITE_TYPES, example_dialogues
from aquatint.models.answering import AnsweringModel, score_candidates
from aquatint.models.architectures import ARCHITECTURES
from aquatint.models.backbone import Backbone, folder_digest
from aquatint.models.pocket import qwen_config, random_qwen, train_tokenizer
from aquatint.models.qwen_vl import encode_views, patchify
from aquatint.training.answering_inference import generate_answers
from aquatint.training.dialogues import encoder_of

BATCH, EDGE_PX, PATCH_PX, REPEATS = 8, 96, 12, 3
NAMES = [name for _, names in SITE_TYPES for name in names]
QUESTION = "This is the slope_drain at [120, 340, 560, 780]. It lies at y 0.56 (middle)."


def build(folder, width=256, num_blocks=4):
    """A Qwen2-VL of 7 million parameters: the pocket one is too small to be told from overhead."""
    kind = ARCHITECTURES["qwen2_vl"]
    tokenizer = train_tokenizer([*example_dialogues(), *NAMES], 640, kind)
    config = qwen_config(
        kind, width=width, num_blocks=num_blocks, image_size_px=EDGE_PX, patch_size_px=PATCH_PX,
        tokenizer=tokenizer,
    )  # fmt: skip
    random_qwen(kind, config, seed=0).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return Backbone(str(folder), folder_digest(folder), "bench")


def measure(function):
    """Least CPU seconds of a few calls, and the last result."""
    function()
    best, result = float("inf"), None
    for _ in range(REPEATS):
        started = time.process_time()
        result = function()
        best = min(best, time.process_time() - started)
    return best, result


@torch.inference_mode()
def score_naively(model, batch, candidates, pixels):
    """Every candidate behind its own copy of the prompt, through the whole model."""
    sums = []
    patches, grid = patchify(pixels, PATCH_PX, 2)
    for column in range(len(candidates[0])):
        answers = [row[column] for row in candidates]
        ids = torch.cat([batch["input_ids"], torch.tensor(answers)], 1)
        types = (ids == model.backbone.config.image_token_id).int()
        logits = model.backbone(
            input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=patches,
            image_grid_thw=grid, mm_token_type_ids=types,
        ).logits  # fmt: skip
        length = batch["input_ids"].shape[1]
        chosen = logits[:, length - 1 : -1].log_softmax(-1)
        sums.append(chosen.gather(2, ids[:, length:, None]).sum((1, 2)))
    return torch.stack(sums, 1)


@torch.inference_mode()
def score_one_by_one(model, batch, candidates):
    """Every candidate in a pass of its own, from cached features."""
    rows = [score_candidates(model, batch, [[row[i]] for row in candidates])
            for i in range(len(candidates[0]))]  # fmt: skip
    return torch.tensor([[rows[i][b][0][0] for i in range(len(rows))] for b in range(BATCH)])


def main():
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        backbone = build(Path(folder))
        model = AnsweringModel(backbone.load()).eval()
        encoder = encoder_of(backbone)
        pixels = torch.randn(BATCH, 3, EDGE_PX, EDGE_PX, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            features = encode_views(model.backbone, pixels)
        ids = torch.tensor([encoder.prompt(QUESTION, NAMES, features.shape[1])] * BATCH)
        grids = torch.tensor([[1, EDGE_PX // PATCH_PX, EDGE_PX // PATCH_PX]] * BATCH)
        batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "grids": grids,
                 "features": features.flatten(0, 1)}  # fmt: skip
        answers = [encoder.answer(name) for name in NAMES]
        # Of one length, so that the naive alternative needs no padding of its own.
        width = max(map(len, answers))
        answers = [answer + [encoder.eos] * (width - len(answer)) for answer in answers]
        candidates = [answers] * BATCH
        packed, found = measure(lambda: score_candidates(model, batch, candidates))
        naive, reference = measure(lambda: score_naively(model, batch, candidates, pixels))
        single, again = measure(lambda: score_one_by_one(model, batch, candidates))
        written, texts = measure(lambda: generate_answers(model, batch, -1, width))
    ours = np.array([sums for sums, _ in found])
    difference = max(np.abs(ours - reference.numpy()).max(), np.abs(ours - again.numpy()).max())
    print(f"{len(NAMES)} candidates of {width} tokens, prompt of {ids.shape[1]}, batch of {BATCH}")
    for name, seconds in (
        ("packed, one pass", packed),
        ("one pass for each candidate, whole model", naive),
        ("one pass for each candidate, cached features", single),
        (f"written answer, {len(texts[0])} tokens, no probabilities", written),
    ):
        print(f"{name:<48} {1000 * seconds:8.1f} ms   {seconds / packed:5.1f} x")
    print(f"largest difference of a log-likelihood: {difference:.1e}")


if __name__ == "__main__":
    main()
