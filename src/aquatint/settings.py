"""Kedro's project settings."""

import warnings

from aquatint.catalog import ProvenanceCatalog
from aquatint.config_loader import ConfigLoader
from aquatint.hooks import ProvenanceHooks, RunSummaryHooks, TrackingHooks, TrainingStateHooks
from aquatint.processes import collect_seldom
from aquatint.run_record import RunRecordHooks
from aquatint.session import LabelledSession

collect_seldom()

# Three of Kedro's own, about its dependencies and its taste in names; ours stay visible.
for _message in (
    "register_new_resolver",
    "One or more dataset names",
    "Accessing the 'model_fields'",
):
    warnings.filterwarnings("ignore", message=_message)

# Kedro calls hooks last in, first out: provenance is written before the training state goes.
HOOKS = (
    RunRecordHooks(),
    RunSummaryHooks(),
    TrackingHooks(),
    TrainingStateHooks(),
    ProvenanceHooks(),
)

SESSION_CLASS = LabelledSession

DATA_CATALOG_CLASS = ProvenanceCatalog

CONFIG_LOADER_CLASS = ConfigLoader

CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    # Soft, so that an environment states only what differs: by default a whole recipe is replaced.
    "merge_strategy": {"parameters": "soft"},
}
