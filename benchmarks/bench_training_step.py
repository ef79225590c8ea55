"""Steps of all tasks on the pocket backbone: as they are, and without what makes them cheap.

Run with ``make bench``. The plain way pads all texts of a batch to the longest, copies an image's
patches for each of its texts and pairs, fills new tensors with NaN (torch's deterministic mode)
and steps the optimizer tensor by tensor. Losses of the first steps are compared; medians of
alternating rounds.
"""

import logging
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from aquatint.data.relations import relation_table
from aquatint.features.cache import FeatureStore, build_cache
from aquatint.features.frozen import Encoding, cache_image_tokens, cache_text_tokens
from aquatint.models.backbone import Backbone
from aquatint.models.pocket import internvl_config, random_internvl, train_tokenizer
from aquatint.models.retrieval_model import RetrievalModel
from aquatint.params import OptimizerParams
from aquatint.training.freezing import open_parameters
from aquatint.training.optim import build_adamw, clip_gradients
from aquatint.training.retrieval_data import RetrievalData
from aquatint.training.retrieval_losses import RetrievalLosses
from aquatint.training.retrieval_models import build_model
from aquatint.training.retrieval_samples import (
    CLOSED,
    LIVE,
    RetrievalCaches,
    RetrievalSamples,
    RetrievalTables,
)
from bench_processes import make_plan

NUM_IMAGES, BATCH, STEPS, ROUNDS, EDGE_PX, MAX_TOKENS = 96, 32, 3, 5, 96, 64
WORDS = ("house", "road", "left", "of", "the", "red", "tall", "grey", "tree", "behind", "a")
WEIGHTS = {"itc": 1.0, "itm": 1.0, "bbox": 0.1, "spatial": 0.1}
OPTIMIZER = OptimizerParams(learning_rate=1e-3, weight_decay=0.01, warmup_fraction=0.1)


def main() -> None:
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    print(f"{BATCH} images, 2 captions and a sentence each, one thread, torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        data = make_data(Path(folder))
        for name, mode, opened, entry in (
            ("stage 1, cached features", "none", (), CLOSED),
            ("all tasks, cached features", "lora", (), CLOSED),
            ("all tasks, LoRA of rank 8", "lora", ("block_1", "block_2"), LIVE),
        ):
            rounds = [
                [train(data, mode, opened, entry, is_plain) for is_plain in (False, True)]
                for _ in range(ROUNDS)
            ]
            ours, plain = (statistics.median(r[way][0] for r in rounds) for way in (0, 1))
            difference = max(abs(a - b) for a, b in zip(*(w[1] for w in rounds[0]), strict=True))
            if difference > 1e-3:
                raise SystemExit(f"The losses of {name} differ by {difference}.")
            print(
                f"{name:<28} {1e3 * ours:4.0f} against {1e3 * plain:4.0f} CPU ms a step, "
                f"{plain / ours:.2f} times less, losses within {difference:.0e}"
            )


def train(
    data: RetrievalData, mode: str, opened: tuple[str, ...], entry: int | None, is_plain: bool
) -> tuple[float, list[float]]:
    """CPU seconds of a step, and the losses of all steps."""
    torch.utils.deterministic.fill_uninitialized_memory = is_plain
    blocks = () if mode == "none" else ("block_1", "block_2")
    plan = make_plan(data, mode, blocks)
    torch.manual_seed(0)
    model, groups = build_model(data.backbone, plan.spec)
    model.train()
    if is_plain:
        make_plain(model)
    open_parameters(model, groups, {"adapters", "heads", *opened})
    optimizer = build_adamw(model, groups, OPTIMIZER)
    for group in optimizer.param_groups:
        group["fused"] = None if is_plain else group["fused"]
    tables, sources = data.sources("train", MAX_TOKENS)
    samples = RetrievalSamples(
        tables,
        sources,
        captions_per_image=2,
        regions_per_image=plan.regions_per_image if mode != "none" else 0,
        entry=lambda: entry,
        seed=0,
    )
    losses, values, seconds = RetrievalLosses(tuple(plan.params.loss_weights)), [], []
    for step in range(STEPS + 1):
        start = time.process_time()
        batch = samples.batch((torch.arange(BATCH) + step * BATCH) % len(samples))
        terms = losses(model, batch)
        total = sum(WEIGHTS[name] * term for name, term in terms.items())
        optimizer.zero_grad()
        total.backward()
        clip_gradients(optimizer, 1.0)
        optimizer.step()
        seconds.append(time.process_time() - start)
        values.append(float(total.detach()))
    # The first step pays for what later ones find ready.
    return statistics.mean(seconds[1:]), values[:2]


def make_plain(model: RetrievalModel) -> None:
    """Undo what a step saves."""
    model.groups_texts = False
    heads = model.heads
    match, boxes, relations = heads.match_logits, heads.predict_boxes, heads.relation_logits
    heads.match_logits = lambda patches, text, index: match(patches[index], text)
    heads.predict_boxes = lambda patches, text, index: boxes(patches[index], text)

    def relation_logits(patches: Tensor, first: Tensor, second: Tensor, index: Tensor) -> Tensor:
        return relations(patches[index], first, second)

    heads.relation_logits = relation_logits


def make_data(folder: Path) -> RetrievalData:
    rng = np.random.default_rng(0)

    def text(low: int, high: int) -> str:
        return " ".join(rng.choice(WORDS, rng.integers(low, high)))

    rows, captions, regions = [], [], []
    for i in range(NUM_IMAGES):
        split = "val" if i % 16 == 0 else "train"
        names = {"image_id": f"{i:04d}", "building_id": f"{i:04d}", "sha256": f"key-{i}"}
        row = {**names, "split": split}
        rows.append(row)
        # As in the embedded world: captions of 27 to 53 tokens, sentences of 10 to 20.
        captions += [{**row, "caption_id": f"{i:04d}#c{n}", "text": text(27, 54)} for n in range(3)]
        for n in range(3):
            box = dict(zip(("cx", "cy"), rng.uniform(0.2, 0.8, 2), strict=True))
            names = {"region_id": f"{i:04d}#r{n}", "sentence": text(10, 21), "has_box": True}
            regions.append({**row, **names, **box, "w": 0.2, "h": 0.2})
    located = pd.DataFrame(regions)
    tables = RetrievalTables(
        pd.DataFrame(rows), pd.DataFrame(captions), located, relation_table(located)
    )
    tokenizer = train_tokenizer([" ".join(WORDS)] * 2, 400)
    config = internvl_config(
        width=96, num_blocks=2, image_size_px=EDGE_PX, patch_size_px=12, tokenizer=tokenizer
    )
    random_internvl(config, 0).save_pretrained(folder / "backbone")
    tokenizer.save_pretrained(folder / "backbone")
    backbone = Backbone(str(folder / "backbone"), "bench", "pocket")
    images = rng.integers(0, 255, (NUM_IMAGES, EDGE_PX, EDGE_PX, 3), dtype=np.uint8)
    store = FeatureStore(str(folder / "store"), 1)
    keys = tables.images["sha256"].tolist()
    pixels = build_cache(store, {"bench": 1}, keys, lambda chosen: images[list(chosen)])
    encoding = Encoding(64, "float16", "cpu")
    caches = RetrievalCaches(
        cache_image_tokens(store, backbone, pixels, keys, backbone.sizes.grid, encoding),
        cache_text_tokens(store, backbone, tables.texts, MAX_TOKENS, encoding),
        pixels,
    )
    return RetrievalData(backbone, tables, caches)


if __name__ == "__main__":
    main()
