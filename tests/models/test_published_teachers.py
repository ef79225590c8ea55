"""Published teachers from folders in transformers' own layout, small; PiDiNet from its weights."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from aquatint.models.pidinet import OPERATORS, PiDiNet, load_pidinet, plain_kernel
from aquatint.models.teacher_source import TeacherSource
from aquatint.models.teachers import build_teacher, mask_decoder_of

IMAGES = [
    np.random.default_rng(seed).integers(0, 256, (40, 56, 3), dtype=np.uint8) for seed in (0, 1)
]


def save_sam(folder):
    from transformers import SamConfig, SamModel

    SamModel(
        SamConfig(
            vision_config={
                "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
                "image_size": 64, "patch_size": 16, "output_channels": 32, "window_size": 2,
                "global_attn_indexes": [1], "mlp_dim": 64, "num_pos_feats": 16,
            },
            prompt_encoder_config={
                "hidden_size": 32, "image_size": 64, "patch_size": 16, "mask_input_channels": 4,
            },
            mask_decoder_config={
                "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "mlp_dim": 64,
                "iou_head_hidden_dim": 32,
            },
        )
    ).save_pretrained(folder)  # fmt: skip


def save_depth(folder):
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation

    backbone = {
        "model_type": "dinov2", "hidden_size": 24, "num_hidden_layers": 4,
        "num_attention_heads": 2, "intermediate_size": 48, "image_size": 56, "patch_size": 14,
        "out_indices": [1, 2, 3, 4], "reshape_hidden_states": False, "apply_layernorm": True,
    }  # fmt: skip
    config = DepthAnythingConfig(
        backbone_config=backbone, reassemble_hidden_size=24, neck_hidden_sizes=[8, 8, 16, 16],
        fusion_hidden_size=8, head_hidden_size=8, patch_size=14,
    )  # fmt: skip
    DepthAnythingForDepthEstimation(config).save_pretrained(folder)


def save_dino(folder):
    from transformers import Dinov2Config, Dinov2Model

    Dinov2Model(
        Dinov2Config(
            hidden_size=24, num_hidden_layers=2, num_attention_heads=2, image_size=56, patch_size=14
        )
    ).save_pretrained(folder)


def save_metaclip(folder):
    from transformers import CLIPConfig, CLIPModel

    small = {"hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 2,
             "num_attention_heads": 2}  # fmt: skip
    CLIPModel(
        CLIPConfig(
            vision_config={**small, "image_size": 56, "patch_size": 14, "projection_dim": 20},
            text_config={**small, "vocab_size": 64, "eos_token_id": 2},
            projection_dim=20,
        )
    ).save_pretrained(folder)


def save_siglip(folder):
    from transformers import SiglipConfig, SiglipModel

    small = {"hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 2,
             "num_attention_heads": 2}  # fmt: skip
    SiglipModel(
        SiglipConfig(
            vision_config={**small, "image_size": 56, "patch_size": 14},
            text_config={**small, "vocab_size": 64},
        )
    ).save_pretrained(folder)


SAVED = {
    "sam": (save_sam, (8, 16, 16)),
    "depth": (save_depth, (56, 56)),
    "dino": (save_dino, (17, 24)),
    "metaclip": (save_metaclip, (20,)),
    "siglip": (save_siglip, (24,)),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    found = {}
    for name, (save, _) in SAVED.items():
        found[name] = tmp_path_factory.mktemp(name)
        torch.manual_seed(0)
        save(found[name])
    return found


@pytest.mark.parametrize("name", SAVED)
def test_a_folder_in_the_published_layout_becomes_a_teacher(name, folders):
    source = TeacherSource(name, "folder", str(folders[name]), "digest")
    teacher = build_teacher(source, "")
    assert teacher.shape.target == SAVED[name][1]
    assert teacher.num_parameters > 1000
    found = teacher.encode(IMAGES, ["a", "b"])
    if name == "sam":
        masks = np.unpackbits(found["target"], axis=-1).reshape(2, *SAVED[name][1])
        assert masks.any(axis=(2, 3)).any(axis=1).all(), "something is found in each image"
    else:
        assert found["target"].shape == (2, *SAVED[name][1])
        assert found["target"].dtype == np.float16
        assert not np.array_equal(found["target"][0], found["target"][1])
    if teacher.shape.context:
        assert found["context"].shape == (2, *teacher.shape.context)
        assert np.array_equal(teacher.look(IMAGES), found["context"])
    else:
        assert teacher.look(IMAGES) is None
    alone = teacher.encode(IMAGES[:1], ["a"])
    assert np.allclose(alone["target"], found["target"][:1], atol=2e-3), "images do not mix"


def test_a_folder_of_another_model_is_refused(folders):
    source = TeacherSource("metaclip", "folder", str(folders["siglip"]), "digest")
    with pytest.raises(ValueError, match="must have model_type clip"):
        build_teacher(source, "")


def test_prompts_go_through_sams_own_decoder(folders):
    source = TeacherSource("sam", "folder", str(folders["sam"]), "digest")
    teacher = build_teacher(source, "")
    context = torch.from_numpy(teacher.look(IMAGES)).float()
    decode = mask_decoder_of(source, "cpu")
    prompts = torch.randn(2, 8, teacher.shape.prompt_width, requires_grad=True)
    masks = decode(prompts, context, 16)
    assert masks.shape == (2, 8, 16, 16)
    masks.square().sum().backward()
    assert prompts.grad.abs().sum((0, 2)).min() > 0, "every prompt shapes its own mask"


def test_world_teachers_refuse_images_they_cannot_know(tmp_path):
    with pytest.raises(ValueError, match="no exact anchors"):
        build_teacher(TeacherSource("depth", "world"), "")
    teacher = build_teacher(TeacherSource("depth", "world"), str(tmp_path))
    with pytest.raises(ValueError, match="world teachers|World teachers"):
        teacher.encode([np.zeros((48, 48, 3), np.uint8)], ["unknown"])


@pytest.mark.parametrize("operator", ["central", "angular", "radial"])
def test_a_converted_kernel_does_what_the_difference_does(operator):
    """Against the differences themselves, pixel by pixel."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(1, 1, 3, 3, generator=generator)
    image = torch.randn(1, 1, 5, 5, generator=generator)
    kernel = plain_kernel(operator, weight)
    found = F.conv2d(image, kernel, padding=kernel.shape[-1] // 2)[0, 0, 2, 2]
    x, w = image[0, 0], weight[0, 0]
    if operator == "central":
        expected = sum(w[i, j] * (x[1 + i, 1 + j] - x[2, 2]) for i in range(3) for j in range(3))
    elif operator == "radial":
        # Eight rays, each with one weight; the first of the nine is not used.
        rays = [(i, j) for i in range(3) for j in range(3) if (i, j) != (1, 1)]
        expected = sum(
            v * (x[2 * i, 2 * j] - x[1 + i, 1 + j])
            for v, (i, j) in zip(w.flatten()[1:], rays, strict=True)
        )
    else:
        around = [(0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0)]
        expected = sum(
            w[i, j] * (x[1 + i, 1 + j] - x[1 + p, 1 + q])
            for (i, j), (p, q) in zip(around, around[1:] + around[:1], strict=True)
        )
    assert found.item() == pytest.approx(float(expected), abs=1e-5)


def published_weights(width=8, dilation_width=4):
    """Weights in the published layout: differences not yet folded, names with their prefix."""
    torch.manual_seed(0)
    weights = PiDiNet(width, dilation_width).state_dict()
    places = [n for n in weights if n.endswith("conv1.weight") and n.startswith("block")]
    radial = {
        name for name, operator in zip(["init", *sorted(places)], OPERATORS, strict=True)
        if operator == "radial"
    }  # fmt: skip
    return {
        f"module.{name}": tensor[:, :, :3, :3].clone() if name in radial else tensor
        for name, tensor in weights.items()
    }


def test_pidinet_is_read_from_a_file_of_tensors(tmp_path):
    path = tmp_path / "table5_baseline.pth"
    torch.save({"epoch": 13, "state_dict": published_weights()}, path)
    model = load_pidinet(path)
    edges, features = model(torch.randn(1, 3, 32, 48))
    assert edges.shape == (1, 1, 32, 48)
    assert features.shape == (1, 8, 16, 24)
    assert PiDiNet().width == 60
    assert sum(p.numel() for p in PiDiNet().parameters()) == pytest.approx(710_000, rel=0.02)
    source = TeacherSource("pidinet", "folder", str(path), "digest", image_px=32)
    teacher = build_teacher(source, "")
    found = teacher.encode(IMAGES, ["a", "b"])
    assert found["target"].shape == (2, *teacher.shape.target)
    assert 0 <= found["target"].min() <= found["target"].max() <= 1


class Trap(nn.Module):
    """Unpickling a module runs code; a file of tensors never does."""


def test_a_pickle_is_refused(tmp_path):
    torch.save({"state_dict": Trap()}, tmp_path / "trap.pth")
    with pytest.raises(ValueError, match="never unpickled"):
        load_pidinet(tmp_path / "trap.pth")


def test_weights_of_another_network_are_refused(tmp_path):
    torch.save({"state_dict": {"a": torch.zeros(1)}}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="no PiDiNet"):
        load_pidinet(tmp_path / "other.pth")
    weights = published_weights()
    del weights["module.classifier.bias"]
    torch.save({"state_dict": weights}, tmp_path / "torn.pth")
    with pytest.raises(ValueError, match=r"classifier\.bias"):
        load_pidinet(tmp_path / "torn.pth")
