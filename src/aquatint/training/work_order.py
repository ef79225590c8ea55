"""Function, arguments and results as a folder of JSON, Parquet and safetensors; nothing pickled."""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

if TYPE_CHECKING:
    from torch import Tensor

# What stands in an order's folder besides; an error has a file for each rank.
ARGUMENTS, RESULT, STOPPED, ERRORS = "arguments", "result", "stopped.json", "errors"
VALUE, TENSORS = "value.json", "tensors.safetensors"
_PACKAGE = __name__.partition(".")[0]
# Written as they are; all else is an object with its kind as the only key.
_PLAIN = (str, int, float, bool, type(None))


def name_function(function: Callable[..., Any]) -> str:
    """Return ``module:function`` of a plain function of this package.

    Raises:
        ValueError: If another process could not find it under that name.
    """
    name = f"{function.__module__}:{function.__qualname__}"
    if find_function(name) is not function:
        raise ValueError(f"Ranks can run a module's own functions alone, got {name}.")
    return name


def find_function(name: str) -> Callable[..., Any]:
    """Return the function of this package that ``name_function`` named.

    Raises:
        ValueError: If it is none of this package.
    """
    found = _find(name)
    if not inspect.isfunction(found) or found.__module__ != name.partition(":")[0]:
        raise ValueError(f"{name} is no function of {_PACKAGE}.")
    return found


def write_value(value: object, folder: Path) -> None:
    """Write a value into an empty folder.

    Args:
        value: JSON values, tuples, tables, tensors, and dataclasses, named tuples and parameter
            models of this package, nested in any way.
        folder: Where to; must exist.

    Raises:
        TypeError: If a part is anything else.
    """
    from safetensors.torch import save_file

    tensors: dict[str, Tensor] = {}
    content = json.dumps(_encode(value, folder, tensors))
    save_file(tensors, folder / TENSORS)
    (folder / VALUE).write_text(content)


def read_value(folder: Path) -> Any:  # noqa: ANN401 - whatever was written
    """Return what ``write_value`` wrote.

    Raises:
        ValueError: If a type is none of this package.
    """
    from safetensors.torch import load_file

    content = json.loads((folder / VALUE).read_text())
    return _decode(content, folder, load_file(folder / TENSORS))


def _encode(value: object, folder: Path, tensors: dict[str, Tensor]) -> object:
    import pandas as pd
    import torch

    def encode(part: object) -> object:
        return _encode(part, folder, tensors)

    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, pd.DataFrame):
        name = f"table-{len(list(folder.glob('table-*')))}.parquet"
        value.to_parquet(folder / name)
        return {"table": name}
    if isinstance(value, torch.Tensor):
        tensors[str(len(tensors))] = value.detach().cpu().clone().contiguous()
        return {"tensor": str(len(tensors) - 1)}
    if isinstance(value, torch.device):
        return {"device": str(value)}
    return _encode_nested(value, encode)


def _encode_nested(value: object, encode: Callable[[object], object]) -> object:
    if isinstance(value, BaseModel):
        return {"model": [_name_type(value), value.model_dump(mode="json")]}
    if is_dataclass(value):
        parts = {field.name: getattr(value, field.name) for field in fields(value)}
        return {"object": [_name_type(value), {name: encode(p) for name, p in parts.items()}]}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        parts = value._asdict()
        return {"object": [_name_type(value), {name: encode(p) for name, p in parts.items()}]}
    if isinstance(value, tuple):
        return {"tuple": [encode(part) for part in value]}
    if isinstance(value, list):
        return [encode(part) for part in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": {key: encode(part) for key, part in value.items()}}
    raise TypeError(
        f"Ranks are given JSON values, tables, tensors and types of {_PACKAGE}, got "
        f"{type(value).__name__}."
    )


def _decode(content: Any, folder: Path, tensors: dict[str, Tensor]) -> Any:  # noqa: ANN401
    def decode(part: object) -> Any:  # noqa: ANN401
        return _decode(part, folder, tensors)

    if isinstance(content, _PLAIN):
        return content
    if isinstance(content, list):
        return [decode(part) for part in content]
    [(kind, inner)] = content.items()
    match kind:
        case "tuple":
            return tuple(decode(part) for part in inner)
        case "dict":
            return {key: decode(part) for key, part in inner.items()}
        case "model":
            return _find_type(inner[0]).model_validate(inner[1])
        case "object":
            return _find_type(inner[0])(**{name: decode(part) for name, part in inner[1].items()})
        case _:
            return _decode_leaf(kind, inner, folder, tensors)


def _decode_leaf(kind: str, name: str, folder: Path, tensors: dict[str, Tensor]) -> object:
    import pandas as pd
    import torch

    match kind:
        case "table":
            # The bare name: a path in the file must not lead out of the folder.
            return pd.read_parquet(folder / Path(name).name)
        case "tensor":
            return tensors[name]
        case "device":
            return torch.device(name)
        case _:
            raise ValueError(f"{folder / VALUE} holds the unknown kind {kind!r}.")


def _name_type(value: object) -> str:
    kind = type(value)
    name = f"{kind.__module__}:{kind.__qualname__}"
    _find_type(name)
    return name


def _find_type(name: str) -> Any:  # noqa: ANN401 - a class
    found = _find(name)
    is_value = isinstance(found, type) and (
        is_dataclass(found) or issubclass(found, BaseModel | tuple)
    )
    if not is_value:
        raise ValueError(f"{name} is no dataclass, named tuple or parameter model of {_PACKAGE}.")
    return found


def _find(name: str) -> Any:  # noqa: ANN401 - whatever has that name
    module, _, attribute = name.partition(":")
    if module.split(".")[0] != _PACKAGE or not attribute.isidentifier():
        raise ValueError(f"{name} is nothing of {_PACKAGE}.")
    return getattr(importlib.import_module(module), attribute, None)
