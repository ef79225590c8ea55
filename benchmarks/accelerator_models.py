"""Models of ``bench_accelerator.py``: published sizes, random weights, built where they run."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import InternVLConfig, PreTrainedConfig, PreTrainedModel, Qwen2VLConfig

from aquatint.models.architectures import ARCHITECTURES, Architecture
from aquatint.models.backbone import Backbone
from aquatint.models.pocket import internvl_config, qwen_config, train_tokenizer
from aquatint.models.vision_tower import quicken_tower

INTERNVL, QWEN = ARCHITECTURES["internvl"], ARCHITECTURES["qwen2_vl"]
WORDS = ("house", "road", "left", "of", "the", "red", "tall", "grey", "tree", "behind", "a", "car")


@dataclass(frozen=True)
class Size:
    """A model and how much of it is measured.

    Attributes:
        name: For the table.
        architecture: InternVL trains for retrieval, Qwen2-VL for answers.
        make_config: Configuration from a tokenizer.
        image_px: Edge of the images.
        token_grid: Edge of the grid of patches that retrieval keeps.
        text_tokens: Tokens of a caption, or of a prompt with its answer but without the image.
        batch: Samples of a step through the model.
        closed_batch: Samples of a step of stage 1, and of a pass of feature extraction.
        num_images: Images, each with one caption, one located sentence and two boxes.
    """

    name: str
    architecture: Architecture
    make_config: Callable[[Any], PreTrainedConfig]
    image_px: int
    token_grid: int
    text_tokens: int
    batch: int
    closed_batch: int
    num_images: int


def internvl3_1b_config(tokenizer: Any) -> PreTrainedConfig:
    """InternVL3-1B.

    Sizes and the untied head from the published config.json (OpenGVLab/InternVL3-1B), in the keys
    of transformers' own port; 938,193,024 parameters of two bytes are its 1.88 GB of weights.
    """
    return InternVLConfig(
        text_config={
            "model_type": "qwen2",
            "vocab_size": 151674,
            "hidden_size": 896,
            "intermediate_size": 4864,
            "num_hidden_layers": 24,
            "num_attention_heads": 14,
            "num_key_value_heads": 2,
            "max_position_embeddings": 32768,
            "rms_norm_eps": 1e-6,
            "rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e6},
            **_text_ids(tokenizer),
            "tie_word_embeddings": False,
        },
        vision_config={
            "hidden_size": 1024,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "intermediate_size": 4096,
            "image_size": [448, 448],
            "patch_size": [14, 14],
            "attention_bias": True,
            "use_qk_norm": False,
            "layer_scale_init_value": 0.1,
        },
        image_token_id=tokenizer.convert_tokens_to_ids(INTERNVL.image_token),
        image_seq_length=256,
        downsample_ratio=0.5,
        tie_word_embeddings=False,
    )


def qwen2_vl_2b_config(tokenizer: Any) -> PreTrainedConfig:
    """Qwen2-VL-2B: sizes from the published config.json (Qwen/Qwen2-VL-2B-Instruct)."""
    marks = {
        "image_token_id": QWEN.image_token,
        "video_token_id": QWEN.video_token,
        "vision_start_token_id": QWEN.image_start,
        "vision_end_token_id": QWEN.image_end,
    }
    return Qwen2VLConfig(
        text_config={
            "vocab_size": 151936,
            "hidden_size": 1536,
            "intermediate_size": 8960,
            "num_hidden_layers": 28,
            "num_attention_heads": 12,
            "num_key_value_heads": 2,
            "max_position_embeddings": 32768,
            "rms_norm_eps": 1e-6,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e6,
                "mrope_section": [16, 24, 24],
            },
            **_text_ids(tokenizer),
            "tie_word_embeddings": True,
        },
        vision_config={
            "depth": 32,
            "embed_dim": 1280,
            "hidden_size": 1536,
            "mlp_ratio": 4,
            "num_heads": 16,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
        },
        tie_word_embeddings=True,
        **{key: tokenizer.convert_tokens_to_ids(token) for key, token in marks.items()},
    )


def _text_ids(tokenizer: Any) -> dict[str, Any]:
    """Special tokens of the small tokenizer: the vocabulary of the model does not depend on it."""
    ends = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    return {**ends, "bos_token_id": None}


def pocket_internvl_config(tokenizer: Any) -> PreTrainedConfig:
    """The smallest that shows everything: three blocks, of which one can stay closed."""
    return internvl_config(
        width=96, num_blocks=3, image_size_px=64, patch_size_px=8, tokenizer=tokenizer
    )


def pocket_qwen_config(tokenizer: Any) -> PreTrainedConfig:
    """A pocket Qwen2-VL of the published patch size."""
    return qwen_config(
        QWEN, width=96, num_blocks=2, image_size_px=112, patch_size_px=14, tokenizer=tokenizer
    )


SIZES = {
    "internvl3_1b": (
        Size("InternVL3-1B", INTERNVL, internvl3_1b_config, 448, 16, 50, 16, 128, 288),
    ),
    "qwen2_vl_2b": (Size("Qwen2-VL-2B", QWEN, qwen2_vl_2b_config, 448, 16, 104, 8, 32, 128),),
    "pocket": (
        Size("pocket InternVL", INTERNVL, pocket_internvl_config, 64, 8, 24, 4, 8, 18),
        Size("pocket Qwen2-VL", QWEN, pocket_qwen_config, 112, 4, 24, 4, 8, 8),
    ),
}


@dataclass(frozen=True)
class RandomBackbone(Backbone):
    """A backbone without weight files: each load draws the same random weights on the device.

    Attributes:
        device: Where it is built, whatever device a load names.
        attention: Implementation of attention, by transformers' name.
        is_stock: Whether a Qwen keeps transformers' patch embedding.
        kept: A built model, where it need not be built for each load.
    """

    device: str = "cpu"
    attention: str = "sdpa"
    is_stock: bool = False
    kept: tuple[PreTrainedModel, ...] = ()

    def load(self, device: str = "cpu", dtype: str | None = None) -> PreTrainedModel:
        """Build the model in evaluation mode, every parameter frozen."""
        if self.kept:
            return self.kept[0]
        kind = self.architecture.load_class()
        with torch.random.fork_rng(devices=[]), torch.device(self.device):
            torch.manual_seed(0)
            model = kind._from_config(
                self.load_config(),
                dtype=getattr(torch, dtype or self.dtype),
                attn_implementation=self.attention,
            )
        if not self.is_stock:
            quicken_tower(model)
        return model.to(self.device).eval().requires_grad_(False)


def write_backbone(size: Size, folder: Path, device: str, dtype: str) -> RandomBackbone:
    """Write configuration and tokenizer; there are no weights to write."""
    tokenizer = train_tokenizer([" ".join(WORDS)] * 2, 400, size.architecture)
    size.make_config(tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return RandomBackbone(str(folder), f"random {size.name}", size.name, dtype, device=device)


def count_parameters(size: Size) -> dict[str, int]:
    """Parameters of the model and of its parts; nothing is allocated."""
    tokenizer = train_tokenizer([" ".join(WORDS)] * 2, 400, size.architecture)
    with torch.device("meta"):
        model = size.architecture.load_class()(size.make_config(tokenizer))
    vision = model.model.vision_tower if size.architecture is INTERNVL else model.model.visual
    parts = {"vision": vision, "language": model.model.language_model, "head": model.lm_head}
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}
    return {"total": sum(p.numel() for p in model.parameters()), **counts}
