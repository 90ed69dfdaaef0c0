"""What plain values of a file must look like: `require` compares a value with a shape, and says what does not fit."""

from collections.abc import Mapping
from typing import Any

Shape = Any
"""What a value must be.

A type (`float` means any number, `int` a whole one, `object` anything), a tuple of shapes of which one must fit (None
is null), `[shape]` for a list of such values, or a mapping: its keys, of which those that end with "?" may be missing,
and further keys are free; `{str: shape}` for one shape under any keys.
"""
WHOLE = "its content"
WORDS: dict[Any, str] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "an object",
}


def require(value: object, shape: Shape, place: str = WHOLE) -> None:
    """Raises ValueError, which names the place, unless a value has a shape.

    >>> require({"areas": [0.1], "seed": 3}, {"areas": [float], "seed": int, "name?": str})
    >>> require({"areas": [0.1, "b"]}, {"areas": [float]})
    Traceback (most recent call last):
    ...
    ValueError: areas[1] is text, not a number
    """
    if isinstance(shape, tuple):
        if not any(_fits(value, one) for one in shape):
            raise ValueError(f"{place} is {_words(value)}, not {' or '.join(map(_name, shape))}")
    elif isinstance(shape, list):
        if not isinstance(value, list):
            raise ValueError(f"{place} is {_words(value)}, not a list")
        for position, part in enumerate(value):
            require(part, shape[0], f"{place}[{position}]")
    elif isinstance(shape, Mapping):
        _require_object(value, shape, place)
    elif not _is(value, shape):
        raise ValueError(f"{place} is {_words(value)}, not {_name(shape)}")


def _require_object(value: object, shape: Mapping[Any, Shape], place: str) -> None:
    if not isinstance(value, dict):
        raise ValueError(f"{place} is {_words(value)}, not an object")
    prefix = "" if place == WHOLE else f"{place}."
    for key, part in shape.items():
        if key is str:
            for name, inner in value.items():
                require(inner, part, f"{prefix}{name}")
            continue
        name = key.removesuffix("?")
        if name in value:
            require(value[name], part, f"{prefix}{name}")
        elif name == key:
            raise ValueError(f"{place} has no {name}")


def _fits(value: object, shape: Shape) -> bool:
    try:
        require(value, shape)
    except ValueError:
        return False
    return True


def _is(value: object, kind: Any) -> bool:
    if kind is None:
        return value is None
    if isinstance(value, bool):  # which Python counts among the numbers
        return kind in (bool, object)
    return isinstance(value, int | float if kind is float else kind)


def _name(shape: Shape) -> str:
    if isinstance(shape, list | Mapping):
        return "a list" if isinstance(shape, list) else "an object"
    return "null" if shape is None else WORDS.get(shape, getattr(shape, "__name__", str(shape)))


def _words(value: object) -> str:
    """Says what a value is.

    >>> _words(True), _words(3), _words([]), _words(None)
    ('true or false', 'a whole number', 'a list', 'null')
    """
    return "a list" if isinstance(value, list) else _name(None if value is None else type(value))
