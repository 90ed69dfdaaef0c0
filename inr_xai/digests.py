"""Short hashes of settings and tensors, by which stored results show whether they belong to the settings of now.

A digest names a moved class by the path that it had before (`inr_xai.moved`).
"""

import dataclasses
import functools
import hashlib
import inspect
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inr_xai.moved import old_path, with_old_paths
from inr_xai.seeding import sha256

DIGITS = 10


def describe(part: Any) -> Any:
    """Returns any part of a method as plain values: its class and its arguments, with the defaults of our own classes.

    >>> from inr_xai.perturbation import Jitter
    >>> describe({"jitter": Jitter(shift=0.1), "areas": (0.1, 0.2)})["areas"]
    [0.1, 0.2]
    """
    if part is None or isinstance(part, bool | int | float | str):
        return part
    if isinstance(part, Mapping):
        return {str(key): describe(value) for key, value in part.items()}
    if isinstance(part, Sequence):
        return [describe(value) for value in part]
    if isinstance(part, functools.partial):
        return {"class": _name(part.func), "arguments": _defaults(part.func) | describe(part.keywords)}
    if callable(part) and hasattr(part, "__qualname__"):
        return {"class": _name(part), "arguments": _defaults(part)}
    arguments = {key: value for key, value in _attributes(part).items() if not key.startswith("_")}
    return {"class": _name(type(part)), "arguments": describe(arguments)}


def digest(settings: Mapping[str, Any]) -> str:
    """Returns a short hash of plain values; the order of keys does not matter.

    >>> digest({"a": 1, "b": [2.0]}) == digest({"b": [2.0], "a": 1}) != digest({"a": 2, "b": [2.0]})
    True
    """
    text = json.dumps(with_old_paths(settings), sort_keys=True)
    return sha256(text.encode()).hexdigest()[:DIGITS]


def tensor_digest(values: Tensor) -> str:
    """Returns a hash of a tensor's values in their order and their dtype, but not of its shape."""
    return sha256(values.contiguous().numpy().tobytes()).hexdigest()[:16]


def weights_digest(state: Mapping[str, Any]) -> str:
    """Returns a hash of a model's weights and buffers: their names, dtypes, shapes and bytes, in the order of names.

    Args:
        state: the model's `state_dict()`; of what is no tensor, such as packed parameters, its `repr` counts.
    """
    found = sha256()
    for name, value in sorted(state.items()):
        if not isinstance(value, Tensor):
            found.update(f"\0{name}\0{value!r}\0".encode())
            continue
        found.update(f"\0{name}\0{value.dtype}\0{tuple(value.shape)}\0".encode())
        if value.numel():
            found.update(
                value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data
            )  # no copy on the CPU
    return found.hexdigest()


def file_digest(file: Path) -> str:
    """Returns the SHA-256 of a file, as `sha256sum` prints it."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def manifest_digest(ids: Sequence[str]) -> str:
    """Returns a hash of the ids of a data set's images, one a line, in their order."""
    return sha256("".join(f"{sample_id}\n" for sample_id in ids).encode()).hexdigest()


def _attributes(part: Any) -> dict[str, Any]:
    if dataclasses.is_dataclass(part):
        return {field.name: getattr(part, field.name) for field in dataclasses.fields(part)}
    return dict(getattr(part, "__dict__", {}))


def _name(part: Any) -> str:
    return old_path(f"{part.__module__}.{part.__qualname__}")


def _defaults(part: Any) -> dict[str, Any]:
    """Returns the defaults of our own functions and classes.

    Defaults of other packages are left out: they change with the versions of the packages.
    """
    if not part.__module__.startswith("inr_xai."):
        return {}
    parameters = inspect.signature(part).parameters.values()
    return {p.name: describe(p.default) for p in parameters if p.default is not p.empty}
