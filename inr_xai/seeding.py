"""Per-image random generators derived from (seed, sample_id, ...): no result depends on batch, order or neighbours."""

import hashlib

import torch


def generator(seed: int, *parts: str | int) -> torch.Generator:
    """A CPU generator seeded by a SHA-256 hash of `seed` and `parts` (such as the sample id and the explanation).

    >>> a, b = generator(0, "cat", 1), generator(0, "cat", 1)
    >>> bool((torch.rand(3, generator=a) == torch.rand(3, generator=b)).all())
    True
    """
    key = "\x1f".join(str(part) for part in (seed, *parts))
    digest = hashlib.sha256(key.encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
