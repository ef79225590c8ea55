"""Nodes that do not need each other run at the same time, in processes of their own."""

import json
import logging
import os
import signal
import sys
import time
from pathlib import Path

import pytest
from kedro.framework.hooks import hook_impl
from kedro.framework.hooks.manager import _create_hook_manager
from kedro.io import AbstractVersionedDataset, DataCatalog, MemoryDataset, Version
from kedro.pipeline import Pipeline, node

from aquatint.node_workers import NodeProcessError
from aquatint.runner import ConcurrentRunner, sort_by_way_to_end

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked")
PATIENCE = 20


class TextDataset(AbstractVersionedDataset):
    """A number in a file, with Kedro's own versions."""

    def __init__(self, filepath, version=None):
        super().__init__(Path(filepath), version)

    def load(self):
        return json.loads(Path(self._get_load_path()).read_text())

    def save(self, data):
        path = Path(self._get_save_path())
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(data))

    def _describe(self):
        return {}


def catalog_of(folder, *names, version=None):
    return DataCatalog({name: TextDataset(folder / name, version) for name in names})


def meet(mine, other):
    """A node's function that ends only when another one runs meanwhile."""

    def wait_for_other():
        mine.touch()
        deadline = time.monotonic() + PATIENCE
        while not other.exists():
            assert time.monotonic() < deadline, "the other node did not start"
            time.sleep(0.01)
        return os.getpid()

    return wait_for_other


def run(pipeline, catalog, max_nodes=2, hooks=None):
    ConcurrentRunner(max_nodes, 1).run(pipeline, catalog, hooks or _create_hook_manager())


def test_two_nodes_run_at_once_and_a_third_after_them(tmp_path):
    signs = tmp_path / "a_runs", tmp_path / "b_runs"
    pipeline = Pipeline([
        node(meet(*signs), None, "a", name="make_a"),
        node(meet(*reversed(signs)), None, "b", name="make_b"),
        node(lambda a, b: [a, b, os.getpid()], ["a", "b"], "c", name="make_c"),
    ])  # fmt: skip
    catalog = catalog_of(tmp_path, "a", "b", "c")
    run(pipeline, catalog)
    a, b, c = catalog.load("c")
    assert a != b
    assert c in (a, b), "processes are used again"
    assert os.getpid() not in (a, b)


def test_one_node_alone_stays_in_this_process(tmp_path):
    catalog = catalog_of(tmp_path, "a")
    run(Pipeline([node(os.getpid, None, "a", name="make_a")]), catalog)
    assert catalog.load("a") == os.getpid()


def test_data_in_memory_keep_the_nodes_in_this_process(tmp_path, caplog):
    catalog = catalog_of(tmp_path, "b")
    catalog["a"] = MemoryDataset()
    pipeline = Pipeline([
        node(os.getpid, None, "a", name="make_a"), node(lambda a: a, "a", "b", name="make_b"),
    ])  # fmt: skip
    with caplog.at_level(logging.INFO):
        run(pipeline, catalog)
    assert catalog.load("b") == os.getpid()
    assert "a would be in the memory of one process alone" in caplog.text


def order_of(*nodes):
    return [n.name for n in sort_by_way_to_end(Pipeline(nodes))]


def test_the_node_with_the_longest_way_to_the_end_comes_first():
    order = order_of(
        node(len, "raw", "a", name="alone"),
        node(len, "raw", "b", name="first"),
        node(len, "b", "c", name="second"),
        node(len, "c", "d", name="third"),
    )
    assert order.index("first") < order.index("second") < order.index("alone")


def test_a_training_at_the_end_is_not_left_for_last():
    short = [node(len, f"s{i}", f"s{i + 1}", name=f"short_{i}") for i in range(4)]
    order = order_of(*short, node(len, "s0", "model", name="long", tags=["train"]))
    assert order[0] == "long"


