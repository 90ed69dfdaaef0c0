"""One image with its explanation, as the metrics of the evaluation read it."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from inr_xai.blur import gaussian_blur
from inr_xai.classifier import FrozenClassifier
from inr_xai.errors import UserError
from inr_xai.masks import hard_masks
from inr_xai.metrics.faithfulness.average_drop_gain import masked_images
from inr_xai.metrics.faithfulness.information_curves import information_aucs
from inr_xai.metrics.inputs import ExplainWith, Score, accuracy_score, probability_score
from inr_xai.seeding import generator
from inr_xai.types import Images, Sample, Targets

BLUR = 20 / 224
"""Standard deviation, as a share of the shorter side, of the blur from which an image's information comes back."""

MetricValues = dict[str, float]
"""Column -> value of one image. A metric has one column of its own name, or one for each area, `<name>/a<area>`."""


@dataclass(frozen=True)
class ExplainedImage:
    """One sample and its explanation, in the classifier's input frame.

    Args:
        target: the class that is explained.
        heatmap: the importance of each pixel; larger is more important.
        classifier: the classifier that was explained.
        seed: the seed of ties and perturbations.
        areas, masks: the areas and masks of explanation 1 as stored; none for the maps of other tools.
        explain_with: makes the heatmap of another model, image or class; None if only the finished map is at hand.
        masks_per_forward: images that go through the classifier at once (memory).
    """

    sample: Sample
    target: int
    heatmap: Float[Tensor, "h w"]
    classifier: FrozenClassifier
    seed: int
    areas: tuple[float, ...] = ()
    masks: Float[Tensor, "a h w"] | None = None
    explain_with: ExplainWith | None = None
    masks_per_forward: int = 32

    @property
    def images(self) -> Images:
        """A batch of the image."""
        return self.sample.image[None].to(self.heatmap.device)

    @property
    def targets(self) -> Targets:
        """A batch of the class."""
        return torch.tensor([self.target], device=self.heatmap.device)

    @property
    def maps(self) -> Float[Tensor, "1 h w"]:
        """A batch of the heatmap."""
        return self.heatmap[None]

    @property
    def mask_batch(self) -> Float[Tensor, "1 a h w"]:
        """A batch of the masks."""
        assert self.masks is not None, "choose() refuses metrics of masks if there are none"
        return self.masks[None]

    @property
    def area_tensor(self) -> Float[Tensor, " a"]:
        """The areas in double precision, as pixel counts need them."""
        return torch.tensor(self.areas, dtype=torch.float64)

    @cached_property
    def hard(self) -> Bool[Tensor, "1 a h w"]:
        """A batch of the hard masks at their areas."""
        return hard_masks(self.mask_batch, self.area_tensor, generators=self.generators("ties"))

    @property
    def score(self) -> Score:
        """The function that computes the classifier's probability of a class."""
        return probability_score(self.classifier, batch_size=self.masks_per_forward)

    @cached_property
    def kept_and_whole(self) -> tuple[Float[Tensor, " 1"], Float[Tensor, " 1"]]:
        """The probability of the image scaled by its heatmap over the mean colour, and that of the image."""
        scaled = masked_images(self.images, self.maps, baseline=self.mean_colour)
        return self.score(scaled, self.targets), self.score(self.images, self.targets)

    @cached_property
    def information(self) -> tuple[float, float]:
        """The areas under the softmax and the accuracy information curve; NaN where a curve is undefined."""
        scores = [
            make(self.classifier, batch_size=self.masks_per_forward) for make in (probability_score, accuracy_score)
        ]
        blurred = gaussian_blur(self.images, BLUR * min(self.images.shape[-2:])).clamp(0, 1)
        softmax, accuracy = information_aucs(
            scores, self.images, self.targets, self.maps, blurred=blurred, generators=self.generators("ties")
        )
        return float(softmax), float(accuracy)

    @property
    def mean_colour(self) -> Images:
        """A batch of one image of the classifier's mean colour, which its normalisation turns into 0."""
        colour = self.images.new_tensor(self.classifier.colour_mean)
        return colour.reshape(-1, 1, 1).expand_as(self.images)

    def generators(self, purpose: str) -> list[torch.Generator]:
        """Returns a list of one generator, which the seed, the sample id and the purpose name."""
        return [generator(self.seed, self.sample.sample_id, purpose)]

    def per_area(self, name: str, values: Float[Tensor, "1 a"]) -> MetricValues:
        """Returns the values of a metric as one column for each area."""
        return {f"{name}/a{area:g}": value for area, value in zip(self.areas, values[0].tolist(), strict=True)}

    def truth(self) -> Bool[Tensor, "1 h w"]:
        """Returns the segmentation of the object, or else its boxes. Raises UserError if neither is known."""
        return self._marked(self.sample.boxes if self.sample.segmentation is None else self.sample.segmentation)

    def boxes(self) -> Bool[Tensor, "1 h w"]:
        """Returns the boxes of the object, or else its segmentation. Raises UserError if neither is known."""
        return self._marked(self.sample.segmentation if self.sample.boxes is None else self.sample.boxes)

    def ignore(self) -> Bool[Tensor, "1 h w"] | None:
        """Returns the pixels that count neither as object nor as background."""
        return None if self.sample.ignore is None else self.sample.ignore[None].to(self.heatmap.device)

    def _marked(self, marks: Bool[Tensor, "h w"] | None) -> Bool[Tensor, "1 h w"]:
        name = self.sample.sample_id
        if marks is None:
            raise UserError(f"{name!r} has neither segmentation nor boxes; take a data set that has them (data=...)")
        # Without a label, marks are of the object and not of a class, and so is a single score.
        if self.sample.target not in (None, self.target) and self.classifier.num_classes != 1:
            raise UserError(
                f"the marks of {name!r} are of class {self.sample.target} and class {self.target} was explained; "
                "explain the label (data.targets=label)"
            )
        return marks[None].to(self.heatmap.device)
