"""Large products of float32 by oneDNN: the numbers of the others, and nothing else changes."""

from unittest.mock import Mock

import pytest
import torch
import torch.nn.functional as F

from aquatint.training import matrix_products
from aquatint.training.matrix_products import is_faster_by_onednn, multiply, multiply_by_onednn

AMD = {"cpu_name": "AMD EPYC 9654 96-Core Processor", "avx512_f": True}
LARGE = (1111, 130, 150)

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="needs a torch with oneDNN"
)
needs_such_a_cpu = pytest.mark.skipif(
    not is_faster_by_onednn(), reason="needs an AMD processor with AVX-512"
)


def matrices(rows, inner, columns):
    generator = torch.Generator().manual_seed(0)
    shapes = (rows, inner), (inner, columns), (columns,)
    return [torch.randn(shape, generator=generator) for shape in shapes]


def assert_is_product(found, first, second, bias=0.0):
    expected = (first.double() @ second.double() + bias).float()
    assert found.shape == expected.shape
    assert torch.allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("rows", [1, 15, 16, 17, 100, 1000, 1025])
@pytest.mark.parametrize("is_transposed", [(False, False), (False, True), (True, False)])
def test_a_product_by_onednn_is_that_in_double_precision(rows, is_transposed):
    first, second, bias = matrices(rows, 77, 33)
    # Values stay, their order in memory does not.
    first, second = (
        part.t().contiguous().t() if is_turned else part
        for part, is_turned in zip((first, second), is_transposed, strict=True)
    )
    assert_is_product(multiply(first, second), first, second)
    assert_is_product(multiply(first, second, bias), first, second, bias)


def test_what_fills_up_a_product_changes_no_number():
    first, second, _ = matrices(100, 77, 33)
    first[3, 5], second[4, 6] = float("inf"), float("nan")
    for left in (first, first.t().contiguous().t()):
        found = multiply(left, second)
        assert found[3].isfinite().sum() == 0
        assert found[:, 6].isnan().all()
        others = torch.arange(33) != 6
        assert found[:3, others].isfinite().all()


def test_numbers_of_rows_that_differ_become_few():
    rounded = [matrix_products._round_up(number) for number in range(1, 4097)]
    assert rounded[:17] == [*range(1, 17), 18]
    assert all(number <= found < 1.125 * number for number, found in enumerate(rounded, 1))
    assert len(set(rounded[2047:])) == 9


@needs_such_a_cpu
@pytest.mark.parametrize("shape", [LARGE, (3, *LARGE)])
def test_a_large_linear_is_computed_so_with_all_of_its_gradients(monkeypatch, shape):
    multiply_by_onednn()
    asked = Mock(wraps=multiply)
    monkeypatch.setattr(matrix_products, "multiply", asked)
    *batch, rows, inner, columns = shape
    _, weight, bias = matrices(rows, inner, columns)
    x = torch.randn(*batch, rows, inner, generator=torch.Generator().manual_seed(1))
    gradient = torch.randn(*batch, rows, columns, generator=torch.Generator().manual_seed(2))
    found, expected = (
        differentiate(x.to(dtype), weight.t().to(dtype), bias.to(dtype), gradient.to(dtype))
        for dtype in (torch.float32, torch.float64)
    )
    assert asked.call_count == 3
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other.float(), rtol=1e-4, atol=1e-3)


def differentiate(x, weight, bias, gradient):
    inputs = [part.detach().requires_grad_() for part in (x, weight, bias)]
    product = F.linear(*inputs)
    return product, *torch.autograd.grad(product, inputs, gradient)


@needs_such_a_cpu
def test_all_others_keep_torch_s_own_kernel(monkeypatch):
    multiply_by_onednn()
    monkeypatch.setattr(matrix_products, "multiply", Mock(side_effect=AssertionError))
    first, second, bias = matrices(*LARGE)
    assert_is_product(first[:20] @ second, first[:20], second)
    assert torch.equal(first[:0] @ second, torch.empty(0, 150))
    double = first.double() @ second.double()
    assert torch.allclose(
        torch.addmm(bias.double(), first.double(), second.double()), double + bias
    )
    assert (first.bfloat16() @ second.bfloat16()).dtype is torch.bfloat16
    assert torch.allclose(
        torch.addmm(bias, first, second, alpha=2), 2 * double.float() + bias, atol=1e-3
    )
    table = torch.ones(1111, 150)
    assert torch.allclose(torch.addmm(table, first, second), double.float() + 1, atol=1e-3)
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        first @ first


@needs_such_a_cpu
def test_the_same_product_has_the_same_bits_in_every_mode():
    multiply_by_onednn()
    first, second, _ = matrices(*LARGE)
    expected = first @ second
    with torch.inference_mode():
        assert torch.equal(first @ second, expected)
    assert torch.equal(first.requires_grad_() @ second, expected)


@pytest.mark.parametrize(
    ("capabilities", "num_overrides"),
    [
        (AMD, 2),
        (AMD | {"cpu_name": "Intel(R) Xeon(R) Platinum 8488C"}, 0),
        (AMD | {"avx512_f": False}, 0),
        ({"cpu_name": "Apple M4"}, 0),
    ],
)
def test_only_such_processors_multiply_otherwise(monkeypatch, capabilities, num_overrides):
    library = Mock()
    monkeypatch.setattr(matrix_products, "_LIBRARY", library)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    multiply_by_onednn.__wrapped__()
    assert library.impl.call_count == num_overrides


@pytest.mark.parametrize(
    ("module", "name"),
    [(torch.cpu, "get_capabilities"), (torch.library, "get_kernel")],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_an_older_torch_keeps_its_kernels(monkeypatch, module, name):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: AMD, raising=False)
    assert is_faster_by_onednn()
    monkeypatch.delattr(module, name)
    assert not is_faster_by_onednn()
