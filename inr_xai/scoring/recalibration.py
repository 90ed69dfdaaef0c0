"""A temperature for masked images of each area, so that their probabilities say how often the classifier is right.

Decker, Tresp, Buettner, "Improving Perturbation-based Explanations by Understanding the Role of Uncertainty
Calibration", NeurIPS 2025 (ReCalX): logits are divided by a temperature that depends on how much of the input is
perturbed, and that minimises the cross-entropy of labels under random perturbations of that strength. Here the strength
is one area of the masks, and a perturbation a random smooth mask under one draw of each scoring baseline. Temperature
scaling: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section 4.2.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from inr_xai.classifier.frozen import FrozenClassifier, in_parts
from inr_xai.errors import UserError
from inr_xai.masks import hard_masks
from inr_xai.scoring.baselines import scoring_baselines
from inr_xai.scoring.random_masks import smooth_fields
from inr_xai.seeding import generator
from inr_xai.types import Image, Images, Logits, Targets

HOTTEST = 1000.0
"""The largest temperature, of logits that say nothing about the labels; the lowest is its inverse."""
HALVINGS = 60  # of the bracket: the temperature is exact up to rounding


def fit_temperature(logits: Logits, labels: Targets) -> float:
    """Returns the temperature T > 0 that minimises the cross-entropy of the labels under softmax(logits / T).

    The cross-entropy is convex in 1/T, and its derivative, mean(sum_j p_j (z_j - z_label)), is zero at one point: it is
    found by bisection. T is 1/1000 if every label has the largest logit, and 1000 if the logits say the opposite of the
    labels or nothing about them. Raises ValueError for logits that are not finite, and for none.

    >>> round(fit_temperature(torch.tensor([[2.0, 0.0]] * 10), torch.tensor([0] * 8 + [1] * 2)), 4)  # 2 / ln 4
    1.4427
    """
    if not len(logits) or not logits.isfinite().all():
        raise ValueError("expected finite logits of at least one image; leave out the images that failed")
    values = logits.detach().double()
    over_label = values - values.gather(1, labels.to(values.device).unsqueeze(1))

    def slope(inverse: float) -> float:
        return float(((inverse * values).softmax(1) * over_label).sum(1).mean())

    low, high = -math.log(HOTTEST), math.log(HOTTEST)  # of ln 1/T
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(math.exp(middle)) <= 0 else (low, middle)
    return math.exp(-(low + high) / 2)


def label_entropy(logits: Logits, labels: Targets, temperature: float) -> float:
    """Returns the mean cross-entropy, in nats, of the labels under softmax(logits / T); lower is better.

    >>> round(label_entropy(torch.zeros(3, 4), torch.tensor([0, 1, 2]), 2.0), 4)  # ln 4
    1.3863
    """
    return float(F.cross_entropy(logits.detach().double() / temperature, labels.to(logits.device)))


def require_softmax(classifier: FrozenClassifier) -> None:
    """Raises UserError for another head than a softmax: the temperature of `fit_temperature` is that of a softmax."""
    if classifier.head != "softmax":
        raise UserError(
            f"the temperature is that of a softmax over logits, and the classifier has classifier.head="
            f"{classifier.head}; use one that returns the logits of classes of which an image has one "
            "(classifier.head=softmax)"
        )


def tempered(classifier: FrozenClassifier, temperature: float) -> FrozenClassifier:
    """Returns a classifier whose logits are those of another one divided by a temperature.

    Raises UserError as `require_softmax` does, and for a temperature that is not positive.
    """
    require_softmax(classifier)
    if not 0 < temperature < math.inf:
        raise UserError(f"a temperature must be positive, got {temperature:g}; fit it with fit_temperature")
    if not isinstance(classifier.model, nn.Module):
        raise UserError("only a torch.nn.Module can be frozen behind a temperature; wrap the function in one")
    return classifier.of(_Tempered(classifier.model, temperature))


@torch.no_grad()
def masked_logits(
    classifier: FrozenClassifier,
    image: Image,
    *,
    areas: Sequence[float],
    sample_id: str,
    seed: int,
    photos: Images,
    masks: int = 4,
    at_once: int = 32,
) -> Float[Tensor, "a e n"]:
    """Returns the logits of an image under random smooth hard masks: `masks` of each area, each under four baselines.

    Mask i is under draw i, modulo the number of draws, of each baseline. The masks of all areas are of the same fields.

    Args:
        image: values in [0, 1], on the device that computes.
        sample_id, seed: name the random masks and the noise.
        photos: photos of the scoring pool for the image.
        at_once: masked copies that go through the classifier at once (memory).
    """
    images = image.unsqueeze(0)
    colour = torch.tensor(classifier.colour_mean)
    draws = scoring_baselines(images, [sample_id], seed=seed, colour_mean=colour, photos=photos.unsqueeze(0))
    size = image.shape[-2], image.shape[-1]
    fields = smooth_fields(size, generators=[generator(seed, sample_id, "recalibration")], count=masks).to(images)
    copies = []
    for area in areas:
        ties = [generator(seed, sample_id, "recalibration", repr(area))]
        hard = hard_masks(fields, torch.full((masks,), area, dtype=torch.float64), generators=ties)[0].unsqueeze(1)
        for replaced in draws.values():
            in_turn = replaced[0, torch.arange(masks) % replaced.shape[1]]
            copies.append(torch.where(hard, images, in_turn))
    every = torch.cat(copies)
    with classifier.frozen(image.device, image.dtype):
        parts = in_parts(lambda some: classifier(every[some]), len(every), at_once, of=classifier)
    return torch.cat(parts).reshape(len(areas), masks * len(draws), -1)


class _Tempered(nn.Module):
    """A model whose logits are divided by a temperature."""

    def __init__(self, model: nn.Module, temperature: float):
        super().__init__()
        self.model, self.temperature = model, temperature

    def forward(self, images: Images) -> Tensor:
        returned = self.model(images)
        return getattr(returned, "logits", returned) / self.temperature
