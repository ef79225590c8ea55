from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from kedro.io import DataCatalog, MemoryDataset
from kedro.runner import SequentialRunner
from PIL import Image

from aquatint.data.sources import RoboSenseFolder
from aquatint.features.cache import FeatureStore
from aquatint.models.backbone import Backbone
from aquatint.params import RunParams
from aquatint.pipelines.robosense import create_pipeline, nodes
from aquatint.pipelines.robosense.params import EmbeddingParams, ExtractionParams, ReadParams
from aquatint.training.checkpoint import Checkpoint

CONF = Path(__file__).parents[2] / "conf"
NUM_IMAGES = 12
TEXTS = ["A red house left of the tree.", "A road and two cars.", "Many trees at the bottom."]
GIVEN = "two_stage.stage2.checkpoint"


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    """A random InternVL as small as the real class goes."""
    from aquatint.models.backbone import folder_digest
    from aquatint.models.pocket import internvl_config, random_internvl, train_tokenizer

    folder = tmp_path_factory.mktemp("backbone")
    tokenizer = train_tokenizer(TEXTS, 400)
    config = internvl_config(
        width=32, num_blocks=1, image_size_px=48, patch_size_px=12, tokenizer=tokenizer
    )
    random_internvl(config, seed=0).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return Backbone(str(folder), folder_digest(folder), "pocket")


def make_checkpoint(backbone, mode):
    from aquatint.training.retrieval_models import RetrievalSpec, build_model

    spec = RetrievalSpec(
        heads={"vision_width": 32, "text_width": 32, "is_enhanced": True, "width": 16},
        token_grid=2,
        max_tokens=24,
        mode=mode,
        num_blocks=1 if mode == "lora" else 0,
        lora={"r": 2, "lora_alpha": 2, "lora_dropout": 0.0} if mode == "lora" else {},
        backbone_digest=backbone.digest,
    )
    model, groups = build_model(backbone, spec)
    trained = {name for names in groups.values() for name in names}
    # The heads' buffers too: what they were fitted to is part of a checkpoint.
    weights = {
        name: tensor.detach()
        for name, tensor in model.state_dict().items()
        if name in trained or name.startswith("heads.")
    }
    return Checkpoint(weights, asdict(spec))


