"""What metrics are given: importance maps, the explainers that make them, and the score they ask of a model.

Maps of few values tie everywhere; a sort would break ties from the upper left to the lower right, so chance does.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from inr_xai.masks import require_one_each
from inr_xai.types import Classifier, Images, Targets

Maps = Float[Tensor, "b h w"]
"""Importance maps, any real values; larger is more important."""

Explain = Callable[[Images, Targets], Maps]
"""Images and the class to explain in each, to their maps, as large as the images.

Gradients are on or off as the caller has them: a method that needs them turns them on. Random draws of its own should
follow the image's place and not its pixels (`INRAttribution`: pass image_ids), or their noise is measured too.
"""

ExplainWith = Callable[[nn.Module, Images, Targets], Maps]
"""The same for a model that comes with each call; nothing may be remembered of an earlier one."""

Score = Callable[[Images, Targets], Float[Tensor, " b"]]
"""Images b x c x h x w and class indices to probabilities, without gradients; any number of images at once."""


def explained(explain: Explain, images: Images, targets: Targets) -> Maps:
    """The maps of the images, checked as in `finite_maps`. Raises ValueError where their shape is not b x h x w."""
    maps = explain(images, targets)
    wanted = (len(images), *images.shape[2:])
    if maps.shape != wanted:
        raise ValueError(
            f"expected one map for each image, of shape {wanted}, got {tuple(maps.shape)}; "
            "sum over channels, index the one there is, or enlarge the maps to the size of the images"
        )
    return finite_maps(maps)


def finite_maps(maps: Maps) -> Maps:
    """The maps without their graph, in single precision or better. Raises ValueError for NaN and infinity."""
    bad = ~maps.isfinite().flatten(1).all(1)
    if bad.any():
        raise ValueError(
            f"expected finite maps, got NaN or infinity in the maps {bad.nonzero().flatten().tolist()}; "
            "leave out the images that failed"
        )
    return maps.detach().to(torch.promote_types(maps.dtype, torch.float32))


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


def probability_score(classifier: Classifier, *, batch_size: int = 32) -> Score:
    """The classifier's probability of the target class, `batch_size` images at a time (memory).

    The classifier is frozen for each call and left as it was. Raises ValueError where a logit is not finite.
    """

    @torch.no_grad()
    def score(images: Images, targets: Targets) -> Float[Tensor, " b"]:
        parts = zip(images.split(batch_size), targets.to(images.device).split(batch_size), strict=True)
        with classifier.frozen(images.device, images.dtype):
            logits = [(classifier(some).float(), wanted) for some, wanted in parts]
        if not all(bool(values.isfinite().all()) for values, _ in logits):
            raise ValueError("expected finite logits, got NaN or infinity; leave out the images that failed")
        return torch.cat([classifier.probability(values, wanted) for values, wanted in logits])

    return score
