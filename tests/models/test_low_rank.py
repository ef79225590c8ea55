"""Low-rank weights: folded where that is less, and always the function of peft."""

import pytest
import torch
from torch import nn

from aquatint.models.low_rank import FoldingLinear, inject_lora, merge_lora

RANK = {"r": 4, "lora_alpha": 8, "lora_dropout": 0.0}


class Towers(nn.Module):
    """A narrow linear, where folding is less work, and a wide one, where it is more."""

    dtype = torch.float32

    def __init__(self):
        super().__init__()
        self.narrow = nn.Linear(16, 24)
        self.wide = nn.Linear(24, 512)

    def forward(self, x):
        return self.wide(torch.tanh(self.narrow(x)))


def make(lora=RANK):
    torch.manual_seed(0)
    towers = Towers()
    names = inject_lora(towers, lora, ["narrow", "wide"])
    for name, parameter in towers.named_parameters():
        if name in names:
            parameter.data = 0.3 * torch.randn_like(parameter)
            parameter.requires_grad_(True)
    return towers, names


def as_peft(towers):
    """The same module with peft's own forward."""
    for linear in (towers.narrow, towers.wide):
        linear._foldable = lambda x: None
    return towers


def is_folded(linear, x=None):
    return linear._foldable(torch.zeros(1, linear.in_features) if x is None else x) is not None


def test_only_narrow_linears_are_folded():
    towers, _ = make()
    assert isinstance(towers.narrow, FoldingLinear)
    assert is_folded(towers.narrow)
    # 24 * 512 products a token once more, against 6 * 4 * (24 + 512) at most.
    towers.wide.lora_A["default"].weight = nn.Parameter(torch.zeros(1, 24))
    assert not is_folded(towers.wide)


def test_outputs_and_gradients_are_those_of_peft():
    x = torch.randn(7, 16, generator=torch.Generator().manual_seed(1))
    found = {}
    for kind, towers in (("ours", make()[0]), ("peft", as_peft(make()[0]))):
        inputs = x.clone().requires_grad_(True)
        out = towers(inputs)
        out.square().sum().backward()
        grads = {n: p.grad for n, p in towers.named_parameters() if p.requires_grad}
        found[kind] = (out, {**grads, "inputs": inputs.grad})
    assert torch.allclose(found["ours"][0], found["peft"][0], rtol=1e-5, atol=1e-5)
    assert set(found["ours"][1]) == set(found["peft"][1])
    for name, gradient in found["peft"][1].items():
        assert gradient.abs().sum() > 0
        assert torch.allclose(found["ours"][1][name], gradient, rtol=1e-4, atol=1e-4), name


def test_frozen_weights_get_no_gradient():
    towers, names = make()
    towers(torch.randn(3, 16)).sum().backward()
    assert {n for n, p in towers.named_parameters() if p.grad is not None} == set(names)


def test_dropout_is_never_folded_away():
    towers, _ = make({**RANK, "lora_dropout": 0.5})
    assert not is_folded(towers.narrow)
    x = torch.randn(5, 16)
    towers.train()
    assert not torch.equal(towers(x), towers(x))


def test_less_than_float32_is_not_folded():
    towers, _ = make()
    assert not is_folded(towers.narrow, torch.zeros(1, 16, dtype=torch.bfloat16))
    with torch.autocast("cpu", torch.bfloat16):
        assert not is_folded(towers.narrow)


@pytest.mark.parametrize("state", ["disabled", "merged"])
def test_peft_switches_still_work(state):
    towers, _ = make()
    x = torch.randn(5, 16)
    before = towers.narrow(x)
    if state == "disabled":
        towers.narrow.enable_adapters(False)
        assert torch.equal(towers.narrow(x), towers.narrow.get_base_layer()(x))
    else:
        towers.narrow.merge()
        assert torch.allclose(towers.narrow(x), before, atol=1e-5)


def test_merging_leaves_plain_linears_that_compute_the_same():
    towers, _ = make()
    x = torch.randn(5, 16)
    before = towers(x)
    merged = merge_lora(towers)
    assert type(merged.narrow) is type(merged.wide) is nn.Linear
    assert torch.allclose(merged(x), before, atol=1e-5)
