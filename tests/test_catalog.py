"""The catalog of a run: parameters and what they cost to add."""

import pytest
from kedro.io import MemoryDataset, memory_dataset

from aquatint.catalog import ProvenanceCatalog


def test_parameters_are_copied_and_nobody_looks_for_table_libraries(monkeypatch):
    def look(data):
        raise AssertionError(f"looked for a library that could copy {data!r}")

    monkeypatch.setattr(memory_dataset, "_infer_copy_mode", look)
    given = {"train": {"epochs": 3}}
    catalog = ProvenanceCatalog()
    catalog["parameters"] = given
    catalog["params:train"] = given["train"]
    given["train"]["epochs"] = 4
    catalog.load("params:train")["epochs"] = 5
    assert catalog.load("params:train") == {"epochs": 3}
    assert catalog.load("parameters") == {"train": {"epochs": 3}}
    with pytest.raises(AssertionError, match="looked"):
        catalog["table"] = 1


def test_a_dataset_stays_what_it_is_whatever_its_name():
    catalog, given = ProvenanceCatalog(), MemoryDataset(3, copy_mode="assign")
    catalog["params:train"] = given
    assert catalog.get("params:train") is given
