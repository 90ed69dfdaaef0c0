"""Whether a library that translated a checkpoint's keys also changed its values, so that they fit another model.

Such a filter may rename, reshape, transpose, split or join tensors. If it resamples or cuts one, the network computes
another function than the one that was trained.
"""

import torch
from torch import Tensor, nn

from inr_xai.classifier.checkpoint import COUNTER, State


def changed_keys(model: nn.Module, state: State) -> list[str]:
    """Returns the keys of a model whose values are not those of the state that it was loaded from.

    Vectors of one length may differ: some filters bring the parameters of a normalisation into another form. Constants
    stand for what the checkpoint does not have.
    """
    values = {key: value.detach() for key, value in model.state_dict().items() if not key.endswith(COUNTER)}
    floats = {key: value for key, value in values.items() if value.is_floating_point()}
    sources = {key: value.float() for key, value in state.items() if value.is_floating_point()}
    unused: dict[tuple[int, int], list[str]] = {}
    for key, value in sources.items():
        unused.setdefault(fingerprint(value), []).append(key)
    left = []
    for key, value in floats.items():
        if same := unused.get(fingerprint(value)):
            sources.pop(same.pop())
        elif value.numel() and not bool((value == value.flatten()[0]).all()):
            left.append(key)
    vectors = [value.numel() for value in sources.values() if value.ndim == 1]
    for key in list(left):
        if floats[key].ndim == 1 and floats[key].numel() in vectors:
            vectors.remove(floats[key].numel())
            left.remove(key)
    return rearranged(floats, sources, left) if left else []


def fingerprint(value: Tensor) -> tuple[int, int]:
    """Returns the number of a tensor's values and a hash of them in any order."""
    bits = value.float().contiguous().view(torch.int32).long()
    return value.numel(), int(((bits * 0x9E3779B97F4A7C1 ^ (bits >> 13)) * 0x2545F4914F6CDD1D).sum())


def rearranged(floats: State, sources: State, left: list[str]) -> list[str]:
    """Returns those of the keys `left` that are not made of whole tensors among the sources, joined or split."""
    made = torch.cat([floats[key].float().flatten() for key in left])
    whole = [value.flatten() for value in sources.values() if bool(torch.isin(value, made).all())]
    if not whole:
        return left
    given = torch.cat(whole)
    wrong = [key for key in left if not bool(torch.isin(floats[key].float(), given).all())]
    return wrong or (left if given.numel() < made.numel() else [])