@pytest.fixture
def challenge(tmp_path):
    root = tmp_path / "images"
    root.mkdir()
    for number in range(NUM_IMAGES):
        pixels = np.random.default_rng(number).integers(0, 255, (48, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"image_{number:04x}.jpeg")
    lines = [f"q_{number:05d}\t{text}\n" for number, text in enumerate(TEXTS, start=1)]
    (tmp_path / "test_queries.txt").write_text("".join(lines))
    return RoboSenseFolder(str(tmp_path / "test_queries.txt"), str(root))


class KeptDataset(MemoryDataset):
    """What the runner does not forget once its last reader is done."""

    def _release(self):
        pass


def run_recipe(challenge, backbone, checkpoint, store):
    run = RunParams(
        seed=0,
        device="cpu",
        precision="float32",
        num_threads=1,
        save_state_every_steps=1,
        save_state_every_minutes=1,
    )
    given = {
        "robosense.data.raw": challenge,
        "backbone": backbone,
        "feature_store": FeatureStore(str(store), 1.0),
        GIVEN: checkpoint,
        "params:run": run,
        "params:robosense.data.read": ReadParams(max_pixels=10_000),
        "params:robosense.features.extraction": ExtractionParams(batch_size=5, dtype="float32"),
        "params:robosense.submission.embedding": EmbeddingParams(batch_size=5),
    }
    pipeline = create_pipeline()
    assert pipeline.inputs() == set(given)
    kept = {name: KeptDataset() for name in pipeline.all_outputs()}
    inputs = {name: MemoryDataset(value, copy_mode="assign") for name, value in given.items()}
    catalog = DataCatalog({**inputs, **kept})
    SequentialRunner().run(pipeline, catalog)
    return {name.removeprefix("robosense."): catalog.load(name) for name in kept}


@pytest.mark.parametrize("mode", ["none", "lora"])
def test_a_challenge_becomes_a_valid_submission(challenge, backbone, tmp_path, mode):
    checkpoint = make_checkpoint(backbone, mode)
    results = run_recipe(challenge, backbone, checkpoint, tmp_path / "store")
    assert results["submission.validation"] == {
        "is_valid": True,
        "ranked_images_per_query": 10,
        "n": {"queries": 3, "images": NUM_IMAGES},
    }
    images, texts = (
        results[f"submission.{side}_embeds"].filter(regex=r"^e\d+$").to_numpy()
        for side in ("image", "text")
    )
    assert images.shape == (NUM_IMAGES, 16)
    lines = results["submission.submission"].splitlines()
    assert len(lines) == 3
    for number, (line, similarity) in enumerate(zip(lines, texts @ images.T, strict=True), start=1):
        nearest = [f"image_{index:04x}" for index in np.argsort(-similarity)[:10]]
        assert line.split(" ") == [f"q{number}", *nearest]


def test_grid_and_length_of_the_features_are_the_checkpoints(challenge, backbone, tmp_path):
    results = run_recipe(challenge, backbone, make_checkpoint(backbone, "none"), tmp_path / "store")
    assert results["features.image_features"].recipe["token_grid"] == 2
    assert results["features.text_features"].recipe["max_tokens"] == 24


def test_ten_images_are_needed(challenge, backbone, tmp_path):
    for number in range(9, NUM_IMAGES):
        (Path(challenge.image_root) / f"image_{number:04x}.jpeg").unlink()
    checkpoint = make_checkpoint(backbone, "none")
    with pytest.raises(ValueError, match=r"q_00001 needs 10 different images, got 9"):
        run_recipe(challenge, backbone, checkpoint, tmp_path / "store")


def test_a_checkpoint_of_another_backbone_is_refused(challenge, backbone, tmp_path):
    checkpoint = make_checkpoint(backbone, "none")
    other = Backbone(backbone.folder, "f" * 64, "other")
    with pytest.raises(ValueError, match=r"weights belong to a backbone with digest"):
        run_recipe(challenge, other, checkpoint, tmp_path / "store")


def test_the_nearest_images_come_first():
    angles = np.linspace(0, 1.5, NUM_IMAGES)
    images = pd.DataFrame(
        {
            "image_id": [f"image_{number:04x}" for number in range(NUM_IMAGES)],
            "e000": np.cos(angles),
            "e001": np.sin(angles),
        }
    )
    texts = pd.DataFrame(
        {"caption_id": ["q_00001", "q_00002"], "e000": [1.0, 0.0], "e001": [0.0, 1.0]}
    )
    first, second = nodes.write_submission(images, texts).splitlines()
    assert first == " ".join(["q1", *images["image_id"][:10]])
    assert second == " ".join(["q2", *images["image_id"][:1:-1]])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text.replace("image_0000", "image_ffff", 1), r"line 1 must name images of"),
        (lambda text: text.replace("q2", "q7"), r"line 2 must answer q2"),
        (lambda text: text.replace(" ", "\t", 1), r"line 1 must have 11 fields"),
        (lambda text: text.splitlines()[0], r"one line for each of 2 queries, got 1"),
    ],
)
def test_a_bad_submission_is_refused(damage, message):
    gallery = pd.DataFrame({"image_id": [f"image_{number:04x}" for number in range(NUM_IMAGES)]})
    queries = pd.DataFrame({"query_id": ["q_00001", "q_00002"]})
    ranked = " ".join(gallery["image_id"][:10])
    text = f"q1 {ranked}\nq2 {ranked}\n"
    assert nodes.check_submission(text, queries, gallery)["n"] == {"queries": 2, "images": 12}
    with pytest.raises(ValueError, match=message):
        nodes.check_submission(damage(text), queries, gallery)


def world_of(environment, recipe):
    content = yaml.safe_load((CONF / environment / f"catalog_{recipe}.yml").read_text())
    return content[f"{recipe}.data.raw"]["world"]


def test_no_stage_has_seen_the_buildings_of_the_challenge():
    assert world_of("base", "robosense") == world_of("base", "two_stage")
    # A scene follows from seed and number: another seed has other scenes whatever the numbers.
    assert world_of("test", "robosense")["seed"] != world_of("test", "two_stage")["seed"]
