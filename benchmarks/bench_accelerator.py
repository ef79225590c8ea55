"""Feature extraction and training at published sizes on one GPU, against transformers.Trainer.

InternVL3-1B (retrieval, both stages) and Qwen2-VL-2B (answers), with random weights built on the
device. Each row runs the project's own stage: ``features``, ``training.fit`` and the losses of the
recipes. Trainer takes the same steps with the same batches, rates and clipping, from pixels in
every step, for it has no caches. Medians of alternating rounds behind a warm-up, and the losses of
all ways of a task are compared: a difference beyond the tolerance ends the script with an error.
The answering stage keeps no hidden states, so that its last two blocks are no row, and no recipe
opens its language model in full: that row is the same loop with all of its weights in float32.

    python benchmarks/bench_accelerator.py [--size internvl3_1b|qwen2_vl_2b|pocket] [--json PATH]

Operations are counted by torch in one whole step, forward and backward: matrix products,
convolutions and attention (causal attention in full, recomputed scores included), whatever really
runs; so gradients of frozen weights and what a cache spares are not in them. MFU is that by the
dense bfloat16 peak of the device. Memory is what torch allocated at most in the measured steps, on
a CPU the whole process. A way that fails is a row with the first line of its error.

Without a GPU nothing is measured, but for ``--size pocket --device cpu``, which shows that all of
it runs. ``--describe`` counts parameters and ends.
"""

import argparse
import importlib.util
import json
import logging
import os
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

# Before torch starts its threads: spinning ones slow each other down on a busy machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch

from accelerator_answering import Answering
from accelerator_machine import describe_machine, find_peak_tflops
from accelerator_measuring import Result, Way, measure
from accelerator_models import INTERNVL, SIZES, Size, count_parameters
from accelerator_retrieval import Retrieval
from accelerator_training import Settings, Variant

