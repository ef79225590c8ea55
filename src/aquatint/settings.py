"""Kedro's project settings."""

from aquatint.catalog import ProvenanceCatalog
from aquatint.hooks import ProvenanceHooks, RunSummaryHooks, TrainingStateHooks
from aquatint.session import LabelledSession

# Kedro calls hooks last in, first out: provenance is written before the training state goes.
HOOKS = (RunSummaryHooks(), TrainingStateHooks(), ProvenanceHooks())

SESSION_CLASS = LabelledSession

DATA_CATALOG_CLASS = ProvenanceCatalog

CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    # Soft, so that an environment states only what differs: by default a whole recipe is replaced.
    "merge_strategy": {"parameters": "soft"},
}
