"""Visual thoughts: cached teachers against live ones, the curriculum's price, decoding.

Everything in one process, one thread, CPU seconds, medians of alternating rounds. The cached and
the live targets must be equal, and so must batches of one step whoever asks for them.
"""

import logging
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from transformers import Dinov2Config, Dinov2Model

from aquatint.data.conversation_report import split_conversations
from aquatint.data.conversations import ReadRules, read_conversations
from aquatint.data.visual_thought_prompts import example_thoughts
from aquatint.features.anchors import AnchorReader, cache_anchors
from aquatint.features.cache import FeatureStore
from aquatint.features.conversation_images import ConversationImages, cache_pixels
from aquatint.models.architectures import ARCHITECTURES
from aquatint.models.backbone import Backbone, folder_digest
from aquatint.models.pocket import qwen_config, random_qwen, train_tokenizer
from aquatint.models.teacher_source import TeacherSource
from aquatint.models.teachers import build_teacher
from aquatint.params import RunParams
from aquatint.training.covt_curriculum import Curriculum
from aquatint.training.covt_decoding import decode_thoughts, open_heads
from aquatint.training.covt_inference import Manner, ThoughtWriter, Writing, write_answers
from aquatint.training.covt_losses import ThoughtLosses
from aquatint.training.covt_samples import (
    SampleRules,
    ThoughtData,
    ThoughtEncoder,
    ThoughtSamples,
    style_from,
)
from aquatint.training.covt_stage import build_thoughts
from aquatint.world.visual_records import VisualWorldSpec, write_visual_world

EDGE_PX, PATCH_PX, WIDTH, BATCH, ROUNDS = 96, 12, 96, 16, 5
TOKENS = (("sam", 8), ("depth", 4), ("dino", 4))


def build_backbone(folder):
    kind = ARCHITECTURES["qwen2_5_vl"]
    tokenizer = train_tokenizer(8 * example_thoughts(), 640, kind)
    config = qwen_config(
        kind, width=WIDTH, num_blocks=2, image_size_px=EDGE_PX, patch_size_px=PATCH_PX,
        tokenizer=tokenizer,
    )  # fmt: skip
    random_qwen(kind, config, seed=0).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return Backbone(str(folder), folder_digest(folder), "bench")


def build_data(root):
    """Sixty-four images; DINOv2-small's shape for the dino anchor: random weights cost alike."""
    world = root / "world"
    write_visual_world(world, VisualWorldSpec(32, 2, 4, 1, EDGE_PX, 0))
    names = [str(world / name) for name in ("data.json", "data.jsonl", "data.parquet")]
    rules = ReadRules("tolerant", 0.9, 10_000_000, "folder")
    turns, images, _ = read_conversations(names, str(world / "images"), rules)
    turns, images = split_conversations(turns, images, {"val": 0.0, "test": 0.1}, 0)
    torch.manual_seed(0)
    config = Dinov2Config(hidden_size=384, num_attention_heads=6, image_size=224)
    Dinov2Model(config).save_pretrained(root / "dino")
    sources = {name: TeacherSource(name, "world") for name in ("sam", "depth")}
    sources["dino"] = TeacherSource("dino", "folder", str(root / "dino"), "bench", 224)
    shown = ConversationImages(images, str(world / "images"))
    store = FeatureStore(str(root / "store"), 5)
    anchors = cache_anchors(store, shown, sources, str(world / "truth"))
    backbone = build_backbone(root / "backbone")
    return (
        ThoughtData(backbone, turns, cache_pixels(store, shown, EDGE_PX), anchors),
        shown,
        sources,
    )


def median_of(functions):
    """Median CPU seconds of each function over alternating rounds."""
    times = [[] for _ in functions]
    for _ in range(ROUNDS):
        for held, function in zip(times, functions, strict=True):
            started = time.process_time()
            function()
            held.append(time.process_time() - started)
    return [statistics.median(held) for held in times]


def build_model(data, samples):
    spec = {
        "lora": {"r": 16, "lora_alpha": 32, "lora_dropout": 0.01},
        "num_tokens": [list(pair) for pair in TOKENS], "image_px": EDGE_PX, "sees_images": True,
        "first_id": samples.encoder.added_ids[0], "norm_axis": "features",
        "shapes": {name: data.anchors.shapes[name] for name, _ in TOKENS},
        "mask_teacher": {"name": "sam", "source": "world"},
    }  # fmt: skip
    run = RunParams(
        seed=0, device="cpu", precision="float32", num_threads=1, save_state_every_steps=1000,
        save_state_every_minutes=60,
    )  # fmt: skip
    return build_thoughts(data.backbone, spec, run), spec


