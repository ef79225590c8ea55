"""What of a module's source counts for digests, remembered beside Python's own bytecode."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import json
import sys
from collections.abc import Iterator
from importlib.util import cache_from_source
from pathlib import Path
from typing import TypedDict

from aquatint.storage import publish_file


class Definition(TypedDict):
    """A statement at the top of a module that binds a name.

    Attributes:
        digest: sha256 over the statement without comments and docstrings.
        names: Names of the same module that it refers to.
        imports: Modules, or names in modules, that it imports: ``aquatint.storage.list_files``.
    """

    digest: str
    names: list[str]
    imports: list[str]


class Summary(TypedDict):
    """A module, its comments and docstrings aside.

    Attributes:
        source: sha256 of the text that it was made from.
        digest: sha256 over all of its code.
        imports: Modules, or names in modules, that any of its code imports.
        definitions: Its statements by each name that they bind.
    """

    source: str
    digest: str
    imports: list[str]
    definitions: dict[str, Definition]


def summarize(source: bytes, package: str) -> Summary:
    """Return what counts of a module.

    Args:
        source: Text of the module.
        package: Imports of this package count, those of other packages do not.
    """
    tree = ast.parse(source)
    _drop_docstrings(tree)
    bound = {name: part for part in _statements(tree) for name in _bound_names(part)}
    return {
        "source": _sha256(source),
        "digest": _digest(tree),
        "imports": _imports(tree, package),
        "definitions": {
            name: {
                "digest": _digest(statement),
                "names": sorted(_names(statement) & bound.keys()),
                "imports": _imports(statement, package),
            }
            for name, statement in bound.items()
        },
    }


def _drop_docstrings(tree: ast.Module) -> None:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
            node
        ):
            node.body = node.body[1:] or [ast.Pass()]


def _statements(tree: ast.Module) -> Iterator[ast.stmt]:
    """Statements at the top, one for each name that is imported: what else is does not count."""
    for statement in tree.body:
        match statement:
            case ast.Import(names=names):
                yield from (ast.Import([alias]) for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                yield from (ast.ImportFrom(module, [alias], level) for alias in names)
            case _:
                yield statement


def _bound_names(statement: ast.stmt) -> Iterator[str]:
    match statement:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.Import(names=[alias]) | ast.ImportFrom(names=[alias]):
            yield alias.asname or alias.name.partition(".")[0]
        case ast.Assign() | ast.AnnAssign():
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            for target in targets:
                yield from _names(target)


def _names(tree: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _imports(tree: ast.AST, package: str) -> list[str]:
    """What a piece of code imports of the package, at its top or inside its functions."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return sorted(name for name in found if name.partition(".")[0] == package)


def _digest(tree: ast.AST) -> str:
    return _sha256(ast.dump(tree).encode())


def _sha256(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()


class SummaryFile:
    """Summaries of a package's modules, in one file that later processes read.

    Parsing all that a recipe reaches takes a second, in the command and in each process that runs
    its nodes. A summary counts only for the very text it was made from, so that it cannot be out
    of date; modification times can. Where Python writes no bytecode, nothing is kept.

    Args:
        package: Name of the package.
        folder: Folder of its ``__init__.py``.
    """

    def __init__(self, package: str, folder: Path) -> None:
        self._package = package
        self._path = Path(cache_from_source(folder / "source_summary.py")).with_suffix(".json")
        # By another version of this file, summaries may mean something else.
        self._by = _sha256(Path(__file__).read_bytes())
        self._summaries = self._read()
        self._is_changed = False

    def _read(self) -> dict[str, Summary]:
        try:
            kept = json.loads(self._path.read_bytes())
        except (OSError, ValueError):
            return {}  # none yet, or damaged: what it would say is in the sources
        return kept["summaries"] if kept["by"] == self._by else {}

    def get(self, module: str, path: Path) -> Summary:
        """Return the summary of a module, kept or new.

        Args:
            module: Full name.
            path: Its source.
        """
        source = path.read_bytes()
        kept = self._summaries.get(module)
        if kept is None or kept["source"] != _sha256(source):
            kept = self._summaries[module] = summarize(source, self._package)
            self._is_changed = True
        return kept

    def save(self) -> None:
        """Keep what is new, if Python may write bytecode there."""
        if not self._is_changed or sys.dont_write_bytecode:
            return
        # As with bytecode: a package that only an administrator may write works all the same.
        with contextlib.suppress(OSError):
            content = {"by": self._by, "summaries": self._summaries}
            publish_file(self._path, json.dumps(content).encode())
        self._is_changed = False
