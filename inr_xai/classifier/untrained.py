"""Random weights that are the same each time a network is built."""

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def fixed_seed() -> Iterator[None]:
    """Makes weights drawn inside the same in every run and shard; does not change the caller's random generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield
