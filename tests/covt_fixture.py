"""A random pocket Qwen2.5-VL and a handful of rendered conversations, shared by tests of covt."""

import dataclasses

import pytest

NUM_TOKENS = (("sam", 8), ("depth", 4), ("dino", 4), ("pidinet", 4), ("metaclip", 4), ("siglip", 4))
IMAGE_PX = 48


def write_covt_backbone(folder, width=32):
    """The real class with random weights, a tokenizer that knows the words, an image processor."""
    from transformers import Qwen2VLImageProcessorPil

    from aquatint.data.visual_thought_prompts import example_thoughts
    from aquatint.models.architectures import require_architecture
    from aquatint.models.pocket import qwen_config, random_qwen, train_tokenizer

    kind = require_architecture("qwen2_5_vl")
    tokenizer = train_tokenizer(8 * example_thoughts(), 420, kind)
    config = qwen_config(
        kind, width=width, num_blocks=2, image_size_px=IMAGE_PX, patch_size_px=12,
        tokenizer=tokenizer,
    )  # fmt: skip
    model = random_qwen(kind, config, seed=0)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    mean, std = kind.image_statistics
    Qwen2VLImageProcessorPil(
        patch_size=12, merge_size=2, size={"shortest_edge": 576, "longest_edge": 9216},
        image_mean=list(mean), image_std=list(std),
    ).save_pretrained(folder)  # fmt: skip


@pytest.fixture(scope="session")
def covt_backbone(tmp_path_factory):
    from aquatint.models.backbone import Backbone, folder_digest

    folder = tmp_path_factory.mktemp("qwen2_5")
    write_covt_backbone(folder)
    return Backbone(str(folder), folder_digest(folder), "pocket")


@pytest.fixture(scope="session")
def visual_world(tmp_path_factory):
    from aquatint.world.visual_records import VisualWorldSpec, write_visual_world

    folder = tmp_path_factory.mktemp("visual") / "world"
    write_visual_world(folder, VisualWorldSpec(10, 2, 3, 2, IMAGE_PX, 0))
    return folder


@pytest.fixture(scope="session")
def covt_data(covt_backbone, visual_world, tmp_path_factory):
    """Turns, squares and targets of all six anchors."""
    from aquatint.data.conversation_report import split_conversations
    from aquatint.data.conversations import ReadRules, read_conversations
    from aquatint.features.anchors import cache_anchors
    from aquatint.features.cache import FeatureStore
    from aquatint.features.conversation_images import ConversationImages, cache_pixels
    from aquatint.models.teacher_source import TeacherSource
    from aquatint.training.covt_samples import ThoughtData

    files = [str(visual_world / name) for name in ("data.json", "data.jsonl", "data.parquet")]
    root = str(visual_world / "images")
    turns, images, _ = read_conversations(
        files, root, ReadRules("tolerant", 0.9, 10_000_000, "folder")
    )
    turns, images = split_conversations(turns, images, {"val": 0.0, "test": 0.3}, 0)
    shown = ConversationImages(images, root)
    store = FeatureStore(str(tmp_path_factory.mktemp("store")), 1)
    sources = {name: TeacherSource(name, "world") for name, _ in NUM_TOKENS}
    anchors = cache_anchors(store, shown, sources, str(visual_world / "truth"))
    return ThoughtData(covt_backbone, turns, cache_pixels(store, shown, IMAGE_PX), anchors)


def first_turns(data, count):
    """The same data with its first train turns alone."""
    train = data.turns[data.turns["split"] == "train"].head(count)
    return dataclasses.replace(data, turns=train)