def test_flights_come_before_a_longer_way_of_short_nodes():
    order = order_of(
        node(len, "model", "told", name="predict"),
        node(len, "told", "metrics", name="evaluate"),
        node(len, "model", "flights", name="fly", tags=["rollout"]),
        node(len, "raw", "other", name="train", tags=["train"]),
    )
    assert order[:3] == ["train", "fly", "predict"]


def test_of_equal_ways_the_one_comes_first_on_which_most_wait():
    order = order_of(
        node(len, "raw", "a", name="of_one"),
        node(len, "raw", "b", name="of_two"),
        node(len, "a", "c", name="c"),
        node(len, "b", "d", name="d"),
        node(len, "b", "e", name="e"),
    )
    assert order.index("of_two") < order.index("of_one")


class TwoPartError(Exception):
    """Cannot be built again from its message alone, which pickle would do."""

    def __init__(self, rule, value):
        super().__init__(f"{rule}: {value}")


def fails_with(error):
    def fail():
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "kind", "told"),
    [
        (ValueError("width is 3, must be 4"), ValueError, "width is 3, must be 4"),
        (TwoPartError("width", 3), NodeProcessError, "TwoPartError: width: 3"),
    ],
)
def test_an_error_arrives_with_its_message_and_its_trace(tmp_path, error, kind, told):
    pipeline = Pipeline([
        node(fails_with(error), None, "a", name="make_a"),
        node(lambda: time.sleep(PATIENCE), None, "b", name="make_b"),
    ])  # fmt: skip
    begun = time.monotonic()
    with pytest.raises(kind, match=told) as caught:
        run(pipeline, catalog_of(tmp_path, "a", "b"))
    assert "in fail" in "".join(caught.value.__notes__)
    assert time.monotonic() - begun < PATIENCE / 2, "the other node was stopped"


def test_ctrl_c_ends_nodes_and_processes_that_wait_for_one_without_a_trace(tmp_path, capfd):
    signs = tmp_path / "a_runs", tmp_path / "b_runs"

    def interrupt_and_wait():
        deadline = time.monotonic() + PATIENCE
        while not (tmp_path / "b").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.5)  # the other process has told of its node by then, and waits
        os.kill(os.getppid(), signal.SIGINT)
        time.sleep(PATIENCE)

    meet_a = meet(*signs)
    pipeline = Pipeline([
        node(lambda: (meet_a(), interrupt_and_wait()), None, "a", name="make_a"),
        node(meet(*reversed(signs)), None, "b", name="make_b"),
    ])  # fmt: skip
    catalog = catalog_of(tmp_path, "a", "b")
    with pytest.raises(SystemExit) as caught:
        run(pipeline, catalog)
    assert caught.value.code == 128 + signal.SIGINT
    assert catalog.load("b")
    assert "Traceback" not in capfd.readouterr().err


def test_a_killed_process_is_named(tmp_path):
    pipeline = Pipeline([
        node(lambda: os.kill(os.getpid(), signal.SIGKILL), None, "a", name="make_a"),
        node(lambda: 1, None, "b", name="make_b"),
    ])  # fmt: skip
    with pytest.raises(NodeProcessError, match=r"process of make_a .* SIGKILL.*concurrent_nodes=1"):
        run(pipeline, catalog_of(tmp_path, "a", "b"))


def load_at_once(folder, data):
    """Two nodes that load the same in two processes, the second of which did nothing before."""
    signs = folder / "first_runs", folder / "second_runs"
    meetings = {"first": meet(*signs), "second": meet(*reversed(signs))}

    def load_in(name):
        return lambda found: [found, meetings[name]()]

    return [node(load_in(name), data, name, name=f"load_{name}") for name in meetings]


def test_a_node_loads_what_another_process_saved_in_this_run(tmp_path):
    """Not the version that was the newest when the run began; nor does a process forked later."""
    catalog_of(tmp_path, "a", version=Version(None, "2026-01-01")).save("a", "old")
    catalog = catalog_of(tmp_path, "a", "first", "second", version=Version(None, "2026-01-02"))
    assert catalog["a"].resolve_load_version() == "2026-01-01"  # as --only-missing-outputs asks
    pipeline = Pipeline([
        node(lambda: "new", None, "a", name="make_a"), *load_at_once(tmp_path, "a"),
    ])  # fmt: skip
    run(pipeline, catalog)
    found = [catalog.load(name) for name in ("first", "second")]
    assert [value for value, _ in found] == ["new", "new"]
    assert len({process for _, process in found}) == 2


