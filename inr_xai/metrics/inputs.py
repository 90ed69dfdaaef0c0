"""The inputs of metrics: importance maps, functions that explain, and functions that return a model's score.

A map of few values has ties everywhere. A sort would order them from the upper left to the lower right, so they are
ordered at random.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn

from inr_xai.masks import require_one_each
from inr_xai.seeding import generator, sha256
from inr_xai.types import Classifier, Images, Logits, Targets

Maps = Float[Tensor, "b h w"]
"""Importance maps of any real values; larger is more important."""

OneChannel = Float[Tensor, "b h w"] | Float[Tensor, "b 1 h w"]
"""Importance maps with or without the axis of their one channel, as `update` of the classes takes them."""

Marked = Shaped[Tensor, "b h w"] | Shaped[Tensor, "b 1 h w"]
"""True or 1 on what is marked, False or 0 elsewhere, as `update` of the classes takes it."""

Explain = Callable[[Images, Targets], Maps]
"""A function of images and the class to explain in each, which returns maps in the size of the images.

A method that needs gradients turns them on. Its random draws should depend on the image's place in the batch and not
on its pixels (`INRAttribution`: pass image_ids), or their noise is measured too.
"""

ExplainWith = Callable[[nn.Module, Images, Targets], Maps]
"""A function like `Explain` whose first argument is the model to explain; it may keep nothing of an earlier model."""

Score = Callable[[Images, Targets], Float[Tensor, " b"]]
"""A function of images b x c x h x w and class indices, which returns one number each without gradients.

It is a probability, unless a metric asks for something else.

It takes any number of images at once.
"""


def without_channel(maps: OneChannel) -> Maps:
    """Returns maps without the axis of their one channel."""
    return maps.squeeze(1) if maps.ndim == 4 else maps


def as_bool(marked: Shaped[Tensor, "*shape"]) -> Bool[Tensor, "*shape"]:
    """Returns True where a tensor is 1. Raises ValueError for other values than 0 and 1.

    >>> as_bool(torch.tensor([[0, 1]])).tolist()
    [[False, True]]
    """
    if marked.dtype == torch.bool:
        return marked
    others = marked[(marked != 0) & (marked != 1)]
    if len(others):
        raise ValueError(
            f"expected masks of 0 and 1, or of False and True, got {others[0].item():.4g}; compare them first, such as "
            "masks > 0.5 or labels == class_index"
        )
    return marked == 1


def tie_generators(maps: Maps, seed: int) -> list[torch.Generator]:
    """Returns a generator for the ties of each map, seeded by the map itself: no batch and no process matters."""
    digests = [sha256(values.float().cpu().numpy().tobytes()).hexdigest() for values in maps.detach()]
    return [generator(seed, digest, "ties") for digest in digests]


def checked_maps(explain: Explain, images: Images, targets: Targets) -> Maps:
    """Returns the maps of the images as `finite_maps` does. Raises ValueError if their shape is not b x h x w."""
    return maps_of(images, explain(images, targets))


def finite_maps(maps: Maps) -> Maps:
    """Returns maps without their graph, in single precision or better. Raises ValueError for NaN and infinity."""
    bad = ~maps.isfinite().flatten(1).all(1)
    if bad.any():
        raise ValueError(
            f"expected finite maps, got NaN or infinity in the maps {bad.nonzero().flatten().tolist()}; "
            "leave out the images that failed"
        )
    return maps.detach().to(torch.promote_types(maps.dtype, torch.float32))


def descending_ranks(maps: Maps, *, generators: Sequence[torch.Generator]) -> Int[Tensor, "b h w"]:
    """Returns the place of each pixel in the order of falling values, from 0 to hw - 1; ties are in a random order.

    Raises ValueError for NaN and infinity.

    Args:
        generators: one CPU generator per image; each draws one permutation of the pixels.

    >>> descending_ranks(torch.tensor([[[0.1, 0.9], [0.4, 0.2]]]), generators=[torch.Generator()]).tolist()
    [[[3, 0], [1, 2]]]
    """
    require_one_each(generators, len(maps))
    values = finite_maps(maps).flatten(1)
    drawn = torch.stack([torch.randperm(values.shape[1], generator=draw) for draw in generators]).to(values.device)
    order = drawn.gather(1, values.gather(1, drawn).argsort(dim=1, descending=True, stable=True))
    return order.argsort(dim=1).reshape(maps.shape)


def maps_of(images: Images, maps: Float[Tensor, "..."]) -> Maps:
    """Returns the maps as `finite_maps` does. Raises ValueError unless there is one in the size of each image."""
    shape = (len(images), *images.shape[2:])
    if maps.shape != shape:
        raise ValueError(
            f"expected one map for each image, of shape {shape}, got {tuple(maps.shape)}; "
            "sum over channels, index the one there is, or enlarge the maps to the size of the images"
        )
    return finite_maps(maps)


def probability_score(classifier: Classifier, *, batch_size: int = 32) -> Score:
    """Returns a function that computes the classifier's probability of the target class.

    The classifier is frozen for each call and then left as it was. The function raises ValueError if a logit is not
    finite.

    Args:
        batch_size: images that go through the classifier at once (memory).
    """
    return _score_by(classifier, classifier.probability, batch_size)


def logit_score(classifier: Classifier, *, batch_size: int = 32) -> Score:
    """Returns a function that computes the classifier's logit of the target class, as `probability_score` does."""

    def logit(logits: Logits, targets: Targets) -> Float[Tensor, " b"]:
        return logits.gather(1, targets.unsqueeze(1)).squeeze(1)

    return _score_by(classifier, logit, batch_size)


def accuracy_score(classifier: Classifier, *, batch_size: int = 32) -> Score:
    """Returns a function that gives 1 where the target class has the largest logit, else 0, as `probability_score`."""

    def right(logits: Logits, targets: Targets) -> Float[Tensor, " b"]:
        return (logits.argmax(1) == targets).to(logits)

    return _score_by(classifier, right, batch_size)


def _score_by(classifier: Classifier, read: Callable[[Logits, Targets], Float[Tensor, " b"]], batch_size: int) -> Score:
    """Returns a function that reads one number of each image from the logits of a frozen classifier."""

    @torch.no_grad()
    def score(images: Images, targets: Targets) -> Float[Tensor, " b"]:
        parts = zip(images.split(batch_size), targets.to(images.device).split(batch_size), strict=True)
        with classifier.frozen(images.device, images.dtype):
            logits = [(classifier(part).float(), classes) for part, classes in parts]
        if not all(bool(values.isfinite().all()) for values, _ in logits):
            raise ValueError("expected finite logits, got NaN or infinity; leave out the images that failed")
        return torch.cat([read(values, classes) for values, classes in logits])

    return score
