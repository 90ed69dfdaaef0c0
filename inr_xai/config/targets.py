"""A walk over every `_target_`: can it be imported, and do the keys beside it fit its signature.

Hydra itself finds a misspelt argument only when it instantiates the node, after other nodes have begun their work.
"""

import importlib
import inspect
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, Union, get_args, get_origin

from inr_xai.errors import UserError, did_you_mean, listing, shown

Node = Mapping[str, Any]

HYDRA_KEYS = ("_target_", "_partial_", "_args_", "_convert_", "_recursive_")
KINDS: dict[Any, tuple[type, ...]] = {
    int: (int,),
    float: (int, float),
    str: (str,),
    bool: (bool,),
    types.NoneType: (types.NoneType,),
    None: (types.NoneType,),
}


def check_target(node: Any, key: str) -> None:
    """Raises UserError unless `node` has a `_target_` that can be called with what stands beside it."""
    if not isinstance(node, Mapping) or node.get("_target_") is None:
        raise UserError(
            f"{key}={shown(node)} has no _target_, the import path of what it builds; give {key}._target_=package.Class"
        )
    check_nodes_within(node, key)


def check_nodes_within(value: Any, key: str) -> None:
    """The same for every node inside `value`, which may be of any kind."""
    if isinstance(value, Mapping):
        if "_target_" in value:
            _check_node(value, key)
        for name, part in value.items():
            check_nodes_within(part, f"{key}.{name}")
    elif isinstance(value, list):
        for position, part in enumerate(value):
            check_nodes_within(part, f"{key}[{position}]")


def argument(node: Node, name: str) -> Any:
    """What `name` will be when the node's target is called: the configured value, or the signature's default."""
    if name in node:
        return node[name]
    parameter = _parameters(locate(node["_target_"], "")).get(name)
    return None if parameter is None else parameter.default


def takes(node: Node, name: str) -> bool:
    """Whether the node's target has an argument of this name."""
    parameters = _parameters(locate(node["_target_"], ""))
    return name in parameters or any(one.kind is one.VAR_KEYWORD for one in parameters.values())


def locate(path: str, key: str) -> Callable[..., Any]:
    """The object at a dotted path; `key` names it in the refusal."""
    module, rest = _import(path, f"{key}={path}")
    found: Any = module
    for name in rest:
        if not hasattr(found, name):
            inside = getattr(found, "__name__", path)
            hint = did_you_mean(name, dir(found), prefix=f"{inside}.")
            raise UserError(f"{key}={path} cannot be imported: {inside} has no {name}{hint or '; check the spelling'}")
        found = getattr(found, name)
    if not callable(found):
        raise UserError(f"{key}={path} is a {type(found).__name__}; give a class or a function")
    return found


def _import(path: str, entry: str) -> tuple[types.ModuleType, list[str]]:
    """The longest part of the path that is a module, and the names that remain."""
    if not isinstance(path, str) or not all(part.isidentifier() for part in path.split(".")):
        raise UserError(f"{entry} is not an import path; give one such as package.module.Class")
    parts = path.split(".")
    for end in range(len(parts), 0, -1):
        name = ".".join(parts[:end])
        try:
            return importlib.import_module(name), parts[end:]
        except ModuleNotFoundError as error:
            missing = error.name or ""
            if missing.split(".")[0] == parts[0] and not f"{name}.".startswith(f"{missing}."):
                raise  # a package that misses a part of its own is a bug
            if not f"{name}.".startswith(f"{missing}."):
                raise UserError(
                    f"{entry} cannot be imported: it needs the package {missing}; install {missing}"
                ) from error
        except ImportError as error:
            raise UserError(f"{entry} cannot be imported: {error}; mend {name}") from error
    raise UserError(f"{entry} cannot be imported: there is no package {parts[0]}; check the spelling or install it")


def _parameters(target: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    try:
        return dict(inspect.signature(target).parameters)
    except ValueError:  # written in C without a signature: Python itself checks the call
        return {"args": _ANY_POSITIONAL, "kwargs": _ANY_KEYWORD}


_ANY_POSITIONAL = inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL)
_ANY_KEYWORD = inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD)


def _check_node(node: Node, key: str) -> None:
    parameters = _parameters(locate(node["_target_"], f"{key}._target_"))
    named = {p.name: p for p in parameters.values() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for name in _given(node, key):
        if name in named:
            _check_type(node[name], named[name].annotation, f"{key}.{name}")
        elif not takes_any:
            hint = did_you_mean(name, named, prefix=f"{key}.") or f"; it takes {listing(named) or 'no arguments'}"
            raise UserError(f"{key}.{name}={shown(node[name])} is not an argument of {node['_target_']}{hint}")
    if not node.get("_partial_", False):
        _check_complete(node, key, parameters=parameters)


def _given(node: Node, key: str) -> Iterator[str]:
    """The names of the arguments; refuses a misspelt `_partial_`."""
    for name in node:
        if name.startswith("_") and name.endswith("_"):
            if name not in HYDRA_KEYS:
                hint = did_you_mean(name, HYDRA_KEYS, prefix=f"{key}.")
                raise UserError(f"{key}.{name}={shown(node[name])} is none of Hydra's keys {listing(HYDRA_KEYS)}{hint}")
        else:
            yield name


def _check_complete(node: Node, key: str, *, parameters: Mapping[str, inspect.Parameter]) -> None:
    by_position = len(node.get("_args_") or [])
    for position, parameter in enumerate(parameters.values()):
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) or parameter.name in node:
            continue
        positional = parameter.kind is not parameter.KEYWORD_ONLY and position < by_position
        if parameter.default is parameter.empty and not positional:
            raise UserError(
                f"{key}.{parameter.name} is required by {node['_target_']}: give {key}.{parameter.name}=VALUE "
                f"(or {key}._partial_=true where the program itself supplies it)"
            )


def _check_type(value: Any, annotation: Any, key: str) -> None:
    """Compares with annotations made of int, float, str, bool, None and Literal; others are left to the target."""
    if isinstance(value, Mapping) or (isinstance(value, str) and value == "???"):
        return
    kinds, literals = _members(annotation)
    if kinds is None or (kinds and type(value) in kinds) or value in literals:
        return
    wanted = " | ".join(map(str, literals)) if literals else getattr(annotation, "__name__", str(annotation))
    hint = did_you_mean(str(value), map(str, literals))
    raise UserError(f"{key}={shown(value)} is of the wrong type; it must be {wanted}{hint}")


def _members(annotation: Any) -> tuple[tuple[type, ...] | None, tuple[Any, ...]]:
    """The plain types and the literal values that an annotation allows; None where it allows others too."""
    if get_origin(annotation) is Literal:
        return (), get_args(annotation)
    if get_origin(annotation) in (types.UnionType, Union):
        parts = [_members(part) for part in get_args(annotation)]
        if any(kinds is None for kinds, _ in parts):
            return None, ()
        return tuple(kind for kinds, _ in parts for kind in kinds or ()), tuple(
            v for _, values in parts for v in values
        )
    return KINDS.get(annotation) if annotation.__hash__ else None, ()
