"""Run a pipeline again and again, each time killed at a write that was not yet hit, to its end.

``python kill_at_writes.py <pipeline> <data_root> <log> [tag]``: one line ``<phase> <name>`` a kill
goes to the log. The runs are forks of one process that has imported everything, so that many fit
into a test. Phases are before, within and after a write, or those in AQUATINT_KILL_PHASES; ``one``
takes all for what a training hands over, checkpoint and history, and one of the three, drawn by
its name, for every other write.
"""

import gc
import os
import re
import signal
import sys
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
import transformers

from aquatint import storage
from aquatint.pipeline_registry import register_pipelines
from aquatint.source_digest import source_digest
from project_runs import open_whole_catalog, run_project

ALL_PHASES = ("before", "within", "after")
PHASES = os.environ.get("AQUATINT_KILL_PHASES", " ".join(ALL_PHASES)).split()
_CHANGING = re.compile(r"\d{4}-\d\d-\d\dT[\d.]+Z|step-\d+|[0-9a-f]{16,}")


def phases_of(name):
    """Instants of a write at which to kill."""
    if PHASES != ["one"]:
        return PHASES
    is_handed_over = "/checkpoint" in name or "/history.parquet" in name
    return ALL_PHASES if is_handed_over else (ALL_PHASES[zlib.crc32(name.encode()) % 3],)


class KillingWrites:
    """Takes the place of ``publish_file`` and ``publish_folder`` and kills at new points."""

    def __init__(self, log):
        self.log = log
        self.hit = set(log.read_text().splitlines()) if log.exists() else set()
        self.publish_file, self.publish_folder = storage.publish_file, storage.publish_folder

    def kill_if_new(self, phase, final, prepare=lambda: None):
        name = _CHANGING.sub("*", "/".join(final.parts[-5:]))
        point = f"{phase} {name}"
        if point in self.hit or phase not in phases_of(name):
            return
        prepare()
        with self.log.open("a") as file:
            file.write(point + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.kill(os.getpid(), signal.SIGKILL)

    def file(self, final, content):
        self.kill_if_new("before", final)
        temporary = final.parent / f".tmp-{final.name}-torn"

        def tear():
            final.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(content[: len(content) // 2])

        self.kill_if_new("within", final, tear)
        self.publish_file(final, content)
        self.kill_if_new("after", final)

    def folder(self, final, write, manifest=None):
        self.kill_if_new("before", final)

        def write_and_kill(folder):
            write(folder)
            self.kill_if_new("within", final)  # all files but the manifest are there

        self.publish_folder(final, write_and_kill, manifest)
        self.kill_if_new("after", final)


def install(writes):
    """Put the killing writes wherever the project imported the plain ones."""
    for name, module in list(sys.modules.items()):
        if name.startswith("aquatint."):
            for attribute, replacement in (
                ("publish_file", writes.file),
                ("publish_folder", writes.folder),
            ):
                if hasattr(module, attribute):
                    setattr(module, attribute, replacement)


def import_all():
    import importlib
    import pkgutil

    import aquatint

    for module in pkgutil.walk_packages(aquatint.__path__, "aquatint."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def main(pipeline, root, log, tags):
    torch.set_num_threads(1)
    import_all()
    # Kept in memory for all runs: configuration and code that was read, and classes that
    # transformers imports late.
    open_whole_catalog(root)
    for node in register_pipelines()[pipeline].nodes:
        source_digest(node.func)
    transformers.InternVLForConditionalGeneration  # noqa: B018
    transformers.Qwen2VLForConditionalGeneration  # noqa: B018
    gc.freeze()  # else each fork would go through all of it
    for _ in range(1000):
        child = os.fork()
        if child == 0:
            install(KillingWrites(log))
            run_project(root, pipeline=pipeline, tags=tags, only_missing=True)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            return os.waitstatus_to_exitcode(status)
    return "1000 runs and no end"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:] or None))
