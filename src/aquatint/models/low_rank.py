"""Low-rank weights (LoRA) beside the linears of a frozen backbone: put in, computed, merged.

References:
    Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021,
    https://arxiv.org/abs/2106.09685. Modules and their names are peft's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
import torch.nn.functional as F
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import Linear as LoraLinear
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

# A token costs in * out products once more where low-rank weights are folded, 3 * r * (in + out)
# where they are not; and these, a few columns wide, run at half the speed of others on a CPU
# (benchmarks/bench_low_rank.py).
_NARROW_COST = 6


class FoldingLinear(LoraLinear):
    """A linear with low-rank weights that are added to its own in every pass, where that is less.

    The same function and the same gradients: a product with the sum of two weights instead of the
    sum of three products. Beside wide linears the low-rank products are the cheaper ones, and
    peft's way is taken; as it is with dropout in front of them, or in less than float32, where the
    sum of both weights would lose small updates.
    """

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:  # noqa: ANN401 - peft's
        """As peft's linear."""
        adapter = self._foldable(x)
        if adapter is None or args or kwargs:
            return cast(Tensor, super().forward(x, *args, **kwargs))
        base = cast(nn.Linear, self.get_base_layer())
        first, second = self.lora_A[adapter].weight, self.lora_B[adapter].weight
        weight = torch.addmm(base.weight, second, first, alpha=self.scaling[adapter])
        return F.linear(x, weight, base.bias)

    def _foldable(self, x: Tensor) -> str | None:
        """The one adapter that is worth folding and may be folded, if there is one."""
        names = [name for name in self.active_adapters if name in self.lora_A]
        if len(names) != 1 or self.disable_adapters or self.merged:
            return None
        name = names[0]
        is_plain = (
            name not in self.lora_variant
            and not self.lora_bias[name]
            and isinstance(self.lora_dropout[name], nn.Identity)
        )
        rank, width_in = self.lora_A[name].weight.shape
        width_out = len(self.lora_B[name].weight)
        is_cheaper = width_in * width_out <= _NARROW_COST * rank * (width_in + width_out)
        types = {x.dtype, self.get_base_layer().weight.dtype, self.lora_A[name].weight.dtype}
        is_exact = types == {torch.float32} and not torch.is_autocast_enabled(x.device.type)
        return name if is_plain and is_cheaper and is_exact else None


def inject_lora(
    backbone: nn.Module, lora: Mapping[str, Any], targets: str | list[str]
) -> list[str]:
    """Put low-rank weights beside linears, in place, and freeze everything.

    Args:
        backbone: Any model.
        lora: ``r``, ``lora_alpha`` and ``lora_dropout`` of ``peft.LoraConfig``.
        targets: Linears by the ends of their names, or a pattern of whole names.

    Returns:
        Names of the parameters that were added.
    """
    config = LoraConfig(target_modules=targets, bias="none", **lora)
    inject_adapter_in_model(config, backbone)
    backbone.requires_grad_(False)
    names = []
    for name, parameter in backbone.named_parameters():
        if "lora_" in name:
            # Whatever the backbone's type: bf16 loses updates smaller than 1/256 of a weight.
            parameter.data = parameter.data.float()
            names.append(name)
    for module in backbone.modules():
        # Of peft's own class and on a linear of torch's own, neither of them in few bits.
        if type(module) is LoraLinear and type(cast(Any, module).get_base_layer()) is nn.Linear:
            module.__class__ = FoldingLinear
    return names


def merge_lora(backbone: Any) -> Any:  # noqa: ANN401 - any architecture
    """Fold all low-rank weights into the linears they belong to, in place and for good.

    Raises:
        ValueError: If the backbone is not in float32: merging in bf16 costs 4 % of a logit's
            spread.
    """
    if backbone.dtype != torch.float32:
        raise ValueError(f"LoRA is merged in float32, got a backbone in {backbone.dtype}.")
    for name, module in list(backbone.named_modules()):
        if isinstance(module, LoraLayer):
            cast(Any, module).merge(safe_merge=True)
            parent = backbone.get_submodule(name.rpartition(".")[0])
            setattr(parent, name.rpartition(".")[2], module.get_base_layer())
    if hasattr(backbone, "peft_config"):
        del backbone.peft_config
    return backbone
