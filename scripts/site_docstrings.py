"""An extension of griffe, which reads the docstrings for the site: they get the forms that griffe and Markdown know."""

import re
from typing import Any

import griffe

DOCTEST = re.compile(r"(?:^ *>>> .*\n?(?:^ *\S.*\n?)*)+", re.M)
"""A doctest with what it prints: it ends with an empty line."""
SHARED = re.compile(r"^(?P<indent> +)(?P<names>\w+(?:, \w+)+):(?P<text> .*\n?(?:(?P=indent) +.*\n?)*)", re.M)
"""Arguments with one description, such as `mean, std: ...`."""


class Docstrings(griffe.Extension):
    """Puts doctests, which Markdown would take for quotations, into blocks, and describes each argument by itself."""

    def on_object(self, *, obj: griffe.Object, loader: griffe.GriffeLoader, **kwargs: Any) -> None:
        """Changes the docstring of an object that has one."""
        if obj.docstring is not None:
            obj.docstring.value = with_blocks(with_each_argument(obj.docstring.value))


def with_blocks(text: str) -> str:
    """Returns a docstring whose doctests are blocks of code."""

    def block(found: re.Match[str]) -> str:
        code = found[0].rstrip("\n")
        indent = " " * (len(code) - len(code.lstrip(" ")))
        return f"{indent}```pycon\n{code}\n{indent}```\n"

    return DOCTEST.sub(block, text).rstrip("\n")


def with_each_argument(text: str) -> str:
    """Returns a docstring in which arguments that share a description have it each."""

    def each(found: re.Match[str]) -> str:
        description = found["text"].rstrip("\n")
        lines = [f"{found['indent']}{name}:{description}" for name in found["names"].split(", ")]
        return "\n".join(lines) + "\n"

    head, args, rest = text.partition("Args:\n")
    if not args:
        return text
    arguments, end, after = rest.partition("\n\n")
    return head + args + SHARED.sub(each, arguments).rstrip("\n") + end + after
