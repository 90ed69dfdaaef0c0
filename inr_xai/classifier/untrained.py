"""What building a network by name needs: the same drawn weights each time, and a helpful word on an unknown name."""

import contextlib
import difflib
from collections.abc import Iterable, Iterator

import torch


@contextlib.contextmanager
def fixed_seed() -> Iterator[None]:
    """Weights drawn inside are the same in each run and shard; the caller's generator stays where it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def closest(name: str, names: Iterable[str]) -> str:
    """What to write instead of a misspelt name.

    >>> closest("resnt50", ["resnet50", "vgg16"])
    'did you mean resnet50?'
    """
    near = difflib.get_close_matches(name.lower(), list(names), n=3, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else "see the library's list of models"
