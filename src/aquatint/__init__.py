"""Staged training of vision-language and vision-language-action models as a Kedro project."""

import os

# Before torch is imported: threads that spin while they wait make a shared machine 5 times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Loading a pocket backbone takes a blink; its bar only clutters the log.
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
