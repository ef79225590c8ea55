"""Frozen weights in 8 or 4 bits, through an optional library."""

from __future__ import annotations

from typing import Any


def quantization_arguments(quantization: str, dtype: str, device: str) -> dict[str, Any]:
    """Arguments of ``from_pretrained`` that load frozen weights in 8 or 4 bits.

    Raises:
        ValueError: If the optional library is missing, or the device is no GPU.
    """
    if quantization == "none":
        return {}
    import importlib.util

    import torch

    if importlib.util.find_spec("bitsandbytes") is None or not device.startswith("cuda"):
        raise ValueError(
            f"quantization {quantization} needs a CUDA device (got {device}) and bitsandbytes: "
            "pip install -e '.[quantized]'. Or set quantization: none."
        )
    from transformers import BitsAndBytesConfig

    config = BitsAndBytesConfig(
        load_in_8bit=quantization == "int8",
        load_in_4bit=quantization == "int4",
        bnb_4bit_compute_dtype=getattr(torch, dtype),
        bnb_4bit_quant_type="nf4",
    )
    return {"quantization_config": config, "device_map": {"": device}}
