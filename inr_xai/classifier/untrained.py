"""Helpers to build a network by its name: the same random weights each time, and a hint for an unknown name."""

import contextlib
import difflib
from collections.abc import Iterable, Iterator

import torch


@contextlib.contextmanager
def fixed_seed() -> Iterator[None]:
    """Makes weights drawn inside the same in every run and shard; does not change the caller's random generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def closest(name: str, names: Iterable[str]) -> str:
    """Returns a hint which name a misspelt one may stand for.

    >>> closest("resnt50", ["resnet50", "vgg16"])
    'did you mean resnet50?'
    """
    near = difflib.get_close_matches(name.lower(), list(names), n=3, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else "see the library's list of models"
