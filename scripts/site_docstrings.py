"""An extension of griffe, which reads the docstrings for the site: doctests become blocks of code."""

import re
from typing import Any

import griffe

DOCTEST = re.compile(r"(?:^ *>>> .*\n?(?:^ *\S.*\n?)*)+", re.M)
"""A doctest with what it prints: it ends with an empty line."""


class DoctestBlocks(griffe.Extension):
    """Puts doctests, which Markdown would take for quotations, into blocks of code."""

    def on_object(self, *, obj: griffe.Object, loader: griffe.GriffeLoader, **kwargs: Any) -> None:
        """Changes the docstring of an object that has one."""
        if obj.docstring is not None:
            obj.docstring.value = with_blocks(obj.docstring.value)


def with_blocks(text: str) -> str:
    """Returns a docstring whose doctests are blocks of code."""

    def block(found: re.Match[str]) -> str:
        code = found[0].rstrip("\n")
        indent = " " * (len(code) - len(code.lstrip(" ")))
        return f"{indent}```pycon\n{code}\n{indent}```\n"

    return DOCTEST.sub(block, text).rstrip("\n")
