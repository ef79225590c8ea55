"""Bytes that a training step keeps for its backward pass, by setting.

Run with ``make bench``. A random InternVL of InternVL3-1B's widths with fewer blocks takes one
stage-2 step (LoRA in the last two blocks) on the CPU; every tensor that autograd saves is counted
once, which is what an accelerator would have to hold besides the weights.
"""

import torch

from aquatint.models.dual_encoder import DualEncoder
from aquatint.models.retrieval_model import RetrievalModel, open_backbone

PATCH_GRID, TOKENS, BLOCKS = 16, 50, 4


def build(is_checkpointed: bool, num_open: int) -> RetrievalModel:
    from transformers import InternVLConfig, InternVLForConditionalGeneration

    torch.manual_seed(0)
    config = InternVLConfig(
        text_config={
            "model_type": "qwen2",
            "vocab_size": 1000,
            "hidden_size": 896,
            "intermediate_size": 4864,
            "num_hidden_layers": BLOCKS,
            "num_attention_heads": 14,
            "num_key_value_heads": 2,
        },
        vision_config={
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": BLOCKS,
            "num_attention_heads": 16,
            "image_size": [14 * PATCH_GRID, 14 * PATCH_GRID],
            "patch_size": [14, 14],
        },
        image_token_id=999,
        tie_word_embeddings=True,
    )
    inner = InternVLForConditionalGeneration(config).requires_grad_(False)
    groups = open_backbone(
        inner, "lora", num_open, {"r": 16, "lora_alpha": 32, "lora_dropout": 0.0}
    )
    for names in groups.values():
        for name in names:
            inner.get_parameter(name).requires_grad_(True)
    if is_checkpointed:
        inner.activation_checkpointing_enable({"use_reentrant": False})
    heads = DualEncoder(vision_width=1024, text_width=896, is_enhanced=False)
    statistics = {"image_mean": (0.5, 0.5, 0.5), "image_std": (0.2, 0.2, 0.2)}
    return RetrievalModel(inner, heads, token_grid=PATCH_GRID, **statistics).train()


def saved_megabytes(
    batch_size: int,
    *,
    is_checkpointed: bool = False,
    precision: str = "float32",
    num_open: int = 2,
) -> float:
    """MB (1e6 bytes) of distinct tensors that one forward pass saves for its backward pass."""
    model = build(is_checkpointed, num_open)
    if precision == "bfloat16":  # as conf/internvl3_1b loads it; LoRA weights and heads stay
        for name, parameter in model.backbone.named_parameters():
            if "lora_" not in name:
                parameter.data = parameter.data.bfloat16()
    weights = {tensor.untyped_storage().data_ptr() for tensor in model.state_dict().values()}
    sizes: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    edge = 14 * PATCH_GRID
    batch = {
        "pixels": torch.zeros(batch_size, edge, edge, 3, dtype=torch.uint8),
        "input_ids": torch.ones(batch_size, TOKENS, dtype=torch.long),
        "attention_mask": torch.ones(batch_size, TOKENS, dtype=torch.long),
    }
    autocast = torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bfloat16")
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), autocast:
        image = model.heads.encode_image(model.encode_images(batch).float()).embeds
        text = model.heads.encode_text(model.encode_texts(batch).float(), batch["attention_mask"])
        (image - text.embeds).pow(2).sum()
        # Kept alive until here: a freed storage could lend its address to the next tensor.
    return sum(sizes.values()) / 1e6


def main() -> None:
    torch.set_num_threads(1)
    base = saved_megabytes(4)
    print(f"InternVL3-1B's widths, {BLOCKS} blocks a tower, LoRA in 2, {PATCH_GRID}x{PATCH_GRID}")
    print(f"patches, {TOKENS} tokens, batch 4, torch {torch.__version__}: {base:.0f} MB saved")
    for what, value in (
        ("batch_size 2 instead of 4", saved_megabytes(2)),
        ("run.gradient_checkpointing", saved_megabytes(4, is_checkpointed=True)),
        ("backbone and run in bfloat16", saved_megabytes(4, precision="bfloat16")),
        ("one open block instead of two", saved_megabytes(4, num_open=1)),
    ):
        print(f"{what:<31} {value:7.0f} MB, {100 * (value / base - 1):+.0f} %")


if __name__ == "__main__":
    main()
