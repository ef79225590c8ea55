"""What hooks note around nodes."""

from kedro.io import AbstractDataset, DataCatalog
from kedro.pipeline import Pipeline, node

from aquatint.hooks import ProvenanceHooks


class Raw(AbstractDataset):
    """A folder that builds itself on load; looking through its files takes long."""

    def __init__(self):
        self.is_built, self.num_looks = False, 0

    def load(self):
        self.is_built = True
        return "raw"

    def save(self, data):
        raise NotImplementedError

    def _describe(self):
        return {}

    @property
    def content_digest(self):
        self.num_looks += 1
        return "built" if self.is_built else "nothing"


def test_raw_data_are_looked_at_once_when_they_are_there(monkeypatch):
    raw, reader = Raw(), node(len, "raw", "length", name="read")
    catalog, pipeline = DataCatalog({"raw": raw}), Pipeline([reader])
    monkeypatch.setattr("aquatint.hooks.pipelines", {"one": pipeline})
    hooks = ProvenanceHooks()
    hooks.before_pipeline_run({"pipeline_names": ["one"]}, pipeline, catalog)
    hooks.before_dataset_loaded("raw", reader)
    catalog.load("raw")
    hooks.after_dataset_loaded("raw", reader)
    assert raw.num_looks == 1
    assert hooks._loaded["read"]["raw"] == {"fingerprint": "built", "version": None}
