"""The vision-language architectures that a backbone may have, and how their images are marked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ArchitectureName = Literal["internvl", "qwen2_vl", "qwen2_5_vl"]
IMAGENET_STATISTICS = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIP_STATISTICS = (
    (0.48145466, 0.4578275, 0.40821073),
    (0.26862954, 0.26130258, 0.27577711),
)


@dataclass(frozen=True)
class Architecture:
    """What a recipe must know of an architecture before it loads a model.

    Attributes:
        name: ``model_type`` in config.json.
        model_class: Class of transformers.
        image_start: Token before an image.
        image_token: Token that stands for one image feature.
        image_end: Token after an image.
        video_token: Token that stands for one video feature.
        image_statistics: Channel mean and deviation where a folder does not state them.
        has_rope_grid: Whether image tokens are placed in three dimensions (M-RoPE).
    """

    name: ArchitectureName
    model_class: str
    image_start: str
    image_token: str
    image_end: str
    video_token: str
    image_statistics: tuple[tuple[float, ...], tuple[float, ...]]
    has_rope_grid: bool

    @property
    def special_tokens(self) -> tuple[str, ...]:
        """Special tokens in the order of their ids in a pocket tokenizer."""
        chat = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
        return (*chat, self.image_start, self.image_end, self.image_token, self.video_token)

    def load_class(self) -> type[PreTrainedModel]:
        """Import the class of transformers."""
        import transformers

        return getattr(transformers, self.model_class)


_QWEN_MARKS = ("<|vision_start|>", "<|image_pad|>", "<|vision_end|>", "<|video_pad|>")
ARCHITECTURES: dict[str, Architecture] = {
    item.name: item
    for item in (
        # InternVL was trained with ImageNet's statistics, Qwen2-VL and its successors with CLIP's.
        Architecture(
            "internvl",
            "InternVLForConditionalGeneration",
            "<img>",
            "<IMG_CONTEXT>",
            "</img>",
            "<video>",
            IMAGENET_STATISTICS,
            has_rope_grid=False,
        ),
        Architecture(
            "qwen2_vl",
            "Qwen2VLForConditionalGeneration",
            *_QWEN_MARKS,
            CLIP_STATISTICS,
            has_rope_grid=True,
        ),
        Architecture(
            "qwen2_5_vl",
            "Qwen2_5_VLForConditionalGeneration",
            *_QWEN_MARKS,
            CLIP_STATISTICS,
            has_rope_grid=True,
        ),
    )
}


def require_architecture(name: object) -> Architecture:
    """Look an architecture up.

    Raises:
        ValueError: If it is none that this project knows.
    """
    if name not in ARCHITECTURES:
        raise ValueError(f"architecture must be one of {sorted(ARCHITECTURES)}, got {name!r}.")
    return ARCHITECTURES[str(name)]