NOTHING = "no accelerator here; nothing measured"
# Relative, of the largest difference of any step to the first loss. Features are stored in 16
# bits; in bfloat16 a product has three digits, and kernels differ by the size of a batch.
TOLERANCES = {"float32": 2e-3, "bfloat16": 3e-2}


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    sizes = [
        size for name in options.size or ("internvl3_1b", "qwen2_vl_2b") for size in SIZES[name]
    ]
    if options.describe:
        for size in sizes:
            print(describe(size))
        return
    if options.device == "cuda" and not torch.cuda.is_available():
        print(NOTHING)
        return
    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore")
    is_cuda = options.device == "cuda"
    settings = Settings(
        options.device,
        options.precision or ("bfloat16" if is_cuda else "float32"),
        options.warmup or (5 if is_cuda else 2),
        options.steps or (10 if is_cuda else 3),
        min(8, os.cpu_count() or 1) if is_cuda else 1,
    )
    torch.set_num_threads(settings.num_threads)
    peak = options.peak_tflops or find_peak_tflops(options.device)
    found = {"machine": describe_machine(options.device), "peak_tflops": peak, "models": []}
    print(", ".join(f"{name} {value}" for name, value in found["machine"].items()))
    print(f"MFU by {peak:g} TFLOP/s" if peak else "The peak of this device is not known: no MFU.")
    for size in sizes:
        sized = replace(size, batch=options.batch or size.batch)
        found["models"].append(bench(sized, settings, options, peak))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))
    if not all(check["is_equal"] for model in found["models"] for check in model["checks"]):
        raise SystemExit("Losses differ by more than the tolerance.")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--size", action="append", choices=list(SIZES), help="default: both published"
    )
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--precision", choices=("bfloat16", "float32"))
    parser.add_argument("--batch", type=int, help="samples of a step through the model")
    parser.add_argument("--warmup", type=int, help="5; on a CPU 2")
    parser.add_argument("--steps", type=int, help="timed in each round: 10; on a CPU 3")
    parser.add_argument("--rounds", type=int, help="3; on a CPU 1")
    parser.add_argument("--peak-tflops", type=float, help="of the device, dense bfloat16")
    parser.add_argument("--no-variants", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--describe", action="store_true")
    options = parser.parse_args(arguments)
    if options.device == "cpu" and options.size != ["pocket"] and not options.describe:
        parser.error("--device cpu goes with --size pocket alone")
    return options


def describe(size: Size) -> str:
    counts = count_parameters(size)
    parts = ", ".join(f"{name} {counts[name]:,}" for name in ("vision", "language", "head"))
    return f"{size.name}: {counts['total']:,} parameters ({parts})"


def bench(
    size: Size, settings: Settings, options: argparse.Namespace, peak: float | None
) -> dict[str, Any]:
    print(f"\n{describe(size)}")
    print(f"{size.image_px} px, {settings.precision}, steps of {size.batch} samples, of "
          f"{size.closed_batch} where the backbone is closed")  # fmt: skip
    rows, checks, variants = [], [], []
    num_rounds = options.rounds or (3 if settings.device == "cuda" else 1)
    with tempfile.TemporaryDirectory() as folder:
        kind = Retrieval if size.architecture is INTERNVL else Answering
        subject = kind(size, Path(folder), settings)
        print(f"{'':44s}{'samples/s':>10s}{'GFLOP each':>12s}{'TFLOP/s':>9s}{'MFU':>7s}"
              f"{'peak MB':>9s}  against Trainer")  # fmt: skip
        for ways in subject.ways:
            results = measure(ways, num_rounds)
            rows += [report(result, results, peak) for result in results.values()]
            checks += compare(results, TOLERANCES[settings.precision])
        if not options.no_variants:
            variants = compare_variants(subject, settings, num_rounds)
    for check in checks:
        print(
            f"losses of {check['ways'][0]!r} and {check['ways'][1]!r}: within "
            f"{check['difference']:.1e} of the first, tolerance {check['tolerance']:g}"
        )
    return {"name": size.name, "rows": rows, "checks": checks, "variants": variants}


def report(result: Result, results: dict[str, Result], peak: float | None) -> dict[str, Any]:
    """Print and return a row."""
    name = result.way.name
    if not result.runs:
        print(f"{name:44s}failed: {result.error}")
        return {"name": name, "error": result.error}
    speed, flops = result.samples_per_second, result.runs[0].flops_per_sample
    tflops = 1e-12 * flops * speed
    other = results.get(result.way.against)
    row = {
        "name": name,
        "samples_per_second": speed,
        "gflop_per_sample": 1e-9 * flops,
        "tflops": tflops,
        "mfu": tflops / peak if peak else None,
        "peak_memory_mb": result.memory_mb,
        "ratio_to_trainer": speed / other.samples_per_second if other and other.runs else None,
        "error": result.error,
    }
    mfu = f"{100 * row['mfu']:6.1f}%" if peak else f"{'-':>7s}"
    ratio = f"{row['ratio_to_trainer']:.2f} times" if row["ratio_to_trainer"] else ""
    print(f"{name:44s}{speed:10.2f}{1e-9 * flops:12.3f}{tflops:9.3f}{mfu}{result.memory_mb:9.0f}  "
          f"{ratio}{f' (then failed: {result.error})' if result.error else ''}")  # fmt: skip
    return row


def compare(results: dict[str, Result], tolerance: float) -> list[dict[str, Any]]:
    """Compare the losses of all steps of all ways with those of the first."""
    losses = {name: r.runs[0].losses for name, r in results.items() if r.runs and r.runs[0].losses}
    checks = []
    for name in list(losses)[1:]:
        first = next(iter(losses))
        ours, theirs = np.array(losses[first]), np.array(losses[name])
        # numpy's maximum of a NaN is one, and no NaN is within a tolerance.
        difference = float(np.abs(ours - theirs).max() / np.abs(ours[0]))
        checks.append(
            {
                "ways": [first, name],
                "difference": difference,
                "tolerance": tolerance,
                "is_equal": difference <= tolerance,
            }
        )
    return checks


def compare_variants(
    subject: Retrieval | Answering, settings: Settings, num_rounds: int
) -> list[dict[str, Any]]:
    """Measure LoRA in all blocks with one thing changed at a time."""
    chosen = settings.precision
    other = "float32" if chosen == "bfloat16" else "bfloat16"
    # Code generation for a CPU takes minutes; there it is only shown that all blocks are traced.
    backend = "inductor" if settings.device == "cuda" else "eager"
    variants = {
        f"{chosen}, sdpa, not compiled": Variant(chosen),
        other: Variant(other),
        "eager attention": Variant(chosen, attention="eager"),
        f"each block by torch.compile ({backend})": Variant(chosen, compile_backend=backend),
    }
    if importlib.util.find_spec("flash_attn"):
        variants["flash_attention_2"] = Variant(chosen, attention="flash_attention_2")
    else:
        print("flash_attn is not installed: its variant was not run")
    ways = [
        Way(name, lambda variant=variant: subject.train_variant(variant))
        for name, variant in variants.items()
    ]
    results = measure(ways, num_rounds)
    base, *_ = results.values()
    print("LoRA in all blocks, one thing changed at a time:")
    return [report_variant(result, base) for result in results.values()]


def report_variant(result: Result, base: Result) -> dict[str, Any]:
    """Print and return one variant."""
    name = result.way.name
    if not result.runs:
        print(f"  {name:42s}failed: {result.error}")
        return {"name": name, "error": result.error}
    speed = result.samples_per_second
    ratio = speed / base.samples_per_second if base.runs else None
    shown = f"{ratio:.2f} of the first" if ratio else ""
    print(f"  {name:42s}{speed:10.2f} samples/s{result.memory_mb:9.0f} MB  {shown}")
    return {
        "name": name,
        "samples_per_second": speed,
        "peak_memory_mb": result.memory_mb,
        "ratio": ratio,
        "error": result.error,
    }


if __name__ == "__main__":
    # Trainer would split each batch over all that it sees.
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0")
    os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[0]
    main()