def test_a_process_that_had_loaded_a_version_learns_of_a_newer_one(tmp_path):
    old = catalog_of(tmp_path, "a", version=Version(None, "2026-01-01"))
    old.save("a", "old")
    names = ("a", "b", "first", "second")
    catalog = catalog_of(tmp_path, *names, version=Version(None, "2026-01-02"))
    assert catalog["a"].resolve_load_version() == "2026-01-01"
    signs = tmp_path / "a_runs", tmp_path / "b_runs"
    make_a = meet(*signs)
    pipeline = Pipeline([
        node(lambda: make_a() and "new", None, "a", name="make_a"),
        node(meet(*reversed(signs)), None, "b", name="make_b"),
        node(lambda a, b: a, ["a", "b"], "c", name="wait_for_both"),
        *load_at_once(tmp_path, "a"),
    ])  # fmt: skip
    catalog["c"] = TextDataset(tmp_path / "c")
    run(pipeline, catalog)
    assert [catalog.load(name)[0] for name in ("first", "second")] == ["new", "new"]


def test_inputs_are_of_one_version_even_if_another_run_saves_a_newer_one(tmp_path):
    catalog_of(tmp_path, "raw", version=Version(None, "2026-01-01")).save("raw", "old")
    names = ("raw", "a", "b", "first", "second")
    catalog = catalog_of(tmp_path, *names, version=Version(None, "2026-01-02"))

    def make_newer():
        catalog_of(tmp_path, "raw", version=Version(None, "2026-01-03")).save("raw", "newer")

    pipeline = Pipeline([
        node(lambda: make_newer() or "done", None, "a", name="make_a"),
        node(lambda a, raw: raw, ["a", "raw"], "b", name="make_b"),
        *load_at_once(tmp_path, "raw"),
    ])  # fmt: skip
    run(pipeline, catalog)
    assert catalog.load("b") == "old"
    assert [catalog.load(name)[0] for name in ("first", "second")] == ["old", "old"]


class Notebook:
    """A hook that keeps what it saw."""

    def __init__(self):
        self.seen = {}

    @hook_impl
    def after_node_run(self, node):
        self.seen[node.name] = os.getpid()

    def notes(self):
        return self.seen

    def add_notes(self, notes):
        self.seen |= notes


def test_what_hooks_noted_in_the_processes_is_known_here(tmp_path):
    signs = tmp_path / "a_runs", tmp_path / "b_runs"
    pipeline = Pipeline([
        node(meet(*signs), None, "a", name="make_a"),
        node(meet(*reversed(signs)), None, "b", name="make_b"),
    ])  # fmt: skip
    hooks, notebook = _create_hook_manager(), Notebook()
    hooks.register(notebook)
    catalog = catalog_of(tmp_path, "a", "b")
    run(pipeline, catalog, hooks=hooks)
    assert notebook.seen == {"make_a": catalog.load("a"), "make_b": catalog.load("b")}


def test_log_lines_name_their_node(tmp_path, capfd):
    def speak(text):
        logging.getLogger("aquatint.test").warning("says %s", text)
        return text

    handler = logging.StreamHandler(sys.__stderr__)
    logging.getLogger("aquatint").addHandler(handler)
    try:
        pipeline = Pipeline([
            node(lambda: speak("hello"), None, "a", name="part.make_a"),
            node(lambda: speak("100 %"), None, "b", name="part.make_b"),
        ])  # fmt: skip
        run(pipeline, catalog_of(tmp_path, "a", "b"))
    finally:
        logging.getLogger("aquatint").removeHandler(handler)
    told = capfd.readouterr().err
    assert "part.make_a: says hello\n" in told
    assert "part.make_b: says 100 %\n" in told
