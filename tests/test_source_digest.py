"""Code that a node reaches: what counts as a change and what does not."""

import importlib
import os
import sys
import textwrap

import pytest

from aquatint import source_digest as module
from aquatint import source_summary

FILES = {
    "nodes.py": """
        from fakeproject.low import helper
        LIMIT = 3

        def node(x):
            \"\"\"Doc.\"\"\"
            # comment
            return helper(x) + LIMIT + inner(x)

        def inner(x):
            from fakeproject.lazy import late
            return late(x)

        def unrelated(x):
            return x
    """,
    "low.py": """
        from fakeproject.deep import base
        unused = 0

        def helper(x):
            return base + x
    """,
    "deep.py": "base = 1\n",
    "lazy.py": "def late(x):\n    return x\n",
    "other.py": "def elsewhere(x):\n    return x\n",
}


@pytest.fixture
def digest_after(tmp_path, monkeypatch):
    """Write a package with some files changed and return the digest of its node.

    As a new process would: nothing is remembered but what is in files.
    """
    monkeypatch.setattr(module, "_PACKAGE", "fakeproject")
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.syspath_prepend(str(tmp_path))
    package = tmp_path / "fakeproject"
    package.mkdir()

    def digest(**changes):
        for name, text in {"__init__.py": "", **FILES}.items():
            text = changes.get(name.removesuffix(".py"), text)
            (package / name).write_text(textwrap.dedent(text))
        for name in [name for name in sys.modules if name.startswith("fakeproject")]:
            del sys.modules[name]
        importlib.invalidate_caches()
        forget()
        return module.source_digest(importlib.import_module("fakeproject.nodes").node)

    yield digest
    forget()


def forget():
    for cached in (
        module._digest_of,
        module._module_imports,
        module._summary,
        module._kept,
        module._find,
        module._folder,
    ):
        cached.cache_clear()


@pytest.fixture
def parsed(monkeypatch):
    """Texts that were parsed, in order."""
    texts = []
    original = source_summary.summarize

    def summarize(source, package):
        texts.append(source.decode())
        return original(source, package)

    monkeypatch.setattr(source_summary, "summarize", summarize)
    return texts


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("nodes", "+ LIMIT", "- LIMIT"),
        ("nodes", "LIMIT = 3", "LIMIT = 4"),
        ("nodes", "return late(x)", "return late(x + 1)"),
        ("low", "base + x", "base - x"),
        ("deep", "base = 1", "base = 2"),
        ("lazy", "return x", "return -x"),
    ],
)
def test_a_change_that_the_node_can_reach_counts(digest_after, name, old, new):
    before = digest_after()
    changed = FILES[f"{name}.py"].replace(old, new)
    assert changed != FILES[f"{name}.py"]
    assert digest_after(**{name: changed}) != before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("nodes", "# comment", "# another comment"),
        ("nodes", "Doc.", "Better words."),
        (
            "nodes",
            "def unrelated(x):\n            return x",
            "def unrelated(x):\n            return 1",
        ),
        ("nodes", "import helper", "import helper, unused"),
        ("other", "return x", "return -x"),
    ],
)
def test_words_and_unreached_code_do_not_count(digest_after, name, old, new):
    before = digest_after()
    changed = FILES[f"{name}.py"].replace(old, new)
    assert changed != FILES[f"{name}.py"]
    assert digest_after(**{name: changed}) == before


def test_a_later_process_parses_only_what_changed(digest_after, parsed):
    first = digest_after()
    assert len(parsed) == 4  # neither other.py, which the node does not reach, nor __init__.py
    del parsed[:]
    assert digest_after() == first
    assert parsed == []
    changed = digest_after(deep="base = 2\n")
    assert parsed == ["base = 2\n"]
    assert changed != first


def test_a_change_counts_whatever_its_size_and_time(digest_after, tmp_path):
    before = digest_after()
    deep = tmp_path / "fakeproject" / "deep.py"
    time = deep.stat()
    deep.write_text("base = 2\n")
    os.utime(deep, ns=(time.st_atime_ns, time.st_mtime_ns))
    assert deep.stat().st_size == time.st_size
    forget()
    node = importlib.import_module("fakeproject.nodes").node
    assert module.source_digest(node) != before


@pytest.mark.parametrize("content", ["", '{"by": "', '{"by": "another version", "summaries": {}}'])
def test_what_is_kept_and_cannot_be_used_is_made_again(digest_after, parsed, tmp_path, content):
    before = digest_after()
    [kept] = (tmp_path / "fakeproject" / "__pycache__").glob("*.json")
    good = kept.read_text()
    kept.write_text(content)
    del parsed[:]
    assert digest_after() == before
    assert len(parsed) == 4
    assert kept.read_text() == good


@pytest.mark.parametrize("reason", ["no bytecode", "read-only"])
def test_nothing_is_kept_where_python_keeps_nothing(digest_after, tmp_path, monkeypatch, reason):
    if reason == "no bytecode":
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
    else:
        monkeypatch.setattr(source_summary, "publish_file", refuse)
    assert digest_after() == digest_after()
    assert not list((tmp_path / "fakeproject" / "__pycache__").glob("*.json"))


def refuse(path, content):
    raise PermissionError(f"{path} cannot be written")


def test_a_real_node_reaches_its_library():
    from aquatint.nodes.ingest import ingest_geotext, label_relations

    assert module.source_digest(ingest_geotext) != module.source_digest(label_relations)
    assert "aquatint.data.geotext_records" in module._closure({"aquatint.data.geotext"})