def bench_teachers(data, shown, sources, samples, model):
    """A whole step with targets from the cache, and with the teacher run on the step's images."""
    reader = AnchorReader(data.anchors, ["dino"])
    teacher = build_teacher(sources["dino"], "")
    keys = shown.keys[:BATCH]
    losses = ThoughtLosses([name for name, _ in TOKENS])
    positions = torch.arange(BATCH)

    def cached():
        batch = samples.batch(positions)
        sum(losses(model, batch).values()).backward()
        return reader.read("dino", keys)[0]

    def live():
        cached()
        images = [np.asarray(image) for image in shown.load(range(BATCH))]
        from aquatint.features.conversation_images import resize

        return teacher.encode([resize(image, 224) for image in images], keys)["target"]

    gap = np.abs(cached().numpy() - live().astype(np.float32)).max()
    fast, slow = median_of([cached, live])
    print(f"step of {BATCH}, targets from the cache      {1000 * fast:8.1f} ms")
    print(f"the same, DINOv2-small run in the step   {1000 * slow:8.1f} ms   {slow / fast:5.1f} x")
    print(f"  largest difference of a target {gap:.1e}")


def bench_curriculum(samples, fixed):
    """Batches drawn by the step's format, and in one format always."""
    positions = torch.arange(BATCH)

    def draw(source):
        for step in range(0, 40):
            source.begin_step(step)
            source.batch(positions)

    ours, plain = median_of([lambda: draw(samples), lambda: draw(fixed)])
    samples.begin_step(7)
    first = samples.batch(positions)
    samples.begin_step(3)
    samples.begin_step(7)
    is_same = all(torch.equal(v, samples.batch(positions)[k]) for k, v in first.items()
               if hasattr(v, "shape"))  # fmt: skip
    print(f"  a batch is a function of its step: {is_same}")
    print(f"40 batches by curriculum                 {1000 * ours:8.1f} ms")
    print(
        f"40 batches of stage 3 always             {1000 * plain:8.1f} ms   {ours / plain:5.2f} x"
    )


def bench_decoding(data, spec, weights):
    """Answers alone, answers behind a whole thought, and the thought decoded to maps."""
    from aquatint.training.checkpoint import Checkpoint

    encoder = ThoughtEncoder(data.backbone, style_from(TOKENS), EDGE_PX)
    model = data.backbone.load()
    model.resize_token_embeddings(encoder.added_ids[-1] + 1, mean_resizing=False)
    writer = ThoughtWriter(model, data.backbone, encoder, data.pixels.open())
    turns = data.of_split("train").head(64)
    heads = open_heads(Checkpoint(weights, spec), WIDTH, "cpu")
    reader = AnchorReader(data.anchors, [name for name, _ in TOKENS])
    writing = Writing(8, 64, 0)
    written = write_answers(writer, turns, Manner("spans", "spans"), writing)

    def decode():
        found = decode_thoughts(
            writer, heads, turns, written, lambda name, keys: reader.read(name, keys)[1], writing
        )
        return len(list(found))

    print(f"  {decode()} of {len(turns)} thoughts decoded")
    plain, spans, maps = median_of(
        [
            lambda: write_answers(writer, turns, Manner("plain"), writing),
            lambda: write_answers(writer, turns, Manner("spans", "spans"), writing),
            decode,
        ]
    )
    for label, seconds in (("answer of 8 tokens", plain), ("behind a given thought", spans),
                           ("its thought decoded to maps", maps)):  # fmt: skip
        each = 1000 * seconds / len(turns)
        print(f"{label:<40} {each:8.1f} ms   {seconds / plain:5.1f} x")


def main():
    logging.disable(logging.INFO)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        data, shown, sources = build_data(Path(folder))
        encoder = ThoughtEncoder(data.backbone, style_from(TOKENS), EDGE_PX)
        turns = data.of_split("train")

        def make(curriculum):
            rules = SampleRules(curriculum, 0, True, 0)
            return ThoughtSamples(turns, encoder, data.pixels, data.anchors, rules)

        samples, fixed = make(Curriculum(0, 12, 24, 40)), make(Curriculum(0, 0, 99, 99))
        samples.begin_step(20)
        (model, _), spec = build_model(data, samples)
        bench_teachers(data, shown, sources, samples, model)
        bench_curriculum(samples, fixed)
        weights = {n: p.detach() for n, p in model.named_parameters() if n.startswith("heads.")}
        bench_decoding(data, spec, weights)


if __name__ == "__main__":
    main()
