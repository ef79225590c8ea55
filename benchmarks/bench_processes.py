"""One process with two threads against two processes with one each: DDP and FSDP2 on a CPU.

Run with ``make bench``. The same training in alternating rounds, on as many threads in all; the
losses of all ways are compared. Prints steps a second within the loop, and what a launch costs
beside it. Says nothing about GPUs.
"""

import logging
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from aquatint.data.relations import relation_table
from aquatint.features.cache import FeatureStore, build_cache
from aquatint.features.frozen import Encoding, cache_image_tokens, cache_text_tokens
from aquatint.models.backbone import Backbone
from aquatint.models.pocket import internvl_config, random_internvl, train_tokenizer
from aquatint.params import OptimizerParams, RunParams, StageParams
from aquatint.training.launch import launch
from aquatint.training.retrieval_models import RetrievalSpec
from aquatint.training.retrieval_samples import RetrievalCaches, RetrievalTables
from aquatint.training.retrieval_stage import RetrievalData, StagePlan, train_retrieval
from aquatint.training.state import TrainingStateFolder

NUM_IMAGES, BATCH, ROUNDS, EDGE_PX = 288, 32, 3, 96
WAYS = {
    "1 process": {"num_processes": 1},
    "2 processes, ddp": {"num_processes": 2},
    "2 processes, fsdp2": {"num_processes": 2, "parallelism": "fsdp2"},
}


def main() -> None:
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        data = make_data(Path(folder))
        for mode, opened in (("none", ()), ("full", ("block_1", "block_2"))):
            plan = make_plan(data, mode, opened)
            found = {name: [] for name in WAYS}
            for number in range(ROUNDS):
                for name, options in WAYS.items():
                    place = Path(folder) / f"{mode}-{number}-{name.replace(' ', '-')}"
                    found[name].append(train(plan, data, options, place))
            report(mode, found)


def train(plan: StagePlan, data: RetrievalData, options: dict, place: Path) -> dict:
    run = RunParams(
        seed=0,
        device="cpu",
        precision="float32",
        num_threads=2,
        save_state_every_steps=1000,
        save_state_every_minutes=60,
        **options,
    )
    start = time.monotonic()
    arguments = (plan, data, None, run, TrainingStateFolder(str(place)))
    checkpoint, history = launch(train_retrieval, arguments, run, place)
    seconds = time.monotonic() - start
    trained = checkpoint.lineage["efficiency"]["train_seconds"]
    return {
        "steps_per_second": len(history) / trained,
        "around": seconds - trained,
        "losses": history["loss"].to_numpy(),
    }


def report(mode: str, found: dict[str, list[dict]]) -> None:
    print(f"backbone.mode {mode}, {NUM_IMAGES} images, batch {BATCH}, torch {torch.__version__}")
    first = next(iter(found))
    base = statistics.median(result["steps_per_second"] for result in found[first])
    losses = found[first][0]["losses"]
    for name, results in found.items():
        speed = statistics.median(result["steps_per_second"] for result in results)
        around = statistics.median(result["around"] for result in results)
        difference = np.abs(results[0]["losses"] - losses).max()
        print(
            f"  {name:<19} {speed:6.2f} steps/s in the loop, ratio {speed / base:.2f}, "
            f"{around:5.1f} s around it, largest difference of a loss {difference:.1e}"
        )


def make_plan(data: RetrievalData, mode: str, opened: tuple[str, ...]) -> StagePlan:
    sizes = data.backbone.sizes
    weights = {"itc": 1.0, "itm": 1.0}
    is_enhanced = mode != "none"
    if is_enhanced:
        weights |= {"bbox": 0.1, "spatial": 0.1}
    heads = {"vision_width": sizes.vision_width, "text_width": sizes.text_width}
    optimizer = OptimizerParams(learning_rate=1e-3, weight_decay=0.01, warmup_fraction=0.1)
    return StagePlan(
        name="stage2" if is_enhanced else "stage1",
        params=StageParams(epochs=2, batch_size=BATCH, optimizer=optimizer, loss_weights=weights),
        spec=RetrievalSpec(
            heads={**heads, "is_enhanced": is_enhanced, "dropout": 0.0, "text_pooling": "mean"},
            token_grid=sizes.grid,
            max_tokens=24,
            mode=mode,
            num_blocks=len(opened),
            lora={},
            backbone_digest=data.backbone.digest,
        ),
        opening=(("adapters", "heads", *opened),),
        captions_per_image=2,
        regions_per_image=1,
        negatives="hard",
    )


def make_data(folder: Path) -> RetrievalData:
    texts = [f"house number {i} beside a road" for i in range(NUM_IMAGES)]
    tokenizer = train_tokenizer(texts, 400)
    config = internvl_config(
        width=96, num_blocks=2, image_size_px=EDGE_PX, patch_size_px=12, tokenizer=tokenizer
    )
    random_internvl(config, 0).save_pretrained(folder / "backbone")
    tokenizer.save_pretrained(folder / "backbone")
    backbone = Backbone(str(folder / "backbone"), "bench", "pocket")
    tables = make_tables(texts)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (NUM_IMAGES, EDGE_PX, EDGE_PX, 3), dtype=np.uint8)
    store = FeatureStore(str(folder / "store"), 1)
    keys = tables.images["sha256"].tolist()
    pixels = build_cache(store, {"bench": 1}, keys, lambda rows: images[list(rows)])
    encoding = Encoding(64, "float32", "cpu")
    caches = RetrievalCaches(
        cache_image_tokens(store, backbone, pixels, keys, backbone.sizes.grid, encoding),
        cache_text_tokens(store, backbone, texts, 24, encoding),
        pixels,
    )
    return RetrievalData(backbone, tables, caches)


def make_tables(texts: list[str]) -> RetrievalTables:
    rows = []
    for i, text in enumerate(texts):
        split = "val" if i % 9 == 0 else "train"
        names = {"image_id": f"{i:04d}", "building_id": f"{i:04d}", "sha256": f"key-{i}"}
        rows.append({**names, "split": split, "text": text, "sentence": text})
    table = pd.DataFrame(rows)
    captions = table.assign(caption_id=table["image_id"])
    boxes = [{"cx": 0.3, "cy": 0.3, "w": 0.2, "h": 0.2}, {"cx": 0.7, "cy": 0.5, "w": 0.3, "h": 0.2}]
    regions = pd.concat(
        [
            table.assign(region_id=table["image_id"] + f"#{n}", has_box=True, **box)
            for n, box in enumerate(boxes)
        ],
        ignore_index=True,
    )
    return RetrievalTables(table, captions, regions, relation_table(regions))


if __name__ == "__main__":
    main()
