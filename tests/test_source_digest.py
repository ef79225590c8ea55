"""Code that a node reaches: what counts as a change and what does not."""

import importlib
import sys
import textwrap

import pytest

from aquatint import source_digest as module

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
    "low.py": "from fakeproject.deep import base\n\ndef helper(x):\n    return base + x\n",
    "deep.py": "base = 1\n",
    "lazy.py": "def late(x):\n    return x\n",
    "other.py": "def elsewhere(x):\n    return x\n",
}


@pytest.fixture
def digest_after(tmp_path, monkeypatch):
    """Write a package with some files changed and return the digest of its node."""
    monkeypatch.setattr(module, "_PACKAGE", "fakeproject")
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
        for cached in (
            module._definitions,
            module._parse,
            module._module_digest,
            module._find,
            module._module_imports,
        ):
            cached.cache_clear()
        return module.source_digest(importlib.import_module("fakeproject.nodes").node)

    return digest


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
        ("other", "return x", "return -x"),
    ],
)
def test_words_and_unreached_code_do_not_count(digest_after, name, old, new):
    before = digest_after()
    changed = FILES[f"{name}.py"].replace(old, new)
    assert changed != FILES[f"{name}.py"]
    assert digest_after(**{name: changed}) == before


def test_a_real_node_reaches_its_library():
    from aquatint.nodes.ingest import ingest_geotext, label_relations

    assert module.source_digest(ingest_geotext) != module.source_digest(label_relations)
    assert "aquatint.data.geotext_records" in module._closure({"aquatint.data.geotext"})
