"""A linear with low-rank weights as it runs here against peft's, forward and back, by its width.

Run with ``make bench``. Above the widths up to which ``FoldingLinear`` folds, both ways are the
same code, and the end of a line says what folding would cost there.
"""

import copy
import statistics
import time

import peft
import torch
from torch import Tensor, nn

from aquatint.models.low_rank import FoldingLinear, inject_lora

ROUNDS, REPEATS = 7, 10
RANK = 16
# Tokens, width in, width out: a pocket backbone's linears, then wider ones.
SHAPES = (
    (2080, 96, 96),
    (2080, 96, 384),
    (2080, 384, 96),
    (1600, 192, 192),
    (1600, 256, 256),
    (800, 512, 512),
)


class Always(FoldingLinear):
    """Folds at any width."""

    def _foldable(self, x: Tensor) -> str | None:
        return "default"


def make(width_in: int, width_out: int) -> dict[str, nn.Module]:
    """The same linear as it runs here, as peft's, and folded whatever its width."""
    holder = nn.ModuleDict({"linear": nn.Linear(width_in, width_out)})
    inject_lora(holder, {"r": RANK, "lora_alpha": 32, "lora_dropout": 0.0}, ["linear"])
    linear = holder["linear"]
    for name, parameter in linear.named_parameters():
        parameter.requires_grad_("lora_" in name)
        nn.init.normal_(parameter, std=0.1)
    ways = {"ours": linear, "peft": copy.deepcopy(linear), "folded": copy.deepcopy(linear)}
    ways["peft"].__class__ = peft.tuners.lora.Linear
    ways["folded"].__class__ = Always
    return ways


def milliseconds(linear: nn.Module, x: Tensor, gradient: Tensor) -> float:
    start = time.process_time()
    for _ in range(REPEATS):
        linear(x).backward(gradient)
    return 1e3 * (time.process_time() - start) / REPEATS


def compare(num_tokens: int, width_in: int, width_out: int) -> None:
    """Print CPU times of the ways, medians of alternating rounds behind a first one."""
    ways = make(width_in, width_out)
    x = torch.randn(num_tokens, width_in, requires_grad=True)
    difference = float((ways["ours"](x) - ways["peft"](x)).detach().abs().max())
    if difference > 1e-3:
        raise SystemExit(f"{width_in} to {width_out}: results differ by {difference:.1e}.")
    gradient = torch.randn(num_tokens, width_out)
    rounds = [
        [milliseconds(linear, x, gradient) for linear in ways.values()] for _ in range(ROUNDS)
    ]
    ours, theirs, folded = (statistics.median(way) for way in zip(*rounds[1:], strict=True))
    is_folded = ways["ours"]._foldable(x) is not None
    print(
        f"{num_tokens} tokens, {width_in} to {width_out}, rank {RANK}: {ours:.2f} ms "
        f"({'folded' if is_folded else 'as peft'}) against {theirs:.2f} ms, peft's: "
        f"{theirs / ours:.2f} times less, within {difference:.1e}; folding takes "
        f"{folded / theirs:.2f} of peft's"
    )


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(f"CPU time, torch {torch.__version__}, peft {peft.__version__}")
    for shape in SHAPES:
        compare(*shape)


if __name__ == "__main__":
    main()
