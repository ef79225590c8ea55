import json
import shutil

import pytest
import torch
from internvl_layout import MEAN, STD, write_published_layout
from kedro.io.core import DatasetError
from safetensors.torch import load_file, save_file

from aquatint.io.backbones import BackboneDataset
from aquatint.models.backbone import (
    BackboneError,
    BackboneSizes,
    encode_image_tokens,
    encode_text_tokens,
)

EMBEDDING = "model.language_model.embed_tokens.weight"
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Folder in the published layout and the model it was written from."""
    folder = tmp_path_factory.mktemp("hub") / "InternVL3-1B-hf"
    return folder, write_published_layout(folder).eval()


@pytest.fixture
def folder(published, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(published[0], tmp_path / "InternVL3-1B-hf")


def open_backbone(folder, **options):
    return BackboneDataset(source="folder", filepath=str(folder), **options).load()


def test_its_card_counts_what_the_folder_holds(published):
    folder, written = published
    card = open_backbone(folder).card
    assert card["num_parameters"] == sum(t.numel() for t in written.state_dict().values())
    text, vision = written.config.text_config, written.config.vision_config
    assert card["text_width"] == text.hidden_size
    assert card["num_text_blocks"] == text.num_hidden_layers
    assert card["vocab_size"] == text.vocab_size
    assert card["vision_width"] == vision.hidden_size
    assert card["num_vision_blocks"] == vision.num_hidden_layers
    assert (card["name"], card["architecture"]) == (folder.name, "internvl")


def test_every_published_tensor_arrives_bit_for_bit(published):
    folder, written = published
    names = {name for shard in SHARDS for name in load_file(folder / shard)}
    assert {name.split(".")[0] for name in names} == {
        "language_model",
        "vision_tower",
        "multi_modal_projector",
    }
    loaded = open_backbone(folder, dtype="bfloat16").load().state_dict()
    assert len(loaded) == len(names) == len(written.state_dict()) == 73
    for name, tensor in written.state_dict().items():
        assert loaded[name].dtype == torch.bfloat16
        assert torch.equal(loaded[name], tensor), name


def test_a_single_weight_file_loads_like_shards(published, tmp_path):
    write_published_layout(tmp_path / "single", num_shards=1)
    assert (tmp_path / "single" / "model.safetensors").is_file()
    single = open_backbone(tmp_path / "single").load().state_dict()
    sharded = open_backbone(published[0]).load().state_dict()
    assert all(torch.equal(single[name], sharded[name]) for name in sharded)


def test_the_catalogs_dtype_wins_over_the_files(published):
    folder, _ = published
    assert open_backbone(folder).load().dtype == torch.float32
    assert open_backbone(folder, dtype="bfloat16").load().dtype == torch.bfloat16
    assert open_backbone(folder, dtype="bfloat16").load(dtype="float32").dtype == torch.float32


def test_the_untied_head_survives_tying(published):
    folder, written = published
    assert "tie_word_embeddings" not in (folder / "config.json").read_text()
    model = open_backbone(folder, dtype="bfloat16").load()
    model.tie_weights()
    assert torch.equal(model.lm_head.weight, written.lm_head.weight)
    assert not torch.equal(model.lm_head.weight, model.state_dict()[EMBEDDING])


def test_the_untied_head_survives_saving(published, tmp_path):
    model = open_backbone(published[0], dtype="bfloat16").load()
    model.save_pretrained(tmp_path / "saved")
    again = open_backbone(tmp_path / "saved", dtype="bfloat16").load()
    again.tie_weights()
    assert torch.equal(again.lm_head.weight, model.lm_head.weight)


def test_a_checkpoint_without_a_head_is_tied(tmp_path):
    write_published_layout(tmp_path / "tied", is_tied=True)
    model = open_backbone(tmp_path / "tied").load()
    assert model.lm_head.weight is model.model.language_model.embed_tokens.weight


def test_nothing_of_a_loaded_backbone_trains(published):
    model = open_backbone(published[0]).load()
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_sizes_come_from_the_config(published):
    assert open_backbone(published[0]).sizes == BackboneSizes(
        vision_width=32,
        text_width=32,
        image_size_px=48,
        grid=4,
        num_vision_blocks=2,
        num_text_blocks=2,
    )


def test_image_statistics_come_from_the_preprocessor(folder):
    assert open_backbone(folder).image_statistics == (tuple(MEAN), tuple(STD))
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "image_mean": [0.1, 0.2, 0.3]}))
    assert open_backbone(folder).image_statistics[0] == (0.1, 0.2, 0.3)


def test_the_tokenizer_pads_on_the_right(published):
    folder, _ = published
    assert json.loads((folder / "tokenizer_config.json").read_text())["padding_side"] == "left"
    tokenizer = open_backbone(folder).load_tokenizer()
    mask = tokenizer(["A road", "A red house left of the tree."], padding=True)["attention_mask"]
    assert (mask[0][0], mask[0][-1]) == (1, 0)


def test_both_towers_compute_what_the_written_model_computes(published):
    folder, written = published
    model = open_backbone(folder, dtype="bfloat16").load()
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(2, 3, 48, 48, generator=generator).to(torch.bfloat16)
    ids = torch.tensor([[9, 10, 11, 12]])
    with torch.inference_mode():
        images, texts = encode_image_tokens(model, pixels), encode_text_tokens(model, ids)
        assert images.shape == (2, 17, 32)
        assert texts.shape == (1, 4, 32)
        assert torch.equal(images, encode_image_tokens(written, pixels))
        assert torch.equal(texts, encode_text_tokens(written, ids))


def test_the_digest_changes_with_one_weight(folder):
    first = open_backbone(folder).digest
    (folder / "README.md").write_text("changes nothing")
    assert open_backbone(folder).digest == first
    weights = load_file(folder / SHARDS[0])
    name = min(weights)
    weights[name].view(-1)[0] += 1
    save_file(weights, folder / SHARDS[0], metadata={"format": "pt"})
    assert open_backbone(folder).digest != first


def test_another_architecture_is_refused(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "internvl_chat"}))
    with pytest.raises(DatasetError, match=r"must be an InternVL .* got 'internvl_chat' in .*json"):
        open_backbone(folder)


def test_a_config_that_is_no_json_is_refused(folder):
    (folder / "config.json").write_text('{"model_type": "internvl",')
    with pytest.raises(DatasetError, match=r"config\.json must be a JSON object"):
        open_backbone(folder)


def test_a_folder_without_weights_is_refused(folder):
    for path in folder.glob("model*"):
        path.unlink()
    with pytest.raises(DatasetError, match=r"No model\*\.safetensors in the backbone folder"):
        open_backbone(folder)


def test_a_missing_shard_is_named(folder):
    (folder / SHARDS[1]).unlink()
    with pytest.raises(DatasetError, match=rf"lacks {SHARDS[1]}, which .*index\.json lists"):
        open_backbone(folder)


def test_a_truncated_shard_is_named(folder):
    content = (folder / SHARDS[1]).read_bytes()
    (folder / SHARDS[1]).write_bytes(content[: len(content) // 2])
    with pytest.raises(DatasetError, match=rf"{SHARDS[1]} cannot be read"):
        open_backbone(folder)


def test_a_missing_tensor_is_named(folder):
    lost = "vision_tower.encoder.layer.1.mlp.fc1.weight"
    for shard in SHARDS:
        weights = load_file(folder / shard)
        if weights.pop(lost, None) is not None:
            save_file(weights, folder / shard, metadata={"format": "pt"})
    index_path = folder / "model.safetensors.index.json"
    index = json.loads(index_path.read_text())
    del index["weight_map"][lost]
    index_path.write_text(json.dumps(index))
    with pytest.raises(BackboneError, match=rf"missing_keys.*model\.{lost}"):
        open_backbone(folder).load()


@pytest.mark.parametrize(
    ("part", "key", "value", "message"),
    [
        ("text_config", "intermediate_size", 64, r"mismatched_keys.*mlp\.\w+_proj"),
        ("text_config", "num_hidden_layers", 3, r"missing_keys.*layers\.2\."),
        ("vision_config", "num_hidden_layers", 1, r"unexpected_keys.*layer\.1\."),
    ],
)
def test_a_config_of_other_sizes_is_refused(folder, part, key, value, message):
    config = json.loads((folder / "config.json").read_text())
    config[part][key] = value
    config[part].pop("layer_types", None)
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(BackboneError, match=message):
        open_backbone(folder).load()
