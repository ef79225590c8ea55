"""Pocket backbones: the real transformers classes from small configurations."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import InternVLConfig, InternVLForConditionalGeneration, Qwen2Tokenizer

IMAGE_TOKEN = "<IMG_CONTEXT>"
SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<img>", "</img>", IMAGE_TOKEN)
_IMAGE_TOKENS = {
    "start_image_token": "<img>",
    "end_image_token": "</img>",
    "context_image_token": IMAGE_TOKEN,
    "video_token": "<video>",
}


def train_tokenizer(corpus: Iterable[str], vocab_size: int) -> Qwen2Tokenizer:
    """Train a byte-level BPE tokenizer of Qwen2's own kind on ``corpus``.

    Args:
        corpus: Texts; any string can be encoded afterwards, because all bytes are in the alphabet.
        vocab_size: Upper limit of the vocabulary; templated text stops well below it.

    Returns:
        Tokenizer with InternVL's special tokens, which round-trips through ``AutoTokenizer``.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import Qwen2Tokenizer
    from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

    bpe = Tokenizer(models.BPE())
    bpe.normalizer = normalizers.NFC()
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[*SPECIAL_TOKENS, "<video>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(corpus, trainer)
    state = json.loads(bpe.to_str())["model"]
    return Qwen2Tokenizer(
        vocab=state["vocab"],
        merges=[tuple(merge) for merge in state["merges"]],
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        unk_token="<|endoftext|>",
        extra_special_tokens=_IMAGE_TOKENS,
    )


def internvl_config(
    *,
    width: int,
    num_blocks: int,
    image_size_px: int,
    patch_size_px: int,
    tokenizer: Qwen2Tokenizer,
) -> InternVLConfig:
    """Return the configuration of a small InternVL.

    Args:
        width: Hidden width of vision and language blocks; a multiple of 32.
        num_blocks: Transformer blocks of each of the two towers.
        image_size_px: Edge of the square input image.
        patch_size_px: Edge of one patch; the grid must be even, for the pixel shuffle by 2.
        tokenizer: Tokenizer whose ids the configuration names.

    Raises:
        ValueError: If the patch grid is not whole and even, or ``width`` is no multiple of 32.
    """
    from transformers import InternVLConfig

    grid, rest = divmod(image_size_px, patch_size_px)
    if rest or grid % 2:
        raise ValueError(
            f"image_size_px {image_size_px} and patch_size_px {patch_size_px} must give an even "
            f"number of whole patches per edge, got {image_size_px / patch_size_px:g}."
        )
    if width % 32:
        raise ValueError(f"width must be a multiple of 32 (the head width), got {width}.")
    heads = width // 32
    return InternVLConfig(
        text_config={
            "model_type": "qwen2",
            "vocab_size": len(tokenizer),
            "hidden_size": width,
            "intermediate_size": 4 * width,
            "num_hidden_layers": num_blocks,
            "num_attention_heads": heads,
            "num_key_value_heads": max(1, heads // 3),
            "max_position_embeddings": 512,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4},
            "pad_token_id": tokenizer.pad_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "bos_token_id": None,
            "tie_word_embeddings": True,
        },
        vision_config={
            "hidden_size": width,
            "num_hidden_layers": num_blocks,
            "num_attention_heads": heads,
            "intermediate_size": 4 * width,
            "image_size": [image_size_px, image_size_px],
            "patch_size": [patch_size_px, patch_size_px],
            "attention_bias": True,
            "use_qk_norm": False,
            "layer_scale_init_value": 0.1,
        },
        image_token_id=tokenizer.convert_tokens_to_ids(IMAGE_TOKEN),
        image_seq_length=(grid // 2) ** 2,
        downsample_ratio=0.5,
        tie_word_embeddings=True,
    )


def random_internvl(config: InternVLConfig, seed: int) -> InternVLForConditionalGeneration:
    """Build an untrained InternVL in fp32 whose weights depend on ``seed`` alone."""
    import torch
    from transformers import InternVLForConditionalGeneration

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = InternVLForConditionalGeneration(config)
        # transformers leaves position embeddings at zero, from where they learn slowly.
        embeddings = model.model.vision_tower.embeddings.position_embeddings
        torch.nn.init.normal_(embeddings, std=0.02)
    return model
