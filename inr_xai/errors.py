"""The one exception for what a user can correct: a sentence with the cause and the remedy. And helpers to word it.

This module does not import torch, so that a refusal comes at once.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

FAULT, REFUSED, IMAGES_FAILED, INTERRUPTED, TERMINATED = 1, 2, 3, 130, 143
"""Exit statuses of the programs besides 0 (done); a bug has the status of a fault, and its traceback."""
WORKED_ON, LEFT_ALONE = 4, 5
"""Exit statuses of `inr-xai status` besides those: images are left and somebody works on them, or nobody does."""
NO_MEMORY = "can't allocate memory|not enough memory|out of memory"
"""What torch says if an allocation fails."""


class UserError(ValueError):
    """Raised for bad input; the command line prints its message alone, without a traceback."""


class Unreachable(UserError):  # noqa: N818, as RunFault
    """Raised if an image cannot be read because the data are out of reach, not because of its file."""


PYTHON = (
    (r"\(classifier\.mean, classifier\.std\)", "(input_mean, input_std)"),
    (r"\(data\.targets, data\.classes\)", "(an index from 0)"),
    (r"classifier\.(mean|std)\b", r"input_\1"),
    (r"classifier\.head=([a-z_]+)", r"head='\1'"),
    (r"classifier\.(head|classes)\b", r"\1"),
    (r"data\.targets=([a-z]+)", r"target='\1'"),
    (r"\(data\.targets, ", "(target, "),
    (r"data\.targets\b", "target"),
    (r"use inr\.conditioning=none or leave", "use inr=partial(FeatureGridINR, conditioning='none') or leave"),
    (r"\binr\.conditioning=([a-z_]+)", r"conditioning='\1'"),
    (r"\binr\.([a-z_]+)=", r"\1="),
    (r"\binr=feature_grid\b", "inr=FeatureGridINR"),
    (r"\binr=pyramid\b", "inr=PyramidINR"),
    (r"\barea_rule=projection", "area_rule=AreaProjection()"),
    (r"a smaller optimizer\.lr", "a smaller learning rate"),
    (r"\bnull\b", "None"),
    (r"=true\b", "=True"),
    (r"=false\b", "=False"),
)
"""What a sentence of the command line says in Python, as patterns and what stands for them."""


def in_python(sentence: str) -> str:
    """Returns a sentence about options of the command line as one about arguments of the Python API.

    >>> in_python("set classifier.head=none, or check data.targets")
    "set head='none', or check target"
    """
    for pattern, words in PYTHON:
        sentence = re.sub(pattern, words, sentence)
    return sentence


@contextmanager
def speaking_python() -> Iterator[None]:
    """A context, or a decorator, in which what UserErrors say is said of arguments of the Python API."""
    try:
        yield
    except UserError as error:
        error.args = (in_python(str(error)),)
        raise


class RunFault(Exception):  # noqa: N818, it is no error of the user or of the program
    """Raised for a fault of the machine that ends the whole run, such as a full disk or a folder that is gone.

    No image is to blame, so the work on one image lets it through. The command line prints its message alone, which
    says what to do, and ends with the status 1.
    """


def is_out_of_memory(error: BaseException) -> bool:
    """Returns whether an error says that the memory of the machine or of its accelerator is used up.

    >>> is_out_of_memory(MemoryError()), is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory"))
    (True, True)
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # the name of torch's
        return True
    return isinstance(error, RuntimeError) and re.search(NO_MEMORY, str(error)) is not None


def did_you_mean(word: str, choices: Iterable[str], *, prefix: str = "", most: int = 1, cutoff: float = 0.6) -> str:
    """Returns the end of an error message: the most similar choices, or nothing if none is similar.

    Args:
        most: number of choices that are named.
        cutoff: the least similarity, in [0, 1].

    >>> did_you_mean("widht", ["width", "depth"], prefix="inr.")
    '; did you mean inr.width?'
    >>> did_you_mean("colour", ["width", "depth"])
    ''
    """
    close = get_close_matches(word, list(choices), n=most, cutoff=cutoff)
    return f"; did you mean {' or '.join(prefix + choice for choice in close)}?" if close else ""


def listing(choices: Iterable[str]) -> str:
    """Returns the choices in alphabetical order, for an error message.

    >>> listing(["b", "a"])
    'a, b'
    """
    return ", ".join(sorted(choices))


def shown(value: Any) -> str:
    """Returns a value as it is written on the command line.

    >>> shown(None), shown(True), shown([0.1, 0.2])
    ('null', 'true', '[0.1,0.2]')
    """
    if isinstance(value, list):
        return "[" + ",".join(shown(part) for part in value) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{shown(part)}" for key, part in value.items()) + "}"
    words = {None: "null", True: "true", False: "false"}
    return words[value] if value is None or isinstance(value, bool) else str(value)


def error_text(error: BaseException) -> str:
    """Returns what an error says, on one line, or its kind if it says nothing.

    >>> error_text(ValueError("no\\n  object")), error_text(MemoryError())
    ('no object', 'MemoryError')
    """
    return " ".join(str(error).split()) or type(error).__name__
