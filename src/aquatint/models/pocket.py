"""Pocket backbones: the real transformers classes from small configurations."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from aquatint.models.architectures import ARCHITECTURES, Architecture

if TYPE_CHECKING:
    from transformers import (
        InternVLConfig,
        InternVLForConditionalGeneration,
        PreTrainedConfig,
        PreTrainedModel,
        Qwen2Tokenizer,
    )

_INTERNVL = ARCHITECTURES["internvl"]
IMAGE_TOKEN = _INTERNVL.image_token
_HEAD_WIDTH = 32
_TURN = {"turn_start_token": "<|im_start|>"}


def train_tokenizer(
    corpus: Iterable[str],
    vocab_size: int,
    architecture: Architecture = _INTERNVL,
    *,
    marks_turns: bool = False,
) -> Qwen2Tokenizer:
    """Train a byte-level BPE tokenizer of Qwen2's own kind on ``corpus``.

    Args:
        corpus: Texts; any string can be encoded afterwards, because all bytes are in the alphabet.
        vocab_size: Upper limit of the vocabulary; templated text stops well below it.
        architecture: Whose special tokens it has.
        marks_turns: Whether ``<|im_start|>`` in a text is one token.

    Returns:
        Tokenizer which round-trips through ``AutoTokenizer``.
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
        special_tokens=list(architecture.special_tokens),
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
        extra_special_tokens=_named_tokens(architecture) | (_TURN if marks_turns else {}),
    )


def _named_tokens(architecture: Architecture) -> dict[str, str]:
    """Special tokens by the names under which each architecture's processor looks for them."""
    if architecture.name == "internvl":
        return {
            "start_image_token": architecture.image_start,
            "end_image_token": architecture.image_end,
            "context_image_token": architecture.image_token,
            "video_token": architecture.video_token,
        }
    return {
        "image_token": architecture.image_token,
        "video_token": architecture.video_token,
        "vision_start_token": architecture.image_start,
        "vision_end_token": architecture.image_end,
    }


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

    grid = _check_sizes(width, image_size_px, patch_size_px)
    heads = width // _HEAD_WIDTH
    rope = {"rope_type": "default", "rope_theta": 1e4}
    return InternVLConfig(
        text_config={
            "model_type": "qwen2",
            **_text_config(width, num_blocks, 512, rope, tokenizer),
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


def _check_sizes(width: int, image_size_px: int, patch_size_px: int) -> int:
    """Return the patches per edge, which must be whole and even."""
    grid, rest = divmod(image_size_px, patch_size_px)
    if rest or grid % 2:
        raise ValueError(
            f"image_size_px {image_size_px} and patch_size_px {patch_size_px} must give an even "
            f"number of whole patches per edge, got {image_size_px / patch_size_px:g}."
        )
    if width % _HEAD_WIDTH:
        raise ValueError(f"width must be a multiple of 32 (the head width), got {width}.")
    return grid


def _text_config(
    width: int, num_blocks: int, max_tokens: int, rope: dict[str, Any], tokenizer: Qwen2Tokenizer
) -> dict[str, Any]:
    heads = width // _HEAD_WIDTH
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": num_blocks,
        "num_attention_heads": heads,
        "num_key_value_heads": max(1, heads // 3),
        "max_position_embeddings": max_tokens,
        "rope_parameters": rope,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": None,
        "tie_word_embeddings": True,
    }


def qwen_config(  # noqa: PLR0913 - flat arguments, each one a size
    architecture: Architecture,
    *,
    width: int,
    num_blocks: int,
    image_size_px: int,
    patch_size_px: int,
    tokenizer: Qwen2Tokenizer,
    rope_theta: float = 1e4,
    mrope_section: Sequence[int] = (4, 6, 6),
    num_key_value_heads: int = 0,
    num_vision_blocks: int = 0,
) -> PreTrainedConfig:
    """Return the configuration of a small Qwen2-VL or Qwen2.5-VL.

    Args:
        architecture: Which of the two.
        width: Hidden width of vision and language blocks; a multiple of 32.
        num_blocks: Transformer blocks of each of the two towers.
        image_size_px: Edge of the square images it is trained on; others work too.
        patch_size_px: Edge of one patch; two by two of them become one token.
        tokenizer: Tokenizer whose ids the configuration names.
        rope_theta: Base of the language model's rotary positions. With the usual 10,000 and heads
            of 32, the channels of an image's columns turn by 0.01 rad over four tokens: no head of
            a small model can tell left from right. With 5 they turn by 1 rad.
        mrope_section: Channels of half a head's width that turn with time, row and column, fastest
            first. transformers goes around again where there are more than three: with zeros in
            between, rows and columns take the fast channels, and the slow ones stay still over an
            image, so that a content is found wherever it lies.
        num_key_value_heads: Of the language model; 0 for a third of its heads, at least one.
        num_vision_blocks: Of the vision tower; 0 for ``num_blocks``.

    Raises:
        ValueError: If the patch grid is not whole and even, ``width`` is no multiple of 32, or
            ``mrope_section`` does not share out half a head's width in whole rounds of three.
    """
    import transformers

    _check_sizes(width, image_size_px, patch_size_px)
    if sum(mrope_section) != _HEAD_WIDTH // 2 or len(mrope_section) % 3:
        raise ValueError(
            f"mrope_section must have three numbers, or six and so on, that sum to "
            f"{_HEAD_WIDTH // 2}, got {list(mrope_section)}."
        )
    # Temporal, height and width share of half a head's width; published: 16, 24, 24.
    rope = {"rope_type": "default", "rope_theta": rope_theta, "mrope_section": list(mrope_section)}
    depth = num_vision_blocks or num_blocks
    vision: dict[str, Any] = {
        "depth": depth,
        "num_heads": width // _HEAD_WIDTH,
        "patch_size": patch_size_px,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
    }
    if architecture.name == "qwen2_vl":
        vision |= {"embed_dim": width, "hidden_size": width, "mlp_ratio": 4}
    else:
        vision |= {
            "hidden_size": width,
            "out_hidden_size": width,
            "intermediate_size": 4 * width,
            "window_size": 4 * patch_size_px,
            "fullatt_block_indexes": [depth - 1],
        }
    marks = {
        "image_token_id": architecture.image_token,
        "video_token_id": architecture.video_token,
        "vision_start_token_id": architecture.image_start,
        "vision_end_token_id": architecture.image_end,
    }
    config_class = {
        "qwen2_vl": transformers.Qwen2VLConfig,
        "qwen2_5_vl": transformers.Qwen2_5_VLConfig,
    }[architecture.name]
    text = _text_config(width, num_blocks, 2048, rope, tokenizer)
    text["num_key_value_heads"] = num_key_value_heads or text["num_key_value_heads"]
    return config_class(
        text_config=text,
        vision_config=vision,
        tie_word_embeddings=True,
        **{key: tokenizer.convert_tokens_to_ids(token) for key, token in marks.items()},
    )


def random_qwen(architecture: Architecture, config: PreTrainedConfig, seed: int) -> PreTrainedModel:
    """Build an untrained Qwen in fp32 whose weights depend on ``seed`` alone."""
    import torch

    from aquatint.models.vision_tower import quicken_tower

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = architecture.load_class()(config)
    quicken_tower(model)
    return model


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
