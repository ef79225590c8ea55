"""A random pocket Qwen2-VL, a tiny export on disk and its data, shared by tests of inspection."""

import hashlib

import numpy as np
import pandas as pd
import pytest
from PIL import Image

CLASS_MAP = {
    "Toe drain": {"object_type": "toe_drain", "condition": "normal"},
    "Toe drain- Blocked": {"object_type": "toe_drain", "condition": "blocked"},
    "Toe drain- Damaged": {"object_type": "toe_drain", "condition": "damaged"},
    "rock toe": {"object_type": "rock_toe", "condition": "normal"},
    "rock toe damaged": {"object_type": "rock_toe", "condition": "damaged"},
    "slope drain": {"object_type": "slope_drain", "condition": "normal"},
    "slope drain blocked": {"object_type": "slope_drain", "condition": "blocked"},
    "slope drain damaged": {"object_type": "slope_drain", "condition": "damaged"},
    "vegetation": {"object_type": "vegetation", "condition": "normal"},
}
NAMES = list(CLASS_MAP)
# Objects of the toy data: a color for each condition, so that only the picture tells it.
_COLORS = {"normal": (40, 60, 200), "damaged": (210, 40, 30), "blocked": (30, 200, 40)}


def write_qwen(folder, architecture="qwen2_vl", width=32):
    """A random pocket model with tokenizer and image processor."""
    from transformers import Qwen2VLImageProcessorPil

    from aquatint.data.inspection_prompts import example_dialogues
    from aquatint.models.architectures import require_architecture
    from aquatint.models.pocket import qwen_config, random_qwen, train_tokenizer

    kind = require_architecture(architecture)
    tokenizer = train_tokenizer(example_dialogues(), 420, kind)
    config = qwen_config(
        kind, width=width, num_blocks=2, image_size_px=48, patch_size_px=12, tokenizer=tokenizer
    )
    model = random_qwen(kind, config, seed=0)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    mean, std = kind.image_statistics
    Qwen2VLImageProcessorPil(
        patch_size=12, merge_size=2, size={"shortest_edge": 576, "longest_edge": 9216},
        image_mean=list(mean), image_std=list(std),
    ).save_pretrained(folder)  # fmt: skip
    return model


@pytest.fixture(scope="session")
def qwen_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("qwen")
    write_qwen(folder)
    return folder


@pytest.fixture(scope="session")
def qwen_backbone(qwen_folder):
    from aquatint.models.backbone import Backbone, folder_digest

    return Backbone(str(qwen_folder), folder_digest(qwen_folder), "pocket")


def toy_tables(image_root, num_photos=24, shuffled_labels=False):
    """Photographs of one slope drain each; the condition is its color and nothing else."""
    rng = np.random.default_rng(0)
    photos, instances = [], []
    conditions = ["normal", "damaged", "blocked"]
    labels = [conditions[i % 3] for i in range(num_photos)]
    shown = list(rng.permutation(labels)) if shuffled_labels else labels
    for number, (label, color) in enumerate(zip(labels, shown, strict=True)):
        image_id, split = f"p{number:03d}", "train"
        split = "test" if number % 4 == 3 else "val" if number % 8 == 2 else "train"
        pixels = rng.integers(90, 120, (60, 60, 3), dtype=np.uint8)
        pixels[15:45, 20:40] = _COLORS[color]
        path = f"{image_id}.png"
        Image.fromarray(pixels).save(image_root / path)
        digest = hashlib.sha256(pixels.tobytes()).hexdigest()
        common = {"image_id": image_id, "split": split, "source_group": image_id}
        photos.append({**common, "path": path, "width": 60, "height": 60, "sha256": digest,
                       "n_objects": 1})  # fmt: skip
        name = {"normal": "slope drain", "damaged": "slope drain damaged",
                "blocked": "slope drain blocked"}[label]  # fmt: skip
        box = {"x1": 1 / 3, "y1": 0.25, "x2": 2 / 3, "y2": 0.75, "cx": 0.5, "cy": 0.5}
        instances.append({**common, **box, "instance_id": f"{image_id}#1", "image_path": path,
                          "class_id": NAMES.index(name), "class_name": name,
                          "object_type": "slope_drain", "condition": label, "area": 1 / 6,
                          "position": "middle", "n_objects": 1, "neighbours": []})  # fmt: skip
    return pd.DataFrame(photos), pd.DataFrame(instances)


def toy_data(backbone, root, **options):
    """Data of the toy photographs as the library takes them."""
    from aquatint.data.inspection_prompts import PromptStyle, build_prompts
    from aquatint.features.cache import FeatureStore
    from aquatint.features.frozen import Encoding
    from aquatint.features.views import ViewStyle, cache_views, frame_views
    from aquatint.training.dialogues import InspectionData

    photos, instances = toy_tables(root, **options)
    style = PromptStyle(True, "of_type", position_encoding=True, spatial_reasoning=True)
    prompts = build_prompts(instances, CLASS_MAP, style, {})
    frames = frame_views(instances, photos, ViewStyle("crop", 1.2, 2304, 2304), 24)
    encoding = Encoding(8, "float32", "cpu")
    views = cache_views(FeatureStore(str(root / "store"), 1), backbone, frames, root, encoding)
    return InspectionData(backbone, instances, frames, views, prompts)


@pytest.fixture(scope="session")
def inspection_data(qwen_backbone, tmp_path_factory):
    return toy_data(qwen_backbone, tmp_path_factory.mktemp("toy"))
