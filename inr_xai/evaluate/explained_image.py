"""What a metric is given: one sample with its explanation, and how to ask the classifier or explain anew."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from inr_xai.classifier import FrozenClassifier
from inr_xai.errors import UserError
from inr_xai.masks import hard_masks
from inr_xai.metrics.faithfulness.average_drop_gain import masked_images
from inr_xai.metrics.inputs import ExplainWith, Score, probability_score
from inr_xai.seeding import generator
from inr_xai.types import Images, Sample, Targets

MetricValues = dict[str, float]
"""Column -> value of one image: the metric's own name, or one column per area, `<name>/a<area>`."""


@dataclass(frozen=True)
class ExplainedImage:
    """One sample and its explanation, in the classifier's input frame.

    Args:
        target: the class that is explained.
        heatmap: larger is more important; metrics of rankings read it.
        classifier: asked through `score`.
        seed: of ties and perturbations.
        areas, masks: of explanation 1 as stored; None for the maps of other tools.
        explain_with: makes the heatmap of a model anew; None where only the finished map is at hand.
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
        """A batch of this one image."""
        return self.sample.image[None].to(self.heatmap.device)

    @property
    def targets(self) -> Targets:
        """A batch of this one class."""
        return torch.tensor([self.target], device=self.heatmap.device)

    @property
    def maps(self) -> Float[Tensor, "1 h w"]:
        """A batch of this one heatmap."""
        return self.heatmap[None]

    @property
    def score(self) -> Score:
        """The classifier's probability."""
        return probability_score(self.classifier, batch_size=self.masks_per_forward)

    @cached_property
    def hard(self) -> Bool[Tensor, "1 a h w"]:
        """The masks made hard at their areas."""
        assert self.masks is not None, "choose() refuses measures of masks where there are none"
        areas = torch.tensor(self.areas, dtype=torch.float64)
        return hard_masks(self.masks[None], areas, generators=self.generators("ties"))

    @cached_property
    def kept_and_whole(self) -> tuple[Float[Tensor, " 1"], Float[Tensor, " 1"]]:
        """The probability of the image scaled by its map over the mean colour, and of the image."""
        scaled = masked_images(self.images, self.maps, baseline=self.mean_colour)
        return self.score(scaled, self.targets), self.score(self.images, self.targets)

    @property
    def mean_colour(self) -> Images:
        """A batch of one image of the classifier's mean colour: 0 after its normalisation."""
        colour = self.images.new_tensor(self.classifier.colour_mean)
        return colour.reshape(-1, 1, 1).expand_as(self.images)

    def generators(self, purpose: str) -> list[torch.Generator]:
        """A batch of one generator, named by (seed, sample id, purpose)."""
        return [generator(self.seed, self.sample.sample_id, purpose)]

    def truth(self) -> Bool[Tensor, "1 h w"]:
        """The object's pixels: its segmentation, or else its boxes. Raises UserError where neither is known."""
        return self._marked(self.sample.boxes if self.sample.segmentation is None else self.sample.segmentation)

    def boxes(self) -> Bool[Tensor, "1 h w"]:
        """The object's boxes, or else its segmentation. Raises UserError where neither is known."""
        return self._marked(self.sample.segmentation if self.sample.boxes is None else self.sample.boxes)

    def ignore(self) -> Bool[Tensor, "1 h w"] | None:
        """Pixels that count neither as object nor as background."""
        return None if self.sample.ignore is None else self.sample.ignore[None].to(self.heatmap.device)

    def _marked(self, marks: Bool[Tensor, "h w"] | None) -> Bool[Tensor, "1 h w"]:
        name = self.sample.sample_id
        if marks is None:
            raise UserError(f"{name!r} has neither segmentation nor boxes; take a data set that has them (data=...)")
        if self.sample.target not in (None, self.target):  # without a label, marks are of the object, not of a class
            raise UserError(
                f"the marks of {name!r} are of class {self.sample.target} and class {self.target} was explained; "
                "explain the label (data.targets=label)"
            )
        return marks[None].to(self.heatmap.device)
