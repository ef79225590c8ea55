"""The last open blocks on cached hidden states against running the frozen ones in every step.

Run with ``make bench``; ``--wide`` takes blocks as wide as the heads, 256, in place of a pocket
backbone's 96 (minutes). Both ways take the same LoRA steps on random InternVLs of 2, 12 and 24
blocks a tower; the losses of the first epoch are compared. A third way opens every block: of its
cost, k open ones of n should take k/n and what reading takes.
"""

import statistics
import sys
import tempfile
import time

import numpy as np
import torch

from aquatint.features.boundary import cache_hidden_states
from aquatint.features.boundary_costs import FrozenInputs
from aquatint.features.cache import FeatureStore, build_cache
from aquatint.features.frozen import Encoding
from aquatint.features.keys import text_key
from aquatint.features.stored import from_stored
from aquatint.features.text import TextEncoder
from aquatint.models.backbone import Backbone
from aquatint.models.dual_encoder import DualEncoder
from aquatint.models.pocket import internvl_config, random_internvl, train_tokenizer
from aquatint.models.retrieval_model import RetrievalModel, open_backbone

NUM_SAMPLES, BATCH, ROUNDS, MAX_TOKENS = 128, 32, 3, 48
# Epochs of a round from the cache: one alone takes half a second, which other work on the machine
# moves by a quarter.
SHORT_EPOCHS = 5
WIDTH = 256 if "--wide" in sys.argv else 96
TEXT = "a red house in the centre of the picture with a white car to its left and a tree behind it"


def main() -> None:
    torch.set_num_threads(1)
    print(f"LoRA epoch with the last blocks open, {NUM_SAMPLES} pairs, width {WIDTH}")
    for num_blocks, num_open in ((2, 1), (12, 1), (12, 2), (24, 1), (24, 2)):
        with tempfile.TemporaryDirectory() as folder:
            measure(write_backbone(folder, num_blocks), folder, num_blocks, num_open)


def write_backbone(folder: str, num_blocks: int) -> Backbone:
    tokenizer = train_tokenizer([TEXT], 400)
    config = internvl_config(
        width=WIDTH, num_blocks=num_blocks, image_size_px=96, patch_size_px=12, tokenizer=tokenizer
    )
    random_internvl(config, 0).save_pretrained(f"{folder}/backbone")
    tokenizer.save_pretrained(f"{folder}/backbone")
    return Backbone(f"{folder}/backbone", "bench", "pocket")


def measure(backbone: Backbone, folder: str, num_blocks: int, num_open: int) -> None:
    images = np.random.default_rng(0).integers(0, 255, (NUM_SAMPLES, 96, 96, 3), dtype=np.uint8)
    keys, texts = [str(i) for i in range(NUM_SAMPLES)], [f"{TEXT} {i}" for i in range(NUM_SAMPLES)]
    store = FeatureStore(f"{folder}/store", 1)
    pixels = build_cache(store, {"bench": 1}, keys, lambda rows: images[list(rows)])
    inputs = FrozenInputs(
        store,
        backbone,
        pixels,
        keys,
        texts,
        NUM_SAMPLES,
        MAX_TOKENS,
        Encoding(32, "float16", "cpu"),
    )
    start = time.process_time()
    hidden = cache_hidden_states(inputs, depth=num_open)
    building = time.process_time() - start
    model, every = build(backbone, num_open), build(backbone, num_blocks)
    image_reader, text_reader = hidden.images.open(), hidden.texts.open()
    image_places = image_reader.places(keys)
    text_places = text_reader.places([text_key(text) for text in texts])
    ids, mask = TextEncoder(backbone.load_tokenizer(), MAX_TOKENS)(texts)

    def cached(rows: slice) -> dict:
        return {
            "image_tokens": from_stored(image_reader.read(image_places[rows]), "float16"),
            "text_tokens": from_stored(text_reader.read(text_places[rows]), "float16"),
            "attention_mask": mask[rows],
            "depth": num_open,
        }

    def live(rows: slice) -> dict:
        return {
            "pixels": torch.from_numpy(images[rows]),
            "input_ids": ids[rows],
            "attention_mask": mask[rows],
        }

    results = [
        (
            short_epoch(model, cached),
            epoch(model, live),
            epoch(every, live),
            read_all(cached),
        )
        for _ in range(ROUNDS)
    ]
    ours, theirs, full = (statistics.median(r[way][0] for r in results) for way in range(3))
    reading = statistics.median(result[3] for result in results)
    difference = abs(results[0][0][1] - results[0][1][1]) / abs(results[0][1][1])
    share = (num_open / num_blocks + reading / full) * full
    print(f"{num_open} of {num_blocks} blocks: relative difference of the loss {difference:.1e}")
    print(f"  filling the cache    {building:.2f} CPU s, once")
    print(f"  cached hidden states {ours:.2f} CPU s an epoch, {reading:.2f} of them reading")
    print(f"  frozen blocks live   {theirs:.2f} CPU s an epoch, {theirs / ours:.1f} times ours")
    print(f"  every block open     {full:.2f} CPU s an epoch; k/n of it and reading: {share:.2f}")
    print(f"  ours to that         {ours / share:.2f}")


def read_all(read) -> float:
    """CPU seconds of reading all samples."""
    start = time.process_time()
    for begin in range(0, NUM_SAMPLES, BATCH):
        read(slice(begin, begin + BATCH))
    return time.process_time() - start


def build(backbone: Backbone, num_open: int) -> RetrievalModel:
    inner = backbone.load()
    lora = {"r": 16, "lora_alpha": 32, "lora_dropout": 0.0}
    groups = open_backbone(inner, "lora", num_open, lora)
    for names in groups.values():
        for name in names:
            inner.get_parameter(name).requires_grad_(True)
    heads = DualEncoder(vision_width=WIDTH, text_width=WIDTH, is_enhanced=False)
    mean, std = backbone.image_statistics
    return RetrievalModel(
        inner, heads, image_mean=mean, image_std=std, token_grid=backbone.sizes.grid
    ).eval()


def short_epoch(model: RetrievalModel, read) -> tuple[float, float]:
    """CPU seconds of an epoch, the mean of several, and the sum of its losses."""
    results = [epoch(model, read) for _ in range(SHORT_EPOCHS)]
    return statistics.mean(seconds for seconds, _ in results), results[0][1]


def epoch(model: RetrievalModel, read) -> tuple[float, float]:
    """CPU seconds of forward and backward over all samples, and the sum of the losses."""
    start, total = time.process_time(), 0.0
    for begin in range(0, NUM_SAMPLES, BATCH):
        batch = read(slice(begin, begin + BATCH))
        image = model.heads.encode_image(model.encode_images(batch)).embeds
        text = model.embed_texts(batch).embeds
        loss = (image - text).pow(2).sum()
        loss.backward()
        total += float(loss.detach())
    model.zero_grad()
    return time.process_time() - start, total


if __name__ == "__main__":
    main()
