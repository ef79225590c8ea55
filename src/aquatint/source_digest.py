"""Digest of all project code that a node function can reach."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import inspect
import os.path
from collections.abc import Callable, Iterable
from pathlib import Path

from aquatint.source_summary import Definition, Summary, SummaryFile

_PACKAGE = __name__.partition(".")[0]


def source_digest(func: Callable[..., object]) -> str:
    """Return a digest that changes with the code of ``func`` and of all it can reach.

    Of the function's own module only what it refers to counts, by name and in turn; of modules
    that are imported from there, everything does, and so on. Comments and docstrings do not count.

    Args:
        func: A plain function in a module of this project.
    """
    func = inspect.unwrap(func)
    digest = _digest_of(func.__module__, func.__name__)
    _kept().save()
    return digest


@functools.cache
def _digest_of(module: str, function: str) -> str:
    definitions = _summary(module)["definitions"]
    total = hashlib.sha256()
    imports: set[str] = set()
    for name in sorted(_reached_names(function, definitions)):
        total.update(definitions[name]["digest"].encode())
        imports |= _modules(definitions[name]["imports"])
    for reached in sorted(_closure(imports - {module})):
        total.update(reached.encode() + _summary(reached)["digest"].encode())
    return total.hexdigest()


def _reached_names(start: str, definitions: dict[str, Definition]) -> set[str]:
    """Names of the module that ``start`` refers to, directly or through one another."""
    reached, todo = set(), {start}
    while todo:
        name = todo.pop()
        reached.add(name)
        todo |= set(definitions[name]["names"]) - reached
    return reached


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
    return frozenset(_modules(_summary(module)["imports"]))


def _modules(imports: Iterable[str]) -> set[str]:
    """The modules themselves: ``a.b`` for ``a.b.name`` if ``name`` is no module."""
    return {name if _find(name) else name.rpartition(".")[0] for name in imports}


@functools.cache
def _summary(module: str) -> Summary:
    path = _find(module)
    if path is None:
        raise ModuleNotFoundError(f"No source of {module}.")
    return _kept().get(module, Path(path))


@functools.cache
def _kept() -> SummaryFile:
    return SummaryFile(_PACKAGE, Path(_folder(_PACKAGE)))


@functools.cache
def _find(module: str) -> str | None:
    """File of a project module, found without importing the packages above it, and with them torch.

    ``importlib.util.find_spec("a.b")`` runs ``a``.
    """
    package, *parts = module.split(".")
    base = os.path.join(_folder(package), *parts)  # noqa: PTH118 - thousands, five times as fast
    candidates = (os.path.join(base, "__init__.py"), f"{base}.py")  # noqa: PTH118
    return next((path for path in candidates if os.path.isfile(path)), None)  # noqa: PTH113


@functools.cache
def _folder(package: str) -> str:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"No source of {package}.")
    return os.path.dirname(spec.origin)  # noqa: PTH120
