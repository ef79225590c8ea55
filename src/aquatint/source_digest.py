"""Digest of all project code that a node function can reach."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path

_PACKAGE = __name__.partition(".")[0]


def source_digest(func: Callable[..., object]) -> str:
    """Return a digest that changes with the code of ``func`` and of all it can reach.

    Of the function's own module only what it refers to counts, by name and in turn; of modules
    that are imported from there, everything does, and so on. Comments and docstrings do not count.

    Args:
        func: A plain function in a module of this project.
    """
    func = inspect.unwrap(func)
    module = func.__module__
    definitions = _definitions(module)
    total = hashlib.sha256()
    modules: set[str] = set()
    for name in sorted(_reached_names(func.__name__, definitions)):
        tree = definitions[name]
        total.update(ast.dump(tree).encode())
        modules |= _imports(tree)
    for reached in sorted(_closure(modules - {module})):
        total.update(reached.encode() + _module_digest(reached).encode())
    return total.hexdigest()


def _reached_names(start: str, definitions: dict[str, ast.AST]) -> set[str]:
    """Names of the module that ``start`` refers to, directly or through one another."""
    reached, todo = set(), {start}
    while todo:
        name = todo.pop()
        reached.add(name)
        used = {node.id for node in ast.walk(definitions[name]) if isinstance(node, ast.Name)}
        todo |= (used & set(definitions)) - reached
    return reached


@functools.cache
def _definitions(module: str) -> dict[str, ast.AST]:
    """Top-level statements of a module by each name that they bind."""
    found: dict[str, ast.AST] = {}
    for statement in _parse(module).body:
        for name in _bound_names(statement):
            found[name] = statement
    return found


def _bound_names(statement: ast.stmt) -> Iterator[str]:
    match statement:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            yield from (alias.asname or alias.name.partition(".")[0] for alias in names)
        case ast.Assign() | ast.AnnAssign():
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            yield from (
                node.id for t in targets for node in ast.walk(t) if isinstance(node, ast.Name)
            )


@functools.cache
def _parse(module: str) -> ast.Module:
    tree = ast.parse(_path(module).read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
            node
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return tree


def _path(module: str) -> Path:
    path = _find(module)
    if path is None:
        raise ModuleNotFoundError(f"No source of {module}.")
    return path


@functools.cache
def _find(module: str) -> Path | None:
    """File of a project module, found without importing the packages above it, and with them torch.

    ``importlib.util.find_spec("a.b")`` runs ``a``.
    """
    package, *parts = module.split(".")
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return None
    base = Path(spec.origin).parent.joinpath(*parts)
    for path in (base / "__init__.py", base.with_suffix(".py")):
        if path.is_file():
            return path
    return None


@functools.cache
def _module_digest(module: str) -> str:
    return hashlib.sha256(ast.dump(_parse(module)).encode()).hexdigest()


def _closure(modules: set[str]) -> set[str]:
    """The modules and all project modules that they import, at any depth of their code."""
    reached: set[str] = set()
    todo = set(modules)
    while todo:
        module = todo.pop()
        reached.add(module)
        todo |= _module_imports(module) - reached
    return reached


@functools.cache
def _module_imports(module: str) -> frozenset[str]:
    return frozenset(_imports(_parse(module)))


def _imports(tree: ast.AST) -> set[str]:
    """Project modules that a piece of code imports, at its top or inside its functions."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            if node.module.partition(".")[0] == _PACKAGE:
                found |= {_submodule(node.module, alias.name) for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {a.name for a in node.names if a.name.partition(".")[0] == _PACKAGE}
    return found


def _submodule(package: str, name: str) -> str:
    """``package.name`` if that is a module, else ``package``."""
    candidate = f"{package}.{name}"
    return candidate if _find(candidate) else package
