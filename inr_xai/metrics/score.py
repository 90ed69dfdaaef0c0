"""The score that metrics ask of a model: the probability of each image's target class."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from inr_xai.metrics.trial import Classifier
from inr_xai.types import Images, Targets

Score = Callable[[Images, Targets], Float[Tensor, " b"]]
"""Images b x c x h x w and class indices to probabilities, without gradients; any number of images at once."""


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
