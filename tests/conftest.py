"""Fixtures of more than one folder: a random pocket backbone and the tables of a tiny world."""

import gc
import json
import logging
import os
import shutil

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ["HF_HUB_OFFLINE"] = "1"

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from covt_fixture import covt_backbone, covt_data, visual_world  # noqa: F401
from inspection_fixture import inspection_data, qwen_backbone, qwen_folder  # noqa: F401
from navigation_fixture import (  # noqa: F401
    navigation_backbone,
    navigation_data,
    pad_world,
)
from vla_fixture import vla_backbone, vla_data  # noqa: F401

PROJECT = Path(__file__).parents[1]
COLOURS = ("red", "blue", "white", "black")
PLACES = {"upper left": (0.25, 0.25), "lower right": (0.75, 0.75), "centre": (0.5, 0.5)}
EDGE_PX = 48


# Folders of the slowest files, in the order in which they start.
SLOWEST = ("pipelines", "training", "io")


def pytest_collection_modifyitems(items):
    """Start the slowest files first: one that starts late runs on alone when all others are done.

    With ``--dist loadfile --no-loadscope-reorder`` files go to processes in this order; xdist's own
    puts those of few tests last, which are the longest here.
    """
    items.sort(key=lambda item: _place(item.path.parent.name))


def _place(folder):
    return SLOWEST.index(folder) if folder in SLOWEST else len(SLOWEST)


@pytest.fixture(autouse=True)
def _logging_as_before():
    """Give each test the levels it would find alone: commands and benchmarks quiet this process."""
    loggers = [logging.getLogger(name) for name in ("", "aquatint", "kedro", "kedro.runner")]
    levels, disabled = [logger.level for logger in loggers], logging.root.manager.disable
    yield
    logging.disable(disabled)
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@pytest.fixture(scope="session", autouse=True)
def _as_a_run_computes():
    """Whatever a test computes first: one thread, and products as after ``prepare_device``."""
    import torch

    from aquatint.training.matrix_products import multiply_by_onednn

    torch.set_num_threads(1)
    multiply_by_onednn()


@pytest.fixture(scope="session", autouse=True)
def _seldom_collected():
    """Look for garbage seldom, and not in what was imported: a seventh of the time of trainings."""
    from aquatint.processes import collect_seldom

    gc.freeze()
    collect_seldom()


@pytest.fixture(scope="session", autouse=True)
def _backbones_loaded_once():
    """Load the tiny backbones of tests from their files once; to copy one takes a quarter."""
    from aquatint.models import backbone
    from remembered import load_once

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backbone, "load_model", load_once)
        yield


def write_pocket(folder, num_blocks, scale=1.0):
    """Write a random pocket InternVL: the real class, 32 wide, 48 px.

    At the usual scale each block is nearly the identity, and skipping one would hardly show.
    """
    from aquatint.models.pocket import internvl_config, random_internvl, train_tokenizer

    texts = [f"A {colour} house in the {place}." for colour in COLOURS for place in PLACES]
    tokenizer = train_tokenizer(texts, 400)
    config = internvl_config(
        width=32,
        num_blocks=num_blocks,
        image_size_px=EDGE_PX,
        patch_size_px=12,
        tokenizer=tokenizer,
    )
    model = random_internvl(config, seed=0)
    for parameter in model.parameters():
        if parameter.ndim == 2:
            parameter.data *= scale
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def open_pocket(folder):
    from aquatint.models.backbone import Backbone, folder_digest

    return Backbone(str(folder), folder_digest(folder), "pocket")


@pytest.fixture(scope="session")
def pocket_folder(tmp_path_factory):
    return write_pocket(tmp_path_factory.mktemp("pocket"), num_blocks=2)


@pytest.fixture(scope="session")
def backbone(pocket_folder):
    return open_pocket(pocket_folder)


@pytest.fixture(scope="session")
def deep_backbone(tmp_path_factory):
    """Four blocks a tower: several freezing boundaries."""
    return open_pocket(write_pocket(tmp_path_factory.mktemp("deep"), num_blocks=4, scale=8.0))


@pytest.fixture(scope="session")
def run_params():
    from aquatint.params import RunParams

    return RunParams(
        seed=0,
        device="cpu",
        precision="float32",
        num_threads=1,
        save_state_every_steps=1000,
        save_state_every_minutes=60,
    )


