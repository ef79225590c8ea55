"""What machine ``bench_accelerator.py`` runs on, and what it could do at best."""

import importlib.util
import platform
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import peft
import torch
import transformers

# Dense bfloat16 on tensor cores with sums in float32, in TFLOP/s, as NVIDIA's data sheets (of the
# GeForce its white paper) state it; where they state sparse rates alone, half of those. Variants
# under like names have other clocks, and are left out.
PEAK_TFLOPS = (
    (r"\bB200\b", 2250.0),
    (r"\bH[12]00\b(?! (NVL|PCIe))", 989.5),
    (r"\bH100 PCIe\b", 756.5),
    (r"\bA100\b", 312.0),
    (r"\bA40\b", 149.7),
    (r"\bL40S\b", 362.05),
    (r"\bL40\b", 181.05),
    (r"\bRTX 4090$", 165.2),
)


def find_peak_tflops(device: str) -> float | None:
    """Dense bfloat16 peak of the device, None where it is not known."""
    if device != "cuda":
        return None
    name = torch.cuda.get_device_name()
    return next((peak for pattern, peak in PEAK_TFLOPS if re.search(pattern, name)), None)


def describe_machine(device: str) -> dict[str, Any]:
    """Names and versions that a figure means nothing without."""
    versions = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "peft": peft.__version__,
        "flash_attn": importlib.util.find_spec("flash_attn") is not None,
    }
    if device != "cuda":
        return {"device": _cpu_name(), "threads": torch.get_num_threads(), **versions}
    properties = torch.cuda.get_device_properties(0)
    return {
        "device": properties.name,
        "memory_gb": round(properties.total_memory / 1e9, 1),
        "driver": _driver_version(),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        **versions,
    }


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", cpuinfo.read_text()) if cpuinfo.exists() else None
    return found[1] if found else platform.processor() or "CPU"


def _driver_version() -> str:
    query = ("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
    if shutil.which(query[0]) is None:
        return "unknown"
    output = subprocess.run(query, capture_output=True, text=True, check=False).stdout
    return output.strip().splitlines()[0] if output.strip() else "unknown"
