"""When hidden states below open blocks are kept: rules, figures, limits, and one decision."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from aquatint.features import boundary
from aquatint.features.boundary import choose_boundaries, decide_by_costs
from aquatint.features.boundary_costs import BoundaryCosts, FrozenInputs, measure_costs
from aquatint.features.cache import FeatureStore
from aquatint.features.frozen import Encoding
from aquatint.features.stored import from_stored, to_stored

CHEAP_TO_READ = BoundaryCosts(10.0, 1.0, 12.0, 0.5)


@pytest.fixture
def store(tmp_path):
    return FeatureStore(str(tmp_path / "store"), max_gigabytes=1)


@pytest.fixture
def inputs(deep_data, store):
    tables = deep_data.tables
    return FrozenInputs(
        store,
        deep_data.backbone,
        deep_data.caches.pixels,
        tables.images["sha256"].tolist(),
        tables.texts,
        texts_per_epoch=12,
        max_tokens=24,
        encoding=Encoding(4, "float16", "cpu"),
    )


@pytest.fixture
def costs(monkeypatch):
    """Costs by depth, in place of a measurement; says which depths were measured."""
    table, measured = {}, []

    def measure(_, depth):
        measured.append(depth)
        return table[depth]

    monkeypatch.setattr(boundary, "measure_costs", measure)
    return table, measured


def decisions(choices):
    return {choice.depth: choice.is_cached for choice in choices}


@pytest.mark.parametrize(
    ("uses", "expected"),
    [(1, False), (2, True)],  # 1 x (10 - 1) < 12 < 2 x (10 - 1)
)
def test_kept_where_it_saves_more_than_it_costs(store, uses, expected):
    assert decide_by_costs(2, uses, CHEAP_TO_READ, 0.0, store).is_cached is expected


def test_not_kept_where_reading_is_slower_than_computing(store):
    slow = replace(CHEAP_TO_READ, read_seconds=10.5)
    choice = decide_by_costs(2, 100, slow, 0.0, store)
    assert not choice.is_cached
    assert "10.00 s to compute against 10.50 s to read" in choice.reason


def test_not_kept_where_a_deeper_cache_leaves_little_to_save(store):
    assert decide_by_costs(1, 4, CHEAP_TO_READ, 0.0, store).is_cached
    assert not decide_by_costs(1, 4, CHEAP_TO_READ, 7.0, store).is_cached


def test_too_large_falls_back_and_says_so(store):
    choice = decide_by_costs(2, 100, replace(CHEAP_TO_READ, gigabytes=1.5), 0.0, store)
    assert not choice.is_cached
    assert "1.500 GB; more than max_gigabytes, 1 GB" in choice.reason


def test_a_full_disk_falls_back_too(store, monkeypatch):
    usage = type("Usage", (), {"free": 0.4e9})
    monkeypatch.setattr(boundary.shutil, "disk_usage", lambda _: usage)
    choice = decide_by_costs(2, 100, CHEAP_TO_READ, 0.0, store)
    assert not choice.is_cached
    assert "more than the free space, 0.4 GB" in choice.reason


def test_the_deepest_serves_the_shallower_epochs(inputs, costs):
    costs[0].update({3: CHEAP_TO_READ, 1: CHEAP_TO_READ})
    assert decisions(choose_boundaries(inputs, {1: 2, 3: 1}, "auto")) == {3: True, 1: False}
    assert costs[1] == [3, 1]


@pytest.mark.parametrize(
    ("epochs", "reason"),
    [({4: 9}, "only embeddings lie below"), ({2: 1}, "serve one epoch")],
)
def test_ruled_out_without_measuring(inputs, costs, epochs, reason):
    (choice,) = choose_boundaries(inputs, epochs, "auto")
    assert not choice.is_cached
    assert reason in choice.reason
    assert costs[1] == []


def test_always_and_never_measure_nothing(inputs, costs):
    assert decisions(choose_boundaries(inputs, {1: 1, 3: 1, 4: 1}, "always")) == {
        4: False,
        3: True,
        1: True,
    }
    assert decisions(choose_boundaries(inputs, {1: 9}, "never")) == {1: False}
    assert costs[1] == []


def test_decided_once_for_a_data_root(inputs, costs):
    costs[0][2] = CHEAP_TO_READ
    first = choose_boundaries(inputs, {2: 5}, "auto")
    costs[0][2] = replace(CHEAP_TO_READ, read_seconds=99.0)
    assert choose_boundaries(inputs, {2: 5}, "auto") == first
    assert costs[1] == [2]
    assert not decisions(choose_boundaries(inputs, {2: 6}, "auto"))[2], (
        "another schedule, asked anew"
    )


def test_no_open_block_no_decision(inputs):
    assert choose_boundaries(inputs, {}, "auto") == []
    assert not list(Path(inputs.store.root).glob("boundary-*"))


def test_a_real_measurement_is_positive_and_sizes_are_exact(inputs):
    costs = measure_costs(inputs, 2)
    assert min(costs.compute_seconds, costs.read_seconds, costs.build_seconds) > 0
    images, texts = 12 * 17 * 32 * 2, len(set(inputs.texts)) * 24 * 32 * 2
    assert costs.gigabytes == pytest.approx((images + texts) / 1e9)
    assert not list(Path(inputs.store.root).glob(".tmp-*"))


def test_a_measured_decision_can_be_read_by_people(inputs):
    choose_boundaries(inputs, {2: 3}, "auto")
    (record,) = Path(inputs.store.root).glob("boundary-*.json")
    (entry,) = json.loads(record.read_text())
    assert entry["depth"] == 2
    assert "3 epochs" in entry["reason"]


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [("float16", 1e-3), ("bfloat16", 8e-3), ("float32", 0.0)]
)
def test_stored_values_come_back_rounded(dtype, tolerance):
    values = torch.randn(3, 5, generator=torch.Generator().manual_seed(0)) + 3
    stored = to_stored(values, dtype)
    assert stored.nbytes == 15 * (4 if dtype == "float32" else 2)
    assert isinstance(stored, np.ndarray)
    back = from_stored(stored, dtype)
    assert back.dtype == torch.float32
    assert torch.allclose(back, values, rtol=tolerance, atol=0)


def test_values_beyond_float16_need_bfloat16():
    large = torch.tensor([70000.0])
    with pytest.raises(ValueError, match="bfloat16 or float32"):
        to_stored(large, "float16")
    assert from_stored(to_stored(large, "bfloat16"), "bfloat16").item() == pytest.approx(
        7e4, rel=8e-3
    )
    with pytest.raises(ValueError, match="finite"):
        to_stored(torch.tensor([float("nan")]), "float32")
