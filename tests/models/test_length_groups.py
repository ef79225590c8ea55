"""Groups of like length: every text once, in its order, and never more padding than before."""

import numpy as np
import pytest
import torch

from aquatint.models.length_groups import in_length_groups, length_groups


@pytest.mark.parametrize("num_texts", [0, 1, 2, 7, 96])
@pytest.mark.parametrize("longest", [1, 5, 64, 900])
def test_each_text_is_in_one_group_and_shorter_ones_come_first(num_texts, longest):
    lengths = np.random.default_rng(num_texts).integers(1, longest + 1, num_texts)
    groups = length_groups(lengths)
    assert sorted(np.concatenate(groups)) == list(range(num_texts))
    widths = [lengths[group].max(initial=0) for group in groups]
    assert widths == sorted(set(widths))
    padded = sum(len(group) * width for group, width in zip(groups, widths, strict=True))
    assert padded <= num_texts * lengths.max(initial=0)


def test_few_tokens_are_not_worth_a_pass():
    assert len(length_groups([3, 9, 4])) == 1
    assert len(length_groups([3] * 40 + [60] * 40)) == 2


def test_results_come_back_in_the_order_of_the_texts():
    lengths = np.random.default_rng(0).integers(1, 65, 50)
    values, widths = in_length_groups(
        lengths, lambda rows, width: (rows.double(), torch.full((len(rows),), width))
    )
    assert torch.equal(values, torch.arange(50).double())
    assert bool((widths >= torch.from_numpy(lengths)).all())
