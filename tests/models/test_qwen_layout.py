"""Folders as the hub has them: an older config, older tensor names, shards; loaded strictly."""

import json
import shutil

import pytest
import torch
from kedro.io.core import DatasetError
from safetensors.torch import load_file, save_file

from aquatint.io.backbones import BackboneDataset
from aquatint.models.answering import AnsweringModel
from aquatint.models.architectures import CLIP_STATISTICS
from aquatint.models.backbone import Backbone, BackboneError, folder_digest
from aquatint.training.dialogues import encoder_of
from inspection_fixture import write_qwen

SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


def old_name(name):
    """model.language_model.layers.0 -> model.layers.0, model.visual.blocks.0 -> visual.blocks.0."""
    return name.replace("model.language_model.", "model.").replace("model.visual.", "visual.")


def write_hub_layout(folder, is_tied):
    """A pocket model written as Qwen2-VL-2B-Instruct (tied) or 7B (untied) lie on the hub."""
    model = write_qwen(folder)
    if not is_tied:
        model.config.tie_word_embeddings = False
        model.lm_head.weight = torch.nn.Parameter(torch.randn_like(model.lm_head.weight))
    new = json.loads((folder / "config.json").read_text())
    text, vision = new["text_config"], new["vision_config"]
    flat = {
        "architectures": ["Qwen2VLForConditionalGeneration"],
        "model_type": "qwen2_vl",
        **{key: text[key] for key in (
            "hidden_size", "intermediate_size", "num_attention_heads", "num_hidden_layers",
            "num_key_value_heads", "max_position_embeddings", "rms_norm_eps", "vocab_size",
            "hidden_act", "eos_token_id", "initializer_range",
        )},
        "rope_theta": 10000.0,
        "rope_scaling": {"type": "mrope", "mrope_section": [4, 6, 6]},
        "tie_word_embeddings": is_tied,
        "torch_dtype": "bfloat16",
        **{key: new[key] for key in ("image_token_id", "video_token_id", "vision_start_token_id",
                                     "vision_end_token_id")},
        "vision_config": {
            **{key: vision[key] for key in ("depth", "embed_dim", "hidden_size", "mlp_ratio",
                                            "num_heads", "patch_size", "spatial_merge_size",
                                            "temporal_patch_size")},
            "in_chans": 3,
            "spatial_patch_size": vision["patch_size"],
        },
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(flat))
    (folder / "processor_config.json").unlink(missing_ok=True)
    (folder / "preprocessor_config.json").write_text(
        json.dumps(
            {
                "image_processor_type": "Qwen2VLImageProcessor",
                "min_pixels": 3136,
                "max_pixels": 12845056,
                "patch_size": 12,
                "temporal_patch_size": 2,
                "merge_size": 2,
                "image_mean": list(CLIP_STATISTICS[0]),
                "image_std": list(CLIP_STATISTICS[1]),
            }
        )
    )
    (folder / "model.safetensors").unlink()
    state = {old_name(k): v.detach().bfloat16() for k, v in model.state_dict().items()}
    if is_tied:
        state.pop("lm_head.weight")
    names = sorted(state)
    half = len(names) // 2
    shards = dict(zip(SHARDS, (names[:half], names[half:]), strict=True))
    for file, members in shards.items():
        tensors = {name: state[name].contiguous() for name in members}
        save_file(tensors, folder / file, {"format": "pt"})
    weight_map = {name: file for file, members in shards.items() for name in members}
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    for parameter in model.parameters():  # not the buffers: frequencies stay as they are
        parameter.data = parameter.data.bfloat16().float()
    return model.eval()


