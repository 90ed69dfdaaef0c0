"""The order in which an importance map ranks the pixels of its image.

Maps of few values tie everywhere; a sort would break ties from the upper left to the lower right, so chance does.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from inr_xai.metrics.explain import Maps, finite_maps
from inr_xai.types import Images


def descending_ranks(maps: Maps, *, generators: Sequence[torch.Generator]) -> Int[Tensor, "b h w"]:
    """Place of each pixel in the order of falling values, from 0 to hw - 1; ties in a random order.

    Raises ValueError for NaN and infinity.

    Args:
        generators: one CPU generator per image, of which each draws one permutation of the pixels.

    >>> descending_ranks(torch.tensor([[[0.1, 0.9], [0.4, 0.2]]]), generators=[torch.Generator()]).tolist()
    [[[3, 0], [1, 2]]]
    """
    require_one_each(generators, len(maps))
    values = finite_maps(maps).flatten(1)
    drawn = torch.stack([torch.randperm(values.shape[1], generator=draw) for draw in generators]).to(values.device)
    order = drawn.gather(1, values.gather(1, drawn).argsort(dim=1, descending=True, stable=True))
    return order.argsort(dim=1).reshape(maps.shape)


def maps_of(images: Images, maps: Float[Tensor, "..."]) -> Maps:
    """The maps as `finite_maps` has them. Raises ValueError where there is not one in the size of each image."""
    wanted = (len(images), *images.shape[2:])
    if maps.shape != wanted:
        raise ValueError(
            f"expected one map for each image, of shape {wanted}, got {tuple(maps.shape)}; "
            "enlarge the maps to the size of the images"
        )
    return finite_maps(maps)


def require_one_each(generators: Sequence[torch.Generator], images: int) -> None:
    """Raises ValueError unless there is one generator per image."""
    if len(generators) != images:
        raise ValueError(f"expected one generator per image, {images}, got {len(generators)}")
