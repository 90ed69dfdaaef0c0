"""A walk over every `_target_`: it must be one that may be built, and its other keys must fit. And the building.

Hydra itself finds a misspelt argument only when it instantiates the node, after other nodes have begun their work.
"""

import inspect
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin

import hydra
from hydra.errors import InstantiationException
from omegaconf import OmegaConf

from inr_xai.config.allowed import check_paths, locate
from inr_xai.errors import UserError, did_you_mean, listing, shown

Node = Mapping[str, Any]

HYDRA_KEYS: dict[str, Any] = {
    "_target_": str,
    "_partial_": bool,
    "_args_": Any,
    "_convert_": Literal["none", "partial", "object", "all"],
    "_recursive_": bool,
}
"""Key of Hydra in a node -> the annotation of its value."""
ACCEPTED_TYPES: dict[Any, tuple[type, ...]] = {
    int: (int,),
    float: (int, float),
    str: (str,),
    bool: (bool,),
    types.NoneType: (types.NoneType,),
    None: (types.NoneType,),
}
"""Annotation -> the types of the values that it accepts."""


def check_target(node: Any, key: str, allow: Sequence[str] = ()) -> None:
    """Raises UserError unless `node` has a `_target_` that may be built, with its other keys as arguments.

    Args:
        key: names the node in a refusal.
        allow: the packages that the user allows, see `inr_xai.config.allowed.locate`.
    """
    _require_target(node, key)
    check_nodes_within(node, key, allow)


def check_nodes_within(value: Any, key: str, allow: Sequence[str] = ()) -> None:
    """Does the same for every node with a `_target_` inside `value`, which may be of any type."""
    if isinstance(value, Mapping):
        if "_target_" in value:
            _check_node(value, key, allow)
        for name, part in value.items():
            check_nodes_within(part, f"{key}.{name}", allow)
    elif isinstance(value, list):
        for position, part in enumerate(value):
            check_nodes_within(part, f"{key}[{position}]", allow)


def argument(node: Node, name: str, allow: Sequence[str] = ()) -> Any:
    """Returns the value of an argument when the node's target is called: as configured, or the signature's default."""
    if name in node:
        return node[name]
    parameter = _parameters(locate(node["_target_"], "_target_", allow)).get(name)
    return None if parameter is None else parameter.default


def takes(node: Node, name: str, allow: Sequence[str] = ()) -> bool:
    """Returns whether the node's target has an argument of this name."""
    parameters = _parameters(locate(node["_target_"], "_target_", allow))
    return name in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def build(node: Any, key: str, allow: Sequence[str]) -> Any:
    """Builds what a node describes. A UserError of its constructor is raised as it is.

    Args:
        key: names the node in a refusal.
        allow: the packages that the user allows, see `inr_xai.config.allowed.locate`.

    Raises:
        UserError: the node has no `_target_`, one in it may not be built, or its arguments are wrong.
    """
    plain = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
    _require_target(plain, key)
    check_paths(plain, key, allow)
    _check_objects(plain, key, allow)
    try:
        return hydra.utils.instantiate(plain, _convert_="all")  # plain lists and dicts, as the types say
    except InstantiationException as error:
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from None
        raise


def _require_target(node: Any, key: str) -> None:
    """Refuses what has no `_target_`."""
    if not isinstance(node, Mapping) or node.get("_target_") is None:
        raise UserError(
            f"{key}={shown(node)} has no _target_, the import path of what it builds; give {key}._target_=package.Class"
        )


def _check_objects(value: Any, key: str, allow: Sequence[str]) -> None:
    """Refuses every `_target_` inside a value that is not of a kind that may be built, and wrong keys of Hydra."""
    if isinstance(value, Mapping):
        if value.get("_target_") is not None:
            locate(value["_target_"], f"{key}._target_", allow)
            list(_argument_names(value, key))
        for name, part in value.items():
            _check_objects(part, f"{key}.{name}", allow)
    elif isinstance(value, list):
        for position, part in enumerate(value):
            _check_objects(part, f"{key}[{position}]", allow)