@pytest.fixture(scope="session")
def retrieval_data(backbone, tmp_path_factory):
    return make_retrieval_data(backbone, tmp_path_factory.mktemp("store"))


@pytest.fixture
def deep_data(deep_backbone, tmp_path):
    return make_retrieval_data(deep_backbone, tmp_path / "store")


def make_retrieval_data(backbone, root):
    """Twelve images of six buildings, a coloured square each, with captions and one region."""
    from aquatint.data.relations import relation_table
    from aquatint.features.cache import FeatureStore, build_cache
    from aquatint.features.frozen import Encoding, cache_image_tokens, cache_text_tokens
    from aquatint.training.retrieval_data import RetrievalData
    from aquatint.training.retrieval_samples import RetrievalCaches, RetrievalTables

    images, captions, regions, pixels = _coloured_squares()
    relations = relation_table(regions)
    store = FeatureStore(str(root), max_gigabytes=1)
    keys = images["sha256"].tolist()
    stored = build_cache(store, {"kind": "pixels"}, keys, lambda rows: pixels[list(rows)])
    encoding = Encoding(batch_size=4, dtype="float32", device="cpu")
    texts = [*captions["text"], *regions["sentence"]]
    caches = RetrievalCaches(
        cache_image_tokens(store, backbone, stored, keys, backbone.sizes.grid, encoding),
        cache_text_tokens(store, backbone, texts, 24, encoding),
        stored,
    )
    tables = RetrievalTables(images, captions, regions, relations)
    return RetrievalData(backbone, tables, caches, store)


def _coloured_squares():
    rng = np.random.default_rng(0)
    images, captions, regions, pixels = [], [], [], []
    splits = ("train", "train", "train", "train", "val", "test")
    for building, split in enumerate(splits):
        for view in range(2):
            colour = COLOURS[(building + view) % len(COLOURS)]
            place, (x, y) = list(PLACES.items())[(building * 2 + view) % len(PLACES)]
            image_id = f"{building:04d}/{view}.jpeg"
            row = {"image_id": image_id, "building_id": f"{building:04d}", "split": split}
            image = rng.integers(90, 110, (EDGE_PX, EDGE_PX, 3), dtype=np.uint8)
            left, top = int(x * EDGE_PX) - 8, int(y * EDGE_PX) - 8
            image[top : top + 16, left : left + 16] = 60 * COLOURS.index(colour)
            pixels.append(image)
            images.append(
                {**row, "path": image_id, "width": 48, "height": 48, "sha256": f"key-{image_id}"}
            )
            text = f"A {colour} house in the {place}."
            for number in range(2):
                captions.append({**row, "caption_id": f"{image_id}#c{number}", "text": text})
            for number, box in enumerate(((x, y, 1 / 3, 1 / 3), (0.5, 0.2, 0.1, 0.1))):
                located = dict(zip(("cx", "cy", "w", "h"), box, strict=True))
                regions.append(
                    {
                        **row,
                        "region_id": f"{image_id}#r{number}",
                        "sentence": text,
                        **located,
                        "has_box": True,
                    }
                )
    tables = (pd.DataFrame(rows) for rows in (images, captions, regions))
    return (*tables, np.stack(pixels))


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory):
    """A folder that all processes of this run of the tests have in common."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def warm_python(shared_folder):
    """Starts commands that need not import anything; see ``warm_python.py``."""
    from warm_python import WarmPython

    return WarmPython(shared_folder)


@pytest.fixture(scope="session")
def finished(shared_folder):
    """Data root of a finished run of two_stage, one for all processes of the tests.

    Tests that change it take a copy; the first process to end would see it changed.
    """
    root, note = shared_folder / "finished", shared_folder / "finished.json"
    _finish_once(root, note)
    yield root
    changed = set(_files_of(root).items()) ^ set(json.loads(note.read_text()).items())
    assert not changed, f"tests changed the finished run that all share: {sorted(changed)}"


def _finish_once(root, note):
    from aquatint.locks import one_builder
    from project_runs import run_project

    with one_builder(root):
        if not note.exists():
            shutil.rmtree(root, ignore_errors=True)
            run_project(root)
            note.write_text(json.dumps(_files_of(root)))


def _files_of(root):
    """When each file was last written."""
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): path.stat().st_mtime_ns for path in files}
