"""A folder laid out like the published InternVL3-1B-hf, with its parameter names, at small size."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from aquatint.models.pocket import internvl_config, random_internvl, train_tokenizer

# How transformers 4.52, which wrote the published files, named the parts of the model.
PUBLISHED_PREFIXES = {
    "model.language_model.": "language_model.model.",
    "model.vision_tower.": "vision_tower.",
    "model.multi_modal_projector.": "multi_modal_projector.",
    "lm_head.": "language_model.lm_head.",
}
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
CORPUS = ["A red house left of the tree.", "A road and two cars at the bottom."]


def write_published_layout(folder: Path, num_shards: int = 2, is_tied: bool = False):
    """Write the folder and return the random model whose weights it holds, in bfloat16.

    The 1B repository has one weight file, those from 8B up are sharded.
    """
    tokenizer = train_tokenizer(CORPUS, 400)
    config = internvl_config(
        width=32, num_blocks=2, image_size_px=48, patch_size_px=12, tokenizer=tokenizer
    )
    config.tie_word_embeddings = config.text_config.tie_word_embeddings = is_tied
    model = random_internvl(config, seed=0).to(torch.bfloat16)
    folder.mkdir(parents=True)
    _write_config(folder, config.to_dict())
    _write_weights(folder, model.state_dict(), num_shards, is_tied)
    tokenizer.save_pretrained(folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    _write_json(folder / "tokenizer_config.json", {**settings, "padding_side": "left"})
    _write_json(folder / "processor_config.json", {"image_seq_length": config.image_seq_length})
    _write_json(folder / "preprocessor_config.json", _image_processor(config))
    _write_json(folder / "generation_config.json", {"eos_token_id": tokenizer.eos_token_id})
    return model


def _write_config(folder: Path, config: dict) -> None:
    """Without the tie flag, and with the old names of what is called otherwise since."""
    text = config["text_config"]
    for part in (config, text):
        part.pop("tie_word_embeddings", None)
    rope = text.pop("rope_parameters")
    text.update(rope_theta=rope["rope_theta"], rope_scaling={"rope_type": "dynamic", "factor": 2.0})
    config.update(
        architectures=["InternVLForConditionalGeneration"],
        torch_dtype="bfloat16",
        transformers_version="4.52.0.dev0",
    )
    config.pop("dtype", None)
    _write_json(folder / "config.json", config)


def _write_weights(folder: Path, state: dict, num_shards: int, is_tied: bool) -> None:
    weights = {_published_name(name): tensor.contiguous() for name, tensor in state.items()}
    if is_tied:
        del weights["language_model.lm_head.weight"]
    names = sorted(weights)
    if num_shards == 1:
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        return
    places = {}
    for shard in range(num_shards):
        file = f"model-{shard + 1:05d}-of-{num_shards:05d}.safetensors"
        chosen = {name: weights[name].clone() for name in names[shard::num_shards]}
        save_file(chosen, folder / file, metadata={"format": "pt"})
        places |= dict.fromkeys(chosen, file)
    total = sum(tensor.nbytes for tensor in weights.values())
    index = {"metadata": {"total_size": total}, "weight_map": places}
    _write_json(folder / "model.safetensors.index.json", index)


def _published_name(name: str) -> str:
    for new, old in PUBLISHED_PREFIXES.items():
        if name.startswith(new):
            return old + name.removeprefix(new)
    raise ValueError(f"no published name for {name}")


def _image_processor(config) -> dict:
    edge = config.vision_config.image_size[0]
    return {
        "image_processor_type": "GotOcr2ImageProcessorFast",
        "size": {"height": edge, "width": edge},
        "image_mean": MEAN,
        "image_std": STD,
        "crop_to_patches": False,
    }


def _write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=2))