@pytest.fixture(scope="module", params=[True, False], ids=["2b-tied", "7b-untied"])
def published(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub") / "Qwen2-VL-Instruct"
    return folder, write_hub_layout(folder, request.param)


@torch.inference_mode()
def test_a_published_folder_gives_the_logits_of_the_model_it_was_written_from(published):
    folder, original = published
    dataset = BackboneDataset(
        source="folder", filepath=str(folder), architecture="qwen2_vl", dtype="float32"
    )
    backbone = dataset.load()
    loaded = backbone.load()
    encoder = encoder_of(backbone)
    ids = torch.tensor([encoder.prompt("What is it?", ["rock toe"], 0)])
    ids = ids[:, (ids[0] != loaded.config.vision_start_token_id)
              & (ids[0] != loaded.config.vision_end_token_id)]  # fmt: skip
    ours = loaded(input_ids=ids).logits
    original.model.rope_deltas = None
    assert torch.allclose(ours, original(input_ids=ids).logits, atol=1e-4)
    assert backbone.load_config().vision_config.patch_size == 12
    assert backbone.image_statistics == CLIP_STATISTICS
    assert AnsweringModel(loaded).backbone.config.text_config.hidden_size == 32


@pytest.fixture
def copy(tmp_path, tmp_path_factory):
    folder = tmp_path / "Qwen2-VL-Instruct"
    write_hub_layout(folder, is_tied=True)
    return folder


def handle(folder):
    return Backbone(str(folder), folder_digest(folder), "hub")


def change(folder, edit):
    path = folder / SHARDS[1]
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path, {"format": "pt"})
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    index["weight_map"] = {
        name: file for file in SHARDS for name in load_file(folder / file)
    }  # fmt: skip
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("edit", "fault"),
    [
        (lambda t: t.pop(sorted(t)[0]), "missing_keys"),
        (lambda t: t.update(extra=torch.zeros(2)), "unexpected_keys"),
        (lambda t: t.update({sorted(t)[0]: torch.zeros(3, 3)}), "mismatched_keys"),
    ],
)
def test_a_tensor_that_is_missing_extra_or_misshapen_is_an_error(copy, edit, fault):
    change(copy, edit)
    with pytest.raises(BackboneError, match=rf"do not fit its config\.json.*{fault}"):
        handle(copy).load()


def test_a_lost_shard_is_named(copy):
    (copy / SHARDS[0]).unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks model-00001-of-00002\.safetensors"):
        handle(copy).load()


def test_another_architecture_than_the_catalog_promises_is_refused(copy, pocket_folder, tmp_path):
    wrong = BackboneDataset(source="folder", filepath=str(copy), architecture="qwen2_5_vl")
    with pytest.raises(DatasetError, match="must have model_type qwen2_5_vl, got 'qwen2_vl'"):
        wrong.load()
    with pytest.raises(DatasetError, match="must be an InternVL"):
        BackboneDataset(source="folder", filepath=str(copy)).load()
    with pytest.raises(DatasetError, match="must have model_type qwen2_vl, got 'internvl'"):
        BackboneDataset(
            source="folder", filepath=str(pocket_folder), architecture="qwen2_vl"
        ).load()
    with pytest.raises(DatasetError, match="architecture must be one of"):
        BackboneDataset(source="folder", filepath=str(copy), architecture="llava")


def test_quantized_weights_need_a_gpu_and_the_library(copy):
    dataset = BackboneDataset(
        source="folder", filepath=str(copy), architecture="qwen2_vl", quantization="int4"
    )
    with pytest.raises(ValueError, match=r"quantization int4 needs a CUDA device.*\[quantized\]"):
        dataset.load().load("cpu")


def test_a_pocket_qwen_builds_itself_and_has_an_address_of_its_own(tmp_path):
    recipe = {"width": 32, "num_blocks": 1, "image_size_px": 48, "patch_size_px": 12,
              "vocab_size": 400, "num_buildings": 1, "views_per_building": 1, "epochs": 0,
              "batch_size": 4, "learning_rate": 1e-3, "max_tokens": 80, "seed": 0,
              "num_inspections": 1}  # fmt: skip
    digests = set()
    for architecture in ("qwen2_vl", "qwen2_5_vl"):
        dataset = BackboneDataset(
            source="pocket", filepath=str(tmp_path), recipe=recipe, architecture=architecture
        )
        backbone = dataset.load()
        assert backbone.architecture.name == architecture
        assert backbone.load().config.model_type == architecture
        digests.add(dataset.content_digest)
    assert len(digests) == 2
    shutil.rmtree(tmp_path)