def _parameters(target: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Returns the parameters of a target by name."""
    try:
        return dict(inspect.signature(target).parameters)
    except ValueError:  # a target written in C may have no signature: Python itself checks the call
        return {"args": _ANY_POSITIONAL, "kwargs": _ANY_KEYWORD}


def _sets_property(target: Callable[..., Any], name: str) -> bool:
    """Returns whether a class has a property of this name, which its constructor sets.

    The signature of such a constructor, as that of transformers' configurations, may name its fields alone, while any
    further keyword is set as an attribute.
    """
    if not isinstance(target, type) or getattr(inspect.getattr_static(target, name, None), "fset", None) is None:
        return False
    code = getattr(inspect.getattr_static(target, "__init__"), "__code__", None)
    return code is not None and bool(code.co_flags & inspect.CO_VARKEYWORDS)


_ANY_POSITIONAL = inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL)
_ANY_KEYWORD = inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD)


def _check_node(node: Node, key: str, allow: Sequence[str]) -> None:
    """Refuses a node whose keys are no arguments of its target, are of a wrong type, or leave a required one out."""
    target = locate(node["_target_"], f"{key}._target_", allow)
    parameters = _parameters(target)
    named = {p.name: p for p in parameters.values() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for name in _argument_names(node, key):
        if name in named:
            _check_type(node[name], named[name].annotation, f"{key}.{name}")
        elif not takes_any and not _sets_property(target, name):
            hint = did_you_mean(name, named, prefix=f"{key}.") or f"; it takes {listing(named) or 'no arguments'}"
            raise UserError(f"{key}.{name}={shown(node[name])} is not an argument of {node['_target_']}{hint}")
    if not node.get("_partial_", False):
        _check_complete(node, key, parameters=parameters)


def _argument_names(node: Node, key: str) -> Iterator[str]:
    """Yields the names of a node's arguments, and refuses a misspelt key of Hydra, such as `_partail_`."""
    for name in node:
        if not isinstance(name, str):
            raise UserError(f"{key}.{name}={shown(node[name])} has no name for a key; give the name of an argument")
        if name.startswith("_") and name.endswith("_"):
            if name not in HYDRA_KEYS:
                hint = did_you_mean(name, HYDRA_KEYS, prefix=f"{key}.")
                raise UserError(f"{key}.{name}={shown(node[name])} is none of Hydra's keys {listing(HYDRA_KEYS)}{hint}")
            if name == "_args_" and not isinstance(node[name], list):
                raise UserError(f"{key}._args_={shown(node[name])} is no list; give {key}._args_=[VALUE]")
            _check_type(node[name], HYDRA_KEYS[name], f"{key}.{name}")
        else:
            yield name


def _check_complete(node: Node, key: str, *, parameters: Mapping[str, inspect.Parameter]) -> None:
    """Refuses a node that leaves out a required argument of its target."""
    by_position = len(node.get("_args_") or [])
    for position, parameter in enumerate(parameters.values()):
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) or parameter.name in node:
            continue
        positional = parameter.kind is not parameter.KEYWORD_ONLY and position < by_position
        if parameter.default is parameter.empty and not positional:
            raise UserError(
                f"{key}.{parameter.name} is required by {node['_target_']}: give {key}.{parameter.name}=VALUE "
                f"(or {key}._partial_=true if the program itself supplies it)"
            )


def _check_type(value: Any, annotation: Any, key: str) -> None:
    """Refuses a value that its annotation of int, float, str, bool, None and Literal does not accept.

    Values with other annotations are left to the target.
    """
    if isinstance(value, Mapping) or (isinstance(value, str) and value == "???"):
        return
    accepted, literals = _accepted(annotation)
    if accepted is None or type(value) in accepted or value in literals:
        return
    expected = " | ".join(map(str, literals)) if literals else getattr(annotation, "__name__", str(annotation))
    hint = did_you_mean(str(value), map(str, literals))
    raise UserError(f"{key}={shown(value)} is of the wrong type; it must be {expected}{hint}")


def _accepted(annotation: Any) -> tuple[tuple[type, ...] | None, tuple[Any, ...]]:
    """Returns the plain types and the literal values that an annotation accepts; None as types if it accepts others."""
    if get_origin(annotation) is Literal:
        return (), get_args(annotation)
    if get_origin(annotation) in (types.UnionType, Union):
        parts = [_accepted(part) for part in get_args(annotation)]
        if any(accepted is None for accepted, _ in parts):
            return None, ()
        plain_types = tuple(kind for accepted, _ in parts for kind in accepted or ())
        return plain_types, tuple(value for _, literals in parts for value in literals)
    return ACCEPTED_TYPES.get(annotation) if annotation.__hash__ else None, ()
