"""Per-image random generators derived from (seed, sample_id, ...): no result depends on batch, order or neighbours."""

import hashlib
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def sha256(*parts: bytes) -> "hashlib._Hash":
    """Returns the hash of all parts joined; every hash of the project is made here."""
    return hashlib.sha256(b"".join(parts))


def generator(seed: int, *parts: str | int) -> torch.Generator:
    """Returns a CPU generator seeded by a hash of `seed` and `parts` (such as the sample id and the explanation).

    >>> a, b = generator(0, "cat", 1), generator(0, "cat", 1)
    >>> bool((torch.rand(3, generator=a) == torch.rand(3, generator=b)).all())
    True
    """
    key = "\x1f".join([str(part) for part in (seed, *parts)])
    digest = sha256(key.encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def second_seed(seed: int, sample_id: str) -> int:
    """Returns the seed with which the fit of an image is tried a second time."""
    return generator(seed, sample_id, "again").initial_seed()


def stacked_uniform(
    generators: Sequence[torch.Generator], shape: tuple[int, ...], bound: float
) -> Float[Tensor, "b ..."]:
    """Returns uniform draws in [-bound, bound], those of each image from its own generator."""
    return torch.stack([(torch.rand(shape, generator=draw) * 2 - 1) * bound for draw in generators])


def stacked_normal(generators: Sequence[torch.Generator], shape: tuple[int, ...], std: float) -> Float[Tensor, "b ..."]:
    """Returns normal draws of mean 0, those of each image from its own generator."""
    return torch.stack([torch.randn(shape, generator=draw) * std for draw in generators])
